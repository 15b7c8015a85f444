"""Somebody else switches the host during the trial: nothing is undone, and it is told."""

from __future__ import annotations

import pytest
from lab import LabHost
from lab import system as systems
from lab.control import policy_with
from lab.scene import Scene

pytestmark = pytest.mark.lab


def test_an_operator_who_switches_during_the_trial_is_left_alone(scene: Scene) -> None:
    (host,) = scene.hosts("web1")
    # Time for a person to act before the commit.
    control = scene.control(["web1"], policy=policy_with(min_healthy="10s", healthy_deadline="30s"))
    other = systems.build(systems.good("web1", scene.gateway, "v9"))
    name = control.deploy_detached(scene.build(systems.good, ["web1"], "v2"))
    control.wait_for(name, "web1", "trial")
    scene.switch_by_hand(host, other)
    final = control.wait_final(name)
    assert final["phase"] == "failed", final["finish_reason"]
    assert final["hosts"]["web1"]["kind"] == "interfered"
    assert scene.runs(host)[0] == other
    assert scene.page(host) == "greeting v9"
    # The guard, which looks every second, ends, and does not undo it later.
    scene.until(lambda: not fleetd_units(host), "nothing of fleetd's runs there")
    assert scene.runs(host)[0] == other


def fleetd_units(host: LabHost) -> str:
    """Return the units of an activation that are at work."""
    words = ("systemctl", "list-units", "--state=active,activating", "--plain", "--no-legend", "fleetd-*")
    return host.inside(*words).stdout.strip()
