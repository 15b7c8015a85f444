"""``fleetctl rollback`` takes every committed host to the revision before: running, kept, booted and served."""

from __future__ import annotations

import pytest
from lab import system as systems
from lab.scene import Scene

pytestmark = pytest.mark.lab


def test_a_rollback_takes_every_host_to_the_revision_before(scene: Scene) -> None:
    names = ["web1", "web2", "web3"]
    hosts = scene.hosts(*names)
    first = {host.name: (scene.runs(host)[0],) * 3 for host in hosts}
    control = scene.control(names)
    revision = scene.build(systems.good, names, "v2")
    done = control.deploy(revision)
    assert done.returncode == 0, done.stdout + control.log()
    assert {host.name: scene.runs(host) for host in hosts} == {name: (revision[name],) * 3 for name in names}
    back = control.ctl("rollback", "--reason", "it is slow")
    assert back.returncode == 0, back.stdout + back.stderr + control.log()
    for host in hosts:
        assert scene.runs(host) == first[host.name]
        assert scene.page(host) == "greeting v1"
        assert scene.record(host, "state") == "committed", "by an order with a trial of its own, not by its guard"
    rollout = control.rollout("r-2")
    assert (rollout["kind"], rollout["phase"], rollout["reason"]) == ("rollback", "succeeded", "it is slow")
