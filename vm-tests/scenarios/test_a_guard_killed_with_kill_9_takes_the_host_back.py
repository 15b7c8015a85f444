"""The guard is killed with ``kill -9``: systemd starts the way back at once, also when no controller is left."""

from __future__ import annotations

import pytest
from lab import system as systems
from lab.control import policy_with
from lab.scene import Scene

pytestmark = pytest.mark.lab

PATIENT = policy_with(min_healthy="10s", healthy_deadline="40s")
"""Leaves time to act before the commit."""


def test_a_guard_killed_with_kill_9_takes_the_host_back(scene: Scene) -> None:
    (host,) = scene.hosts("web1")
    before = scene.runs(host)
    control = scene.control(["web1"], policy=PATIENT)
    name = control.deploy_detached(scene.build(systems.good, ["web1"], "v2"))
    control.wait_for(name, "web1", "trial")
    # No controller: what takes the host back now is on the host. And no guard: nobody is left who knows the deadline.
    control.kill()
    host.inside("sh", "-c", "kill -9 $(systemctl show -p MainPID --value 'fleetd-guard-*')")
    scene.wait_state(host, "reverted")
    assert scene.runs(host) == before
    assert scene.page(host) == "greeting v1"


def test_a_guard_killed_with_all_its_children_takes_the_host_back(scene: Scene) -> None:
    (host,) = scene.hosts("web2")
    before = scene.runs(host)
    control = scene.control(["web2"], policy=PATIENT)
    name = control.deploy_detached(scene.build(systems.good, ["web2"], "v2"))
    control.wait_for(name, "web2", "trial")
    # As the kernel does it when memory is short: nothing of the unit, what it runs on its stop included, survives.
    host.inside("sh", "-c", "systemctl kill -s KILL 'fleetd-guard-*'")
    final = control.wait_final(name)
    assert final["phase"] == "rolled-back", final["finish_reason"]
    assert scene.runs(host) == before
