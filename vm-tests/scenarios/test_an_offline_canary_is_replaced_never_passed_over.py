"""The canary is off: the next host takes its place, and the rollout does not say that it was done everywhere."""

from __future__ import annotations

import pytest
from lab import system as systems
from lab.scene import Scene

pytestmark = pytest.mark.lab


def test_an_offline_canary_is_replaced_never_passed_over(scene: Scene) -> None:
    names = ["web1", "web2", "web3"]
    hosts = scene.hosts(*names)
    before = scene.runs(hosts[0])
    hosts[0].power_cut()
    control = scene.control(names)
    revision = scene.build(systems.good, names, "v2")
    done = control.deploy(revision)
    assert done.returncode == 5, done.stdout + control.log()
    rollout = control.rollout("r-1")
    assert rollout["phase"] == "incomplete"
    assert rollout["hosts"]["web1"]["state"] == "deferred"
    # The canary wave passed on a host that was committed in it, and on nothing less.
    assert rollout["waves"][0]["counts"].get("committed") == 1
    for host in hosts[1:]:
        assert scene.runs(host) == (revision[host.name],) * 3
        assert scene.page(host) == "greeting v2"
    hosts[0].boot()
    hosts[0].wait_ready()
    assert scene.runs(hosts[0]) == before
    assert scene.orders(hosts[0]) == []
