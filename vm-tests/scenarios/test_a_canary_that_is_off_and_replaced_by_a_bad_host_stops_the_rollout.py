"""The canary is off and its replacement turns out bad: the rollout ends there, as with any bad canary."""

from __future__ import annotations

import pytest
from lab import system as systems
from lab.scene import Scene

pytestmark = pytest.mark.lab


def test_a_canary_that_is_off_and_replaced_by_a_bad_host_stops_the_rollout(scene: Scene) -> None:
    names = ["web1", "web2", "web3"]
    hosts = scene.hosts(*names)
    before = {host.name: scene.runs(host) for host in hosts}
    hosts[0].power_cut()
    control = scene.control(names)
    done = control.deploy(scene.build(systems.answers_500, names, "v2"))
    assert done.returncode == 2, done.stdout + control.log()
    assert scene.runs(hosts[1]) == before["web2"]
    assert scene.runs(hosts[2]) == before["web3"]
    assert scene.orders(hosts[2]) == [], "the host of the next wave was never ordered anything"
