"""Laws about goals other than ``switch``: what a test leaves running, what is staged, and what comes after them."""

from __future__ import annotations

import contextlib

from fleetd.host.wire import status_of
from fleetd.model.order import Verb
from tests.host.laws import NEW, OLD, OTHER, TIMES, Law, is_back, live_trial, order, run_reverts, said
from tests.host.rig import HOST, Died, Rig

LATER = f"r-2.{HOST}.1"


def kept(rig: Rig) -> None:
    """Leave a test running, and let what guarded it end."""
    live_trial(rig)
    assert said(rig.order(order(rig, Verb.RELEASE, 11))) == ("ok", "released")
    rig.guard_looks()
    run_reverts(rig)


def tried_later(rig: Rig, seq: int = 20, **changes: object) -> tuple[str, str]:
    """Try another system where a test was left running."""
    words: dict[str, object] = {"id": LATER, "toplevel": OTHER, "expect_current": NEW, **changes}
    return said(rig.order(order(rig, Verb.TRIAL, seq, **words)))


def a_released_trial_goes_on_running_and_would_boot_the_old_system(rig: Rig) -> None:
    """The guard lets go, and what systemd starts when it has gone takes nothing back."""
    kept(rig)
    shown = rig.shown()
    assert (shown.state, shown.current, shown.profile, shown.boot_default) == ("released", NEW, OLD, OLD)
    assert "guard" not in shown.units
    assert rig.ask("facts").fields["kept"] == NEW
    rig.pass_time(TIMES.cap_s)
    rig.ask("facts")
    run_reverts(rig)
    assert (rig.shown().state, rig.shown().current) == ("released", NEW)
    rig.reboot()
    assert rig.shown().current == OLD
    assert "kept" not in rig.ask("facts").fields


def a_release_without_a_guard_is_refused(rig: Rig) -> None:
    """The revert is about to begin: nobody may be told that the test goes on."""
    live_trial(rig)
    rig.kill_unit("guard")
    assert said(rig.order(order(rig, Verb.RELEASE, 11))) == ("refused", "bad-state")
    run_reverts(rig)
    is_back(rig)


def what_does_not_run_is_not_released(rig: Rig) -> None:
    """Somebody has switched since: that is theirs, and no test of ours."""
    live_trial(rig)
    rig.point("run/current-system", OTHER)
    assert said(rig.order(order(rig, Verb.RELEASE, 11))) == ("refused", "bad-state")
    assert rig.shown().state == "trial"


def a_kept_test_gives_way_to_the_next_trial(rig: Rig) -> None:
    """It is no drift; and the way back leads to what the host boots, as a power cut would."""
    kept(rig)
    assert tried_later(rig) == ("ok", "started")
    rig.run_switch()
    assert (rig.shown().state, rig.shown().current, rig.shown().boot_default) == ("trial", OTHER, OLD)
    rig.order(order(rig, Verb.REVERT, 21, id=LATER))
    run_reverts(rig)
    is_back(rig)


def a_kept_test_that_somebody_replaced_is_unsettled(rig: Rig) -> None:
    """Only what the helper itself left there is known."""
    kept(rig)
    rig.point("run/current-system", OTHER)
    assert tried_later(rig, toplevel=NEW, expect_current=OTHER) == ("refused", "unsettled")


def a_trial_that_did_not_begin_leaves_a_kept_test_as_it_was(rig: Rig) -> None:
    """It still runs, it is nobody else's switch, and the next trial takes it."""
    kept(rig)
    assert tried_later(rig) == ("ok", "started")
    rig.set("switch", "refuse-1")
    rig.run_switch()
    assert (rig.shown().state, rig.shown().current) == ("reverted", NEW)
    assert tried_later(rig, 22, id=f"r-3.{HOST}.1") == ("ok", "started")


def a_kept_test_is_nobody_else_s_switch(rig: Rig) -> None:
    """Taken back before the switch had moved anything, the host goes to what it boots."""
    kept(rig)
    assert tried_later(rig) == ("ok", "started")
    rig.order(order(rig, Verb.REVERT, 21, id=LATER))
    run_reverts(rig)
    is_back(rig)


def what_goes_back_past_a_kept_test_is_compared_with_both(rig: Rig) -> None:
    """From what runs to the new system, and from there to what boots: each must be possible without a reboot."""
    kept(rig)
    (rig.root / OLD.removeprefix("/") / "switch-inhibitors").write_text('{"dbus-implementation":"broker"}\n')
    assert tried_later(rig) == ("refused", "needs-reboot")


def no_unit_keeps_what_a_kept_test_started(rig: Rig) -> None:
    """The next trial left its web server alone, and the way back passes over it: it is restarted by hand."""
    rig.declare("1", "web.service", "[Service]\nExecStart=/v1\n")
    for system in ("2", "3"):
        rig.declare(system, "web.service", "[Service]\nExecStart=/v2\n")
    kept(rig)
    assert tried_later(rig) == ("ok", "started")
    rig.run_switch()
    assert rig.invocation("web.service") == 2
    rig.order(order(rig, Verb.REVERT, 21, id=LATER))
    rig.set("switch", "deaf\ndeaf\ndeaf")
    run_reverts(rig)
    is_back(rig)
    assert rig.invocation("web.service") == 3


