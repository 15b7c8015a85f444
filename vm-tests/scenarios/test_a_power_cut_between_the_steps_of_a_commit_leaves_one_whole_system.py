"""Power is lost while the commit is under way: undone when half of it was there, kept when all of it was."""

from __future__ import annotations

import pytest
from lab import system as systems
from lab.scene import Scene

pytestmark = pytest.mark.lab


def test_a_power_cut_between_profile_and_boot_loader_is_undone(scene: Scene) -> None:
    (host,) = scene.hosts("web3")
    before = scene.runs(host)
    control = scene.control(["web3"])
    slow = systems.good("web3", scene.gateway, "v2").with_fault("boot-sleep", 8)
    revision = {"web3": systems.build(slow)}
    name = control.deploy_detached(revision)
    scene.until(lambda: scene.profile(host) == revision["web3"], "the profile is the new one, the boot loader is not")
    host.power_cut()
    host.boot()
    host.wait_ready()
    assert host.readlink("/run/booted-system") == before[0], "half a commit boots the old system"
    final = control.wait_final(name)
    assert final["phase"] == "rolled-back", final["finish_reason"]
    assert scene.runs(host) == before
    assert scene.page(host) == "greeting v1"


def test_a_power_cut_after_the_boot_loader_and_before_anyone_said_so_is_a_commit(scene: Scene) -> None:
    (host,) = scene.hosts("web4")
    control = scene.control(["web4"])
    slow = systems.good("web4", scene.gateway, "v2").with_fault("pause-after-loader", 6)
    revision = {"web4": systems.build(slow)}
    name = control.deploy_detached(revision)
    new = revision["web4"]
    scene.until(lambda: scene.runs(host) == (new,) * 3, "both steps are done, and the program that did them still runs")
    assert scene.record(host, "state") == "committing", "nobody has been told yet"
    host.power_cycle()
    final = control.wait_final(name)
    # It boots the new system, so a claim that it was taken back would be a lie.
    assert host.readlink("/run/booted-system") == new
    assert final["phase"] == "succeeded", final["finish_reason"]
    assert scene.runs(host) == (new,) * 3
    assert scene.page(host) == "greeting v2"
