"""Two rollouts want the same host: the second one waits, and what it brings is what runs in the end."""

from __future__ import annotations

import pytest
from lab import system as systems
from lab.scene import Scene

pytestmark = pytest.mark.lab


def test_a_second_rollout_of_a_host_waits_for_the_first(scene: Scene) -> None:
    shared, own = scene.hosts("web1", "web2")
    control = scene.control(["web1", "web2"])
    second = scene.build(systems.good, ["web1", "web2"], "v3")
    first = control.deploy_detached(scene.build(systems.good, ["web1"], "v2"))
    last = control.deploy_detached(second)
    control.wait_for(first, "web1", "trial")
    assert control.rollout(last)["phase"] == "pending"
    assert scene.orders(own) == [], "its other hosts wait as well"
    assert control.wait_final(first)["phase"] == "succeeded"
    assert control.wait_final(last)["phase"] == "succeeded"
    for host in (shared, own):
        assert scene.runs(host) == (second[host.name],) * 3
        assert scene.page(host) == "greeting v3"
    assert (scene.switches(shared), scene.switches(own)) == (2, 1)