def staged(rig: Rig, seq: int = 10, **changes: object) -> None:
    """Move the next boot, as far as the stubs let it come; systemd runs the unit again."""
    assert said(rig.order(order(rig, Verb.STAGE, seq, **changes))) == ("ok", "staging")
    for _ in range(4):
        with contextlib.suppress(Died):
            if "stage" in rig.shown().units:
                rig.run_stage()


def what_is_staged_boots_next_and_nothing_is_switched(rig: Rig) -> None:
    """Profile and boot default, read back; what runs is left alone."""
    staged(rig)
    shown = rig.shown()
    assert (shown.state, shown.current, shown.profile, shown.boot_default) == ("staged", OLD, NEW, NEW)
    assert not [line for line in rig.log() if line.startswith("stc") and line.endswith("test")]
    staged(rig, 20, id=LATER, toplevel=OTHER, expect_profile=NEW)
    assert (rig.shown().state, rig.shown().current, rig.shown().boot_default) == ("staged", OLD, OTHER)


def a_stage_whose_loader_lies_is_put_back(rig: Rig) -> None:
    """The profile goes back to what still boots."""
    rig.set("loader", "lie")
    staged(rig)
    is_back(rig)
    assert "the boot default is" in status_of(rig.ask("status")).message


def what_the_installer_said_is_told_with_what_was_not_staged(rig: Rig) -> None:
    """In the reason and in the log, as with a commit."""
    rig.set("loader", "fail")
    rig.set("journal-stage", "no space left on /boot")
    staged(rig)
    is_back(rig)
    status = status_of(rig.ask("status"))
    assert status.message == "nothing was staged: the boot loader could not be installed: no space left on /boot"
    assert status.log == "== profile and boot loader\nno space left on /boot"


def a_stage_that_was_killed_is_put_back(rig: Rig) -> None:
    """Whatever it had come to: nobody knows whether its boot loader was whole."""
    rig.set("loader", "die-after")
    staged(rig)
    is_back(rig)


def power_lost_while_staging_ends_whole(rig: Rig) -> None:
    """Profile and boot default are of one system, whichever that is."""
    assert said(rig.order(order(rig, Verb.STAGE, 10))) == ("ok", "staging")
    rig.set("profile", "die-after")
    with contextlib.suppress(Died):
        rig.run_stage()
    rig.reboot()
    rig.ask("facts")
    assert rig.shown().state == "staging"
    rig.run_stage()
    is_back(rig)


def a_host_that_booted_what_was_being_staged_is_staged(rig: Rig) -> None:
    """Power was lost after the last step and before its word."""
    assert said(rig.order(order(rig, Verb.STAGE, 10))) == ("ok", "staging")
    rig.set("loader", "die-after")
    with contextlib.suppress(Died):
        rig.run_stage()
    rig.reboot()
    rig.ask("facts")
    assert (rig.shown().state, rig.shown().current, rig.shown().profile) == ("staged", NEW, NEW)


def nothing_is_switched_over_what_is_staged(rig: Rig) -> None:
    """A power cut in that trial would boot what nobody has tried."""
    staged(rig)
    assert said(rig.order(order(rig, Verb.TRIAL, 20, id=LATER, toplevel=OTHER, expect_profile=NEW))) == (
        "refused",
        "unsettled",
    )
    assert rig.shown().state == "staged"


def what_runs_is_not_tried_over_what_is_staged(rig: Rig) -> None:
    """Its way back would lead to what boots, and that is what nobody has tried."""
    staged(rig)
    again = order(rig, Verb.TRIAL, 20, id=LATER, toplevel=OLD, expect_profile=NEW)
    assert said(rig.order(again)) == ("refused", "unsettled")


def what_is_staged_ends_the_way_back_from_a_kept_test(rig: Rig) -> None:
    """That would lead to a system that nobody has tried."""
    kept(rig)
    staged(rig, 20, id=LATER, toplevel=OTHER, expect_current=NEW)
    assert rig.shown().state == "staged"
    later = order(rig, Verb.TRIAL, 30, id=f"r-3.{HOST}.1", toplevel=OLD, expect_current=NEW, expect_profile=OTHER)
    assert said(rig.order(later)) == ("refused", "unsettled")


def for_a_boot_no_live_switch_has_to_be_possible(rig: Rig) -> None:
    """Another init interface is what a boot is for."""
    (rig.root / NEW.removeprefix("/") / "init-interface-version").write_text("2\n")
    staged(rig)
    assert rig.shown().state == "staged"


def a_profile_that_does_not_boot_is_not_staged_over(rig: Rig) -> None:
    """What could not be put back as it was is left as it is."""
    rig.set_boot_default(OTHER)
    assert said(rig.order(order(rig, Verb.STAGE, 10))) == ("refused", "unsettled")
    assert rig.shown().boot_default == OTHER


