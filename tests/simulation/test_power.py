"""Hosts that do not come back from a reboot, in simulated fleets: unlocked, and their power cycled once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.simulation.scenario import POLICY, Crash, Mishap
from tests.simulation.sim_machine import POWER_CYCLED_S
from tests.simulation.simulation import Report, simulate
from tests.simulation.test_reboots import KERNEL, fleet, versions
from tests.simulation.virtual_time import EPOCH_S

HANGS = fleet(first=replace(KERNEL, boots=False), aided=True, quiet_at_s=4000.0)


def at(report: Report, kind: str) -> float:
    """Return when a record of h1 was first written."""
    return next(float(line.split()[1]) for line in report.trace if line.endswith(f" h1 {kind}"))


def test_a_host_that_hangs_in_its_boot_gets_its_power_cycled_once_and_is_seen_on_its_old_system() -> None:
    report = simulate(HANGS)
    assert report.states["r-1"]["h1"] == "reverted"
    assert report.cycles == {"h1": 1, "h2": 0, "h3": 0}
    assert versions(report) == {"v1"}
    gone_s = at(report, "PowerCycleIntended") - at(report, "TrialIntended")
    guard_s = POLICY.switch_timeout_s + POLICY.contact_timeout_s + POLICY.revert_timeout_s
    assert 2 * POLICY.reboot_timeout_s + guard_s < gone_s < POWER_CYCLED_S / 2


def test_a_host_without_such_a_command_waits_for_a_person() -> None:
    assert simulate(replace(HANGS, aided=False)).cycles["h1"] == 0


def test_a_host_that_goes_back_by_itself_keeps_its_power() -> None:
    report = simulate(fleet(first=replace(KERNEL, cuts_network=True), aided=True))
    assert report.states["r-1"]["h1"] == "reverted"
    assert report.cycles["h1"] == 0


def test_a_host_that_cannot_be_reached_for_another_reason_keeps_its_power() -> None:
    """It was switched to live, and its link is down: it is at work, and nothing was ever rebooted."""
    live = fleet(
        replace(KERNEL, kernel=""), aided=True, mishaps=(Mishap(20.0, "link", "h1", 3500.0),), quiet_at_s=4000.0
    )
    report = simulate(live)
    assert report.cycles["h1"] == 0


def test_a_host_that_was_seen_in_its_new_system_and_fell_silent_then_keeps_its_power() -> None:
    """It may be committed for all that anybody knows; its guard takes it back otherwise."""
    scene = fleet(aided=True, quiet_at_s=4000.0)
    in_trial_s = at(simulate(scene), "CommitIntended") - EPOCH_S - 1.0
    report = simulate(replace(scene, mishaps=(Mishap(in_trial_s, "link", "h1", 3500.0),)))
    assert report.states["r-1"]["h1"] == "reverted"
    assert report.cycles["h1"] == 0


@pytest.mark.parametrize("durable", [True, False])
def test_a_controller_that_dies_at_the_intent_cycles_no_power_twice(*, durable: bool) -> None:
    whole = simulate(HANGS)
    lines = [line for line in whole.trace if line[:1].isdigit()]
    kinds = [line.split()[-1] for line in lines]
    assert "PowerCycleIntended" in kinds
    for append in range(whole.appends - 12, whole.appends + 1):
        report = simulate(replace(HANGS, crashes=(Crash(append, durable, 5.0),)))
        assert report.cycles["h1"] <= 1  # the watch sees to it that it is never cycled without an intent on disk
        assert report.states["r-1"]["h1"] == "reverted"


def test_hosts_that_wait_for_a_passphrase_are_unlocked() -> None:
    report = simulate(fleet(aided=True, locked=("h1", "h2", "h3")))
    assert report.phases == {"r-1": "succeeded"}
    assert report.cycles == {"h1": 0, "h2": 0, "h3": 0}


def test_a_host_that_waits_for_a_passphrase_on_its_way_back_is_unlocked_too() -> None:
    scene = fleet(first=replace(KERNEL, healthy=False), aided=True, locked=("h1",))
    report = simulate(scene)
    assert report.states["r-1"]["h1"] == "reverted"
    assert report.ended_at_s < POWER_CYCLED_S


def test_a_host_whose_power_was_cycled_is_unlocked_as_well() -> None:
    report = simulate(replace(HANGS, locked=("h1",)))
    assert (report.cycles["h1"], report.states["r-1"]["h1"]) == (1, "reverted")
    assert report.ended_at_s < 4000.0


def test_nobody_unlocks_a_host_for_which_nothing_is_said() -> None:
    report = simulate(fleet(locked=("h1",), quiet_at_s=4000.0))
    assert report.phases != {"r-1": "succeeded"}
