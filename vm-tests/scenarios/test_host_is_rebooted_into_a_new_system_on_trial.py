"""A trial by reboot: the new system is booted once, and whatever happens the host ends on one whole system."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from lab import system as systems
from lab.deputy import TIMES, Deputy
from lab.system.rig import Rig

from fleetd.model.facts import HelperState as S
from fleetd.model.facts import HostStatus
from fleetd.model.order import Verb

pytest_plugins = ["lab.system.fixtures"]
pytestmark = [
    pytest.mark.lab,
    pytest.mark.filterwarnings("ignore:Exception ignored in. .function Popen.__del__"),
]
REBOOT = replace(TIMES, contact_timeout_s=8, reboot_timeout_s=60)


@pytest.fixture
def deputy(rig: Rig) -> Iterator[Deputy]:
    with Deputy(rig.host) as made:
        yield made


def new_kernel(rig: Rig) -> systems.System:
    """Return a system that only a boot can bring."""
    return replace(rig.good("v2").with_boot_guard(), kernel="6.12.99")


def reboot_into(rig: Rig, deputy: Deputy, system: systems.System, *states: S) -> tuple[str, HostStatus]:
    """Order the trial and wait, through the reboot, until the host stands still."""
    new = rig.install(system)
    deputy.send(deputy.write(Verb.TRIAL, new, times=REBOOT, reboot="when-needed"))
    return new, deputy.until(*(states or (S.TRIAL, S.REVERTED, S.STRANDED, S.INTERFERED)))


def is_back(rig: Rig, deputy: Deputy) -> None:
    """The host runs, keeps and boots what it ran before, and would boot nothing else once."""
    facts = deputy.facts()
    assert (facts.current, facts.booted, facts.profile, facts.boot_default) == (rig.old,) * 4
    rig.until(lambda: rig.page() == "greeting v1")
    assert rig.shell("ls /boot/loader/oneshot 2>/dev/null || true") == ""


def test_a_new_kernel_is_booted_once_and_is_the_default_only_after_the_commit(rig: Rig, deputy: Deputy) -> None:
    assert deputy.facts().oneshot == "yes"
    boot = rig.host.boot_id()
    new, status = reboot_into(rig, deputy, new_kernel(rig))
    assert status.state is S.TRIAL, status
    assert rig.host.boot_id() != boot
    facts = deputy.facts()
    assert (facts.current, facts.booted, facts.boot_default) == (new, new, rig.old)
    assert rig.is_active(f"fleetd-guard-{status.id}.service")
    assert rig.page() == "greeting v2"
    assert deputy.commit().state is S.COMMITTED
    rig.host.power_cycle()
    assert (rig.current, rig.booted, deputy.facts().needs_reboot) == (new, new, False)


def test_what_nobody_confirms_goes_back_by_itself_by_a_reboot(rig: Rig, deputy: Deputy) -> None:
    boots = boots_of_old(rig)
    _new, status = reboot_into(rig, deputy, new_kernel(rig))
    assert status.state is S.TRIAL, status
    rig.host.cut()  # nobody can ask it either: its own guard is what takes it back
    rig.until(lambda: boots_of_old(rig) > boots, timeout_s=90)
    rig.host.heal()
    rig.host.wait_ready()
    deputy.facts()
    status = deputy.until(S.REVERTED, S.STRANDED)
    assert (status.state, status.by) == (S.REVERTED, "guard"), status
    is_back(rig, deputy)


def boots_of_old(rig: Rig) -> int:
    """Return how often the host has booted its old system."""
    return rig.host.console().count(f"booting {rig.old}")
