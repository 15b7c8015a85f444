"""Power is lost while the new system is on trial: the host boots the old one, and the rollout says so."""

from __future__ import annotations

import pytest
from lab import system as systems
from lab.control import policy_with
from lab.scene import Scene

pytestmark = pytest.mark.lab


def test_a_power_cut_during_the_trial_boots_the_old_system(scene: Scene) -> None:
    (host,) = scene.hosts("web2")
    before = scene.runs(host)
    control = scene.control(["web2"], policy=policy_with(min_healthy="10s", healthy_deadline="40s"))
    revision = scene.build(systems.good, ["web2"], "v2")
    name = control.deploy_detached(revision)
    control.wait_for(name, "web2", "trial")
    assert scene.runs(host) == (revision["web2"], before[1], before[2]), "in trial only what runs is new"
    host.power_cycle()
    final = control.wait_final(name)
    assert final["phase"] == "rolled-back", final["finish_reason"]
    assert scene.runs(host) == before
    assert scene.page(host) == "greeting v1"


def test_a_power_cut_in_the_middle_of_the_switch_boots_the_old_system(scene: Scene) -> None:
    (host,) = scene.hosts("web3")
    before = scene.runs(host)
    control = scene.control(["web3"])
    held = systems.good("web3", scene.gateway, "v2").with_fault("pause-after-activation", 8)
    revision = {"web3": systems.build(held)}
    name = control.deploy_detached(revision)
    # Units are stopped, /run/current-system has moved, nothing is started yet.
    scene.until(lambda: scene.runs(host)[0] == revision["web3"], "the switch has come half way")
    host.power_cycle()
    final = control.wait_final(name)
    assert final["phase"] == "rolled-back", final["finish_reason"]
    assert scene.runs(host) == before
    assert scene.page(host) == "greeting v1"
