"""Power and processes die during a trial, and the host ends on a system that works."""

from __future__ import annotations

import pytest
from conftest import Scene
from lab import system as systems

pytestmark = pytest.mark.lab


def test_a_guard_killed_with_kill_9_takes_the_host_back(scene: Scene) -> None:
    (host,) = scene.hosts("web1")
    before = scene.runs(host)
    control = scene.control(["web1"])
    name = control.deploy_detached(scene.build(systems.good, ["web1"], "v2"))
    control.wait_for(name, "web1", "trial")
    host.inside("sh", "-c", "kill -9 $(systemctl show -p MainPID --value 'fleetd-guard-*')")
    final = control.wait_final(name)
    assert final["phase"] == "rolled-back", final
    assert scene.runs(host) == before


def test_a_power_cut_during_the_trial_boots_the_old_system(scene: Scene) -> None:
    (host,) = scene.hosts("web2")
    before = scene.runs(host)
    control = scene.control(["web2"])
    name = control.deploy_detached(scene.build(systems.good, ["web2"], "v2"))
    control.wait_for(name, "web2", "trial")
    host.power_cycle()
    final = control.wait_final(name)
    assert final["phase"] == "rolled-back", final
    assert scene.runs(host) == before


def test_a_power_cut_between_the_steps_of_a_commit_is_undone(scene: Scene) -> None:
    (host,) = scene.hosts("web3")
    before = scene.runs(host)
    control = scene.control(["web3"])
    slow = systems.good("web3", scene.gateway, "v2").with_fault("boot-sleep", "6")
    name = control.deploy_detached({"web3": systems.build(slow)})
    control.wait_for(name, "web3", "committing")
    host.inside("sh", "-c", "until readlink -f /nix/var/nix/profiles/system | grep -q v2; do sleep 0.1; done")
    host.power_cycle()
    final = control.wait_final(name)
    assert final["phase"] == "rolled-back", final
    assert scene.runs(host) == before
