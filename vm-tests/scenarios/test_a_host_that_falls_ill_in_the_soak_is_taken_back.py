"""A host was well when it was committed and falls ill in the soak: it is taken back, and the next wave never begins."""

from __future__ import annotations

import pytest
from lab import system as systems
from lab.control import policy_with
from lab.scene import Scene

pytestmark = pytest.mark.lab


NAMES = ["web1", "web2"]


def test_a_host_that_falls_ill_in_the_soak_is_taken_back(scene: Scene) -> None:
    canary, other = hosts = scene.hosts(*NAMES)
    before = [scene.runs(host) for host in hosts]
    waves = [{"name": "canary", "count": 1, "soak": "60s"}]
    control = scene.control(NAMES, policy=policy_with(waves=waves))
    revision = scene.build(systems.good, NAMES, "v2")
    name = control.deploy_detached(revision)
    control.wait_for(name, "web1", "committed")
    assert scene.runs(canary) == (revision["web1"],) * 3
    canary.inside("systemctl", "stop", "web.service")
    final = control.wait_final(name)
    assert final["phase"] == "rolled-back", final["finish_reason"]
    assert [scene.runs(host) for host in hosts] == before
    assert scene.page(canary) == "greeting v1"
    assert scene.orders(other) == []
