"""A system without ``fleetd-boot.service`` is booted on trial only where the policy accepts the risk by name."""

from __future__ import annotations

from dataclasses import replace

import pytest
from lab import system as systems
from lab.control import policy_with
from lab.host import LabHost
from lab.scene import Scene

pytestmark = pytest.mark.lab

REBOOTS = {
    "waves": [{"count": 1}],
    "reboot": "when-needed",
    "reboot_timeout": "60s",
    "progress_deadline": "8m",
    "min_healthy": "1s",
}
REFUSED = policy_with(**REBOOTS)
ACCEPTED = policy_with(**REBOOTS, reboot_risk="accept")


def sick_again(host: str, gateway: str, greeting: str) -> systems.System:
    """Return a sick one with a third kernel."""
    return replace(systems.answers_500(host, gateway, greeting), kernel="6.13.0")


def guards(host: LabHost) -> str:
    """Return the guards of this boot that are active."""
    return host.inside("systemctl", "list-units", "--plain", "--no-legend", "--state=active", "fleetd-guard-*").stdout


def test_it_is_refused_untouched_without_the_word(scene: Scene) -> None:
    (host,) = scene.hosts("web1")
    before, boot = scene.runs(host), host.boot_id()
    control = scene.control(["web1"], policy=REFUSED)
    rollout = control.deploy_detached(scene.build(systems.kernel_changed, ["web1"], "v2"))
    scene.until(lambda: "fleetd-boot.service" in str(control.rollout(rollout)), "the host is refused, with its reason")
    assert (scene.runs(host), host.boot_id(), guards(host)) == (before, boot, "")


def test_it_is_booted_and_committed_and_the_next_one_that_is_sick_goes_back_by_a_reboot(scene: Scene) -> None:
    (host,) = scene.hosts("web1")
    boot = host.boot_id()
    control = scene.control(["web1"], policy=ACCEPTED)
    new = scene.build(systems.kernel_changed, ["web1"], "v2")
    done = control.deploy(new)
    # Its first answer after the boot is what armed the guard: nothing is committed without one.
    assert done.returncode == 0, done.stdout + control.log()
    assert host.boot_id() != boot
    assert scene.runs(host) == (new["web1"],) * 3
    boot = host.boot_id()
    done = control.deploy(scene.build(sick_again, ["web1"], "v3"))
    assert done.returncode == 2, done.stdout + control.log()
    assert host.boot_id() != boot
    assert scene.runs(host) == (new["web1"],) * 3
    assert scene.page(host) == "greeting v2"


def test_where_the_controller_stays_away_only_a_boot_takes_it_back(scene: Scene) -> None:
    (host,) = scene.hosts("web1")
    before, boot = scene.runs(host), host.boot_id()
    control = scene.control(["web1"], policy=ACCEPTED)
    new = scene.build(systems.kernel_changed, ["web1"], "v2")
    control.deploy_detached(new)
    scene.wait_state(host, "rebooting")
    control.kill()
    scene.until(lambda: host.is_running() and boot_of(host) not in ("", boot), "the host is in another boot")
    host.wait_ready()
    # That is the risk: it runs the new system, and nothing there would take it back but a boot.
    assert (host.readlink("/run/current-system"), guards(host)) == (new["web1"], "")
    host.power_cycle()
    assert scene.runs(host)[0] == before[0]
    control.start()
    control.wait_final("r-1")
    # What came of it in the end is its own affair: whole, and as it says.
    assert scene.untrue_claims(control.rollout("r-1"), {"web1": before[0]}) == []


def boot_of(host: LabHost) -> str:
    """Return the id of the present boot; empty while there is none."""
    return host.boot_id() if host.leader() is not None else ""
