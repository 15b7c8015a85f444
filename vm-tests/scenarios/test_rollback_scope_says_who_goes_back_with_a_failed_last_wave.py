"""The last wave exceeds the budget: ``rollback_scope`` says who goes back. The failed host always does."""

from __future__ import annotations

import pytest
from lab import system as systems
from lab.control import policy_with
from lab.scene import Scene

pytestmark = pytest.mark.lab

NAMES = ["web1", "web2", "web3"]


@pytest.mark.parametrize(
    ("scope", "going_back", "code", "phase"),
    [
        ("host", {"web3"}, 3, "failed"),
        ("wave", {"web2", "web3"}, 3, "failed"),
        ("rollout", {"web1", "web2", "web3"}, 2, "rolled-back"),
    ],
)
def test_rollback_scope(scene: Scene, scope: str, going_back: set[str], code: int, phase: str) -> None:
    hosts = scene.hosts(*NAMES)
    before = {host.name: scene.runs(host) for host in hosts}
    # web1 is the canary; in the last wave web2 is committed long before web3, which is held up in its switch, fails.
    waves = [{"name": "canary", "count": 1, "soak": "2s"}]
    control = scene.control(NAMES, policy=policy_with(waves=waves, max_parallel=2, rollback_scope=scope))
    bad = systems.answers_500("web3", scene.gateway, "v2").with_fault("pause-after-stop", 10)
    revision = scene.build(systems.good, NAMES, "v2") | {"web3": systems.build(bad)}
    done = control.deploy(revision)
    assert done.returncode == code, done.stdout + control.log()
    rollout = control.rollout("r-1")
    assert rollout["phase"] == phase
    for host in hosts:
        expected = before[host.name] if host.name in going_back else (revision[host.name],) * 3
        assert scene.runs(host) == expected, (host.name, rollout["hosts"][host.name])
        assert scene.page(host) == ("greeting v1" if host.name in going_back else "greeting v2")
