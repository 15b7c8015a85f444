"""The new system runs, put there by hand, and a reboot would bring the old one: it is checked, then committed."""

from __future__ import annotations

import pytest
from lab import system as systems
from lab.control import policy_with
from lab.scene import Scene

pytestmark = pytest.mark.lab

PATIENT = policy_with(min_healthy="10s", healthy_deadline="30s")
"""Leaves time to act before the commit."""


def test_what_runs_but_would_not_boot_is_checked_and_committed(scene: Scene) -> None:
    (host,) = scene.hosts("web1")
    old = scene.runs(host)[0]
    new = scene.build(systems.good, ["web1"], "v2")["web1"]
    scene.switch_by_hand(host, new)
    assert scene.runs(host) == (new, old, old)
    running = scene.invocation(host, "web.service")
    control = scene.control(["web1"])
    done = control.deploy({"web1": new})
    assert done.returncode == 0, done.stdout + control.log()
    assert scene.runs(host) == (new, new, new)
    assert scene.invocation(host, "web.service") == running, "no unit was touched: only the commit was missing"
    assert control.rollout("r-1")["hosts"]["web1"]["state"] == "committed"
    assert scene.has_begun(host, "fleetd-commit-*")


def test_what_runs_but_is_not_well_is_not_committed_and_goes_back(scene: Scene) -> None:
    (host,) = scene.hosts("web2")
    old = scene.runs(host)[0]
    new = scene.build(systems.good, ["web2"], "v2")["web2"]
    scene.switch_by_hand(host, new)
    assert scene.runs(host) == (new, old, old)
    control = scene.control(["web2"], policy=PATIENT)
    name = control.deploy_detached({"web2": new})
    # It was well when fleetd first looked, and is not any more.
    control.wait_for(name, "web2", "trial")
    host.inside("systemctl", "stop", "web.service")
    final = control.wait_final(name)
    assert final["phase"] == "rolled-back", final["finish_reason"]
    assert not scene.has_begun(host, "fleetd-commit-*")
    assert scene.runs(host) == (old, old, old)
    assert scene.page(host) == "greeting v1"
