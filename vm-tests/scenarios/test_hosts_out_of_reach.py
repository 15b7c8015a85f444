"""Hosts out of reach: a canary is replaced, and a fleet that nobody reached is no success."""

from __future__ import annotations

import pytest
from conftest import Scene
from lab import system as systems

pytestmark = pytest.mark.lab


def test_an_offline_canary_is_replaced_never_passed_over(scene: Scene) -> None:
    names = ["web1", "web2", "web3"]
    hosts = scene.hosts(*names)
    hosts[0].power_cut()
    control = scene.control(names)
    revision = scene.build(systems.good, names, "v2")
    # The first host of the first domain is the canary, whichever that is: cut it.
    done = control.deploy(revision)
    assert done.returncode == 5, done.stdout + control.log()
    rollout = control.rollout("r-1")
    assert rollout["hosts"]["web1"]["state"] == "deferred"
    assert rollout["waves"][0]["counts"].get("committed") == 1
    for host in hosts[1:]:
        assert scene.runs(host) == (revision[host.name],) * 3


def test_a_fleet_out_of_reach_is_no_success(scene: Scene) -> None:
    names = ["web4", "web5"]
    for host in scene.hosts(*names):
        host.power_cut()
    control = scene.control(names)
    done = control.deploy(scene.build(systems.good, names, "v2"))
    assert done.returncode == 3, done.stdout + control.log()