def a_dry_activation_changes_nothing(rig: Rig) -> None:
    """It says what a switch would do; nothing is armed, recorded or rooted."""
    asked = order(rig, Verb.DRY_ACTIVATE, 10, toplevel=NEW, expect_current=OLD)
    reply = rig.order(asked)
    assert said(reply) == ("ok", "shown")
    status = status_of(reply)
    assert (status.id, status.exit_code) == (asked.id, "0")
    assert "would restart the following units: web.service" in status.log
    assert (rig.shown().state, rig.shown().id, rig.shown().units) == ("idle", "", frozenset())
    assert (rig.shown().current, rig.shown().profile, rig.shown().boot_default) == (OLD, OLD, OLD)


def a_dry_activation_is_refused_while_a_trial_runs(rig: Rig) -> None:
    """What it would say is not what the next deploy will find."""
    live_trial(rig)
    asked = order(rig, Verb.DRY_ACTIVATE, 20, id=LATER, toplevel=OTHER, expect_current=NEW)
    assert said(rig.order(asked)) == ("refused", "busy")


def a_switch_by_others_is_no_answer_to_a_dry_activation(rig: Rig) -> None:
    """Its program found the lock held, and has looked at nothing."""
    rig.set("dry", "11")
    assert said(rig.order(order(rig, Verb.DRY_ACTIVATE, 10, toplevel=NEW, expect_current=OLD))) == ("refused", "busy")


def specialised(rig: Rig, of: str = OLD) -> None:
    """Let the host run a specialisation of a system."""
    for system in (OLD, of):
        (rig.root / system.removeprefix("/") / "specialisation").mkdir(exist_ok=True)
    (rig.root / of.removeprefix("/") / "specialisation/fast").symlink_to(rig.root / OTHER.removeprefix("/"))
    rig.point("run/current-system", OTHER)


def a_specialisation_is_the_system_that_it_belongs_to(rig: Rig) -> None:
    """It is no drift; a trial takes the host, and a commit moves profile and boot default to the new system itself."""
    specialised(rig)
    fields = rig.ask("facts").fields
    assert (fields["current"], fields["profile"], fields["specialisation"]) == (OLD, OLD, "fast")
    live_trial(rig)
    rig.order(order(rig, Verb.COMMIT, 11))
    rig.run_commit()
    shown = rig.shown()
    assert (shown.state, shown.current, shown.profile, shown.boot_default) == ("committed", NEW, NEW, NEW)


def the_way_back_leads_to_the_specialisation_that_ran(rig: Rig) -> None:
    """Not to the system that it belongs to, which may be quite another thing to run."""
    specialised(rig)
    live_trial(rig)
    rig.order(order(rig, Verb.REVERT, 11))
    run_reverts(rig)
    shown = rig.shown()
    assert (shown.state, shown.current, shown.profile, shown.boot_default) == ("reverted", OTHER, OLD, OLD)
    assert rig.ask("facts").fields["current"] == OLD


def a_specialisation_of_another_system_is_another_system(rig: Rig) -> None:
    """Only what was set to boot together is one."""
    specialised(rig, of=NEW)
    assert rig.ask("facts").fields["current"] == OTHER
    assert said(rig.order(order(rig, Verb.TRIAL, 10, toplevel=NEW))) == ("refused", "drifted")


LAWS: tuple[Law, ...] = (
    a_specialisation_is_the_system_that_it_belongs_to,
    the_way_back_leads_to_the_specialisation_that_ran,
    a_specialisation_of_another_system_is_another_system,
    a_dry_activation_changes_nothing,
    a_dry_activation_is_refused_while_a_trial_runs,
    a_switch_by_others_is_no_answer_to_a_dry_activation,
    what_is_staged_boots_next_and_nothing_is_switched,
    a_stage_whose_loader_lies_is_put_back,
    what_the_installer_said_is_told_with_what_was_not_staged,
    a_stage_that_was_killed_is_put_back,
    power_lost_while_staging_ends_whole,
    a_host_that_booted_what_was_being_staged_is_staged,
    nothing_is_switched_over_what_is_staged,
    what_runs_is_not_tried_over_what_is_staged,
    what_is_staged_ends_the_way_back_from_a_kept_test,
    for_a_boot_no_live_switch_has_to_be_possible,
    a_profile_that_does_not_boot_is_not_staged_over,
    a_released_trial_goes_on_running_and_would_boot_the_old_system,
    a_release_without_a_guard_is_refused,
    what_does_not_run_is_not_released,
    a_kept_test_gives_way_to_the_next_trial,
    a_kept_test_that_somebody_replaced_is_unsettled,
    a_trial_that_did_not_begin_leaves_a_kept_test_as_it_was,
    a_kept_test_is_nobody_else_s_switch,
    what_goes_back_past_a_kept_test_is_compared_with_both,
    no_unit_keeps_what_a_kept_test_started,
)
