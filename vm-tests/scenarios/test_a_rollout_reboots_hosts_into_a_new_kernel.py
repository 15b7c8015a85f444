"""A rollout that may reboot brings a new kernel to every host, and stops at one that does not come up in it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from lab import system as systems
from lab.control import policy_with
from lab.scene import Scene

pytestmark = pytest.mark.lab

REBOOTS = policy_with(
    waves=[{"count": 1}], reboot="when-needed", reboot_timeout="60s", progress_deadline="8m", min_healthy="1s"
)


def kernel(host: str, gateway: str, greeting: str) -> systems.System:
    """Return a system that only a boot can bring."""
    return systems.kernel_changed(host, gateway, greeting).with_boot_guard()


def panics(host: str, gateway: str, greeting: str) -> systems.System:
    """Return one that does not come up."""
    return replace(kernel(host, gateway, greeting), kernel="6.13.0").with_fault("boot-panics")


def test_a_new_kernel_is_booted_on_every_host_again_when_asked_and_one_that_panics_on_the_first_alone(
    scene: Scene,
) -> None:
    names = ["web1", "web2"]
    hosts = scene.hosts(*names)
    boots = {host.name: host.boot_id() for host in hosts}
    control = scene.control(names, policy=REBOOTS)
    revision = scene.build(kernel, names, "v2")
    done = control.deploy(revision)
    assert done.returncode == 0, done.stdout + control.log()
    for host in hosts:
        assert scene.runs(host) == (revision[host.name],) * 3
        assert host.readlink("/run/booted-system") == revision[host.name]
        assert host.boot_id() != boots[host.name]
    boot = hosts[0].boot_id()
    again = control.ctl("reboot", "--on", "web1")
    assert again.returncode == 0, again.stdout + control.log()
    assert (hosts[0].boot_id() != boot, scene.runs(hosts[0])) == (True, (revision["web1"],) * 3)
    done = control.deploy(scene.build(panics, names, "v3"))
    assert done.returncode == 2, done.stdout + control.log()
    for host in hosts:
        assert scene.runs(host) == (revision[host.name],) * 3
    rollout = control.rollout("r-3")
    assert sorted(host["state"] for host in rollout["hosts"].values()) == ["reverted", "skipped"]
    assert "did not come up" in rollout["finish_reason"]
