"""Nobody is reached: the rollout is over and says that nothing was done, and a person is asked for."""

from __future__ import annotations

import pytest
from lab import system as systems
from lab.scene import Scene

pytestmark = pytest.mark.lab


def test_a_fleet_out_of_reach_is_no_success(scene: Scene) -> None:
    names = ["web4", "web5"]
    hosts = scene.hosts(*names)
    before = [scene.runs(host) for host in hosts]
    for host in hosts:
        host.cut()
    control = scene.control(names)
    done = control.deploy(scene.build(systems.good, names, "v2"))
    assert done.returncode == 3, done.stdout + control.log()
    assert control.rollout("r-1")["phase"] == "failed"
    assert [scene.runs(host) for host in hosts] == before
    assert [scene.orders(host) for host in hosts] == [[], []]
