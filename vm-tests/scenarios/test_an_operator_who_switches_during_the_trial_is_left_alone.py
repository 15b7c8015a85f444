"""Somebody else switches the host during the trial: nothing is undone, and it is told."""

from __future__ import annotations

import pytest
from conftest import Scene
from lab import system as systems
from lab.control import POLICY
from lab.seed import copy_to

pytestmark = pytest.mark.lab


def test_an_operator_who_switches_during_the_trial_is_left_alone(scene: Scene) -> None:
    (host,) = scene.hosts("web1")
    control = scene.control(["web1"], policy=patient_policy())
    other = systems.build(systems.good("web1", scene.gateway, "v9"))
    mine = scene.build(systems.good, ["web1"], "v2")
    copy_to(host.root, other)
    name = control.deploy_detached(mine)
    control.wait_for(name, "web1", "trial")
    host.inside(f"{other}/bin/switch-to-configuration", "test", check=False, timeout_s=60)
    final = control.wait_final(name)
    assert final["phase"] == "failed", final
    assert final["hosts"]["web1"]["kind"] == "interfered"
    assert host.readlink("/run/current-system") == other


def patient_policy() -> str:
    """Leave time for a person to act before the commit."""
    return POLICY.replace('min_healthy = "2s"', 'min_healthy = "8s"').replace(
        'healthy_deadline = "15s"', 'healthy_deadline = "20s"'
    )
