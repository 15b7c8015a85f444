"""A trial by reboot whose helper is killed between any two of its durable writes: the host ends on one whole system.

At each write of a phase everything of ours dies at once. Then either systemd goes on (the last word of the unit, the
guard, the revert), or power is lost at that moment.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from fleetd.model.order import Verb
from tests.host import laws, laws_of_reboots
from tests.host.laws import NEW, OLD
from tests.host.rig import HELPER, Died, Rig
from tests.host.test_helper_against_the_model import place

MOST_WRITES = 40
"""More than any phase makes; each test says that it got to the end."""


def goes_down(rig: Rig) -> None:
    """Make ready for the reboot, and ask for it."""
    rig.begin_switch()


def resumes(rig: Rig) -> None:
    """Take up the trial in the boot that it is."""
    rig.boot_service()


def comes_up(rig: Rig) -> None:
    """Judge what has booted."""
    rig.begin_switch()


def commits(rig: Rig) -> None:
    """Move profile and boot default."""
    assert laws.said(rig.order(laws.order(rig, Verb.COMMIT, 11))) == ("ok", "committing")
    rig.run_commit()


PHASES = (goes_down, resumes, comes_up, commits)


def before(rig: Rig, phase: Callable[[Rig], None]) -> None:
    """Bring the host to where a phase begins."""
    laws_of_reboots.ready(rig)
    assert laws_of_reboots.reboot_trial(rig) == ("ok", "started")
    if phase is goes_down:
        return
    rig.begin_switch()
    rig.reboot()
    if phase is resumes:
        return
    rig.boot_service()
    if phase is comes_up:
        return
    rig.run_switch()
    assert rig.shown().state == "trial"


def is_killed_at(rig: Rig, phase: Callable[[Rig], None], write: int) -> bool:
    """Run a phase and kill it at one of its writes; return whether it came to that."""
    rig.set("die-at", str(int((rig.control / "writes").read_text()) + write))
    try:
        phase(rig)
    except Died:
        return True
    finally:
        rig.clear("die-at")
    return False


def systemd_goes_on(rig: Rig) -> None:
    """What systemd does when a unit's processes were killed, then what the guard and the next contact do."""
    if "switch" in rig.shown().units:
        rig.run_switch(begins=False)
    if "commit" in rig.shown().units:
        rig.kill_unit("commit")
    rig.pass_time(1000)
    settle(rig)


def settle(rig: Rig) -> None:
    """Let guard, revert and reboots run until nothing moves; facts are asked for meanwhile, as a controller does."""
    for _ in range(12):
        with suppress(AssertionError):
            rig.ask("facts")
        if "guard" in rig.shown().units:
            rig.guard_looks()
        reboots = len(rig.reboots())
        if "revert" in rig.shown().units:
            rig.run_revert()
        if len(rig.reboots()) > reboots:
            rig.reboot()
            rig.boot_service()
        if rig.shown().state in ("reverted", "committed", "stranded", "interfered"):
            return
        rig.pass_time(1000)


def power_is_lost(rig: Rig) -> None:
    """It boots what the boot loader says; where that is on trial, nobody confirms it."""
    rig.reboot()
    rig.boot_service()
    rig.pass_time(1000)
    settle(rig)


def is_whole(rig: Rig) -> None:
    """One system runs, is kept and boots; the new one only where the host says that it is committed."""
    shown = rig.shown()
    system = NEW if shown.state == "committed" else OLD
    assert shown.state in ("reverted", "committed"), shown
    assert (shown.current, shown.profile, shown.boot_default) == (system,) * 3
    assert rig.chosen_once == ""


@pytest.fixture
def room() -> Iterator[Path]:
    """A directory for hosts."""
    made = place()
    yield made
    shutil.rmtree(made)


def kill_everywhere(
    room: Path, phase: Callable[[Rig], None], then: Callable[[Rig], None], helper: str | None = None
) -> None:
    """Kill the phase at each of its writes, on a host of its own each time."""
    for write in range(1, MOST_WRITES):
        rig = Rig(room / f"host{write}", *laws.SYSTEMS, helper=helper)
        before(rig, phase)
        if not is_killed_at(rig, phase, write):
            assert write > 1, "it wrote nothing"
            return
        then(rig)
        is_whole(rig)
        shutil.rmtree(room / f"host{write}")
    raise AssertionError("the phase does not end")


@pytest.mark.parametrize("then", [systemd_goes_on, power_is_lost])
@pytest.mark.parametrize("phase", PHASES)
def test_the_host_ends_on_one_whole_system(
    room: Path, phase: Callable[[Rig], None], then: Callable[[Rig], None]
) -> None:
    kill_everywhere(room, phase, then)


@pytest.mark.parametrize(
    ("phase", "then", "old", "new"),
    [
        # The choice for one boot has to be taken back with all the rest.
        (goes_down, systemd_goes_on, "  choose_nothing || { WHY=", "  true || { WHY="),
        # Killed between the record of this boot and its guard, the trial must not go on unguarded.
        (
            resumes,
            systemd_goes_on,
            '    [ "$REPLY" = inactive ] || return 0\n    move "$id" reverting',
            "    return 0\n    :",
        ),
    ],
)
def test_without_its_protection_it_does_not(
    room: Path, phase: Callable[[Rig], None], then: Callable[[Rig], None], old: str, new: str
) -> None:
    text = HELPER.read_text()
    assert text.count(old) == 1, f"{old!r} occurs {text.count(old)} times in the helper"
    with pytest.raises(AssertionError):
        kill_everywhere(room, phase, then, text.replace(old, new))
