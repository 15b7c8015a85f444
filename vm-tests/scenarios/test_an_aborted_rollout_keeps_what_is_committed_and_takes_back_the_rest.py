"""A rollout is aborted: who is in trial goes back, who is committed stays, who waits is left alone."""

from __future__ import annotations

import pytest
from lab import system as systems
from lab.control import policy_with
from lab.scene import Scene

pytestmark = pytest.mark.lab


NAMES = ["web1", "web2", "web3", "web4"]


def test_an_aborted_rollout_keeps_what_is_committed_and_takes_back_the_rest(scene: Scene) -> None:
    # Domain by domain: the canary is web1, then comes web4, and web2 and web3 are last.
    hosts = {host.name: host for host in scene.hosts(*NAMES)}
    before = {name: scene.runs(host) for name, host in hosts.items()}
    waves = [{"name": "canary", "count": 1, "soak": "2s"}, {"name": "next", "count": 1, "soak": "2s"}]
    policy = policy_with(waves=waves, min_healthy="10s", healthy_deadline="40s")
    control = scene.control(NAMES, policy=policy)
    revision = scene.build(systems.good, NAMES, "v2")
    name = control.deploy_detached(revision)
    control.wait_for(name, "web4", "trial")
    assert scene.runs(hosts["web4"])[0] == revision["web4"]
    assert control.ctl("abort", name, "--reason", "the wrong day").returncode == 0
    final = control.wait_final(name)
    assert final["phase"] == "aborted"
    assert "the wrong day" in final["finish_reason"]
    assert scene.runs(hosts["web1"]) == (revision["web1"],) * 3
    assert scene.page(hosts["web1"]) == "greeting v2"
    for left in ("web2", "web3", "web4"):
        assert scene.runs(hosts[left]) == before[left]
        assert scene.page(hosts[left]) == "greeting v1"
    assert scene.orders(hosts["web2"]) == scene.orders(hosts["web3"]) == []
    assert control.ctl("watch", name).returncode == 5
    # Once more changes nothing.
    control.ctl("abort", name)
    assert control.rollout(name) == final
    assert scene.runs(hosts["web1"]) == (revision["web1"],) * 3
