"""What the helper must never do, as short stories on the rig. Each is a law: it raises when the law is broken.

``test_helper_laws`` runs them on the helper as it is, and on copies with one protection taken out each, where they
must fail: a law that cannot fail protects nobody.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from fleetd.host.wire import Reply, encode_order, status_of
from fleetd.model.fence import Fence
from fleetd.model.order import Order, OrderTimes, Verb
from tests.host.rig import HOST, MACHINE_ID, Died, Rig, toplevel

OLD, NEW, OTHER = toplevel("1"), toplevel("2"), toplevel("3")
SYSTEMS = ("1", "2", "3")
TIMES = OrderTimes(switch_timeout_s=20, contact_timeout_s=30, cap_s=150, commit_timeout_s=20, revert_timeout_s=40)
ID = f"r-1.{HOST}.1"
Law = Callable[[Rig], None]


def order(rig: Rig, verb: Verb, seq: int, **changes: object) -> Order:
    """Return an order that nothing forbids."""
    starts = verb in (Verb.TRIAL, Verb.STAGE, Verb.DRY_ACTIVATE)
    made = Order(
        verb=verb,
        id=ID,
        fence=Fence(1, seq),
        host=HOST,
        machine_id=MACHINE_ID,
        boot_id=rig.boot_id,
        uptime_limit_s=rig.now + 60,
        toplevel=NEW if starts else "",
        expect_current=OLD if starts else "",
        expect_profile=OLD if starts else "",
        times=TIMES if starts else None,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def said(reply: Reply) -> tuple[str, str]:
    """Return how an answer ends."""
    return reply.end, reply.code


def live_trial(rig: Rig, **changes: object) -> None:
    """Bring the host into a trial that runs."""
    assert said(rig.order(order(rig, Verb.TRIAL, 10, **changes))) == ("ok", "started")
    rig.run_switch()
    assert rig.shown().state == "trial"


def is_untouched(rig: Rig, state: str = "idle") -> None:
    """Nothing of an order took effect."""
    shown = rig.shown()
    assert (shown.state, shown.current, shown.profile, shown.boot_default) == (state, OLD, OLD, OLD)
    assert not [line for line in rig.log() if line.startswith(("stc", "nix-env"))]


def is_back(rig: Rig) -> None:
    """Everything is as before the trial."""
    shown = rig.shown()
    assert (shown.state, shown.current, shown.profile, shown.boot_default) == ("reverted", OLD, OLD, OLD)


def run_reverts(rig: Rig, most: int = 8) -> None:
    """Let the revert run until it leaves by itself, as systemd does."""
    for _ in range(most):
        if "revert" not in rig.shown().units:
            return
        rig.run_revert()


# -- fences -----------------------------------------------------------------------------------------------------


def a_lower_fence_is_refused(rig: Rig) -> None:
    """A stale order never moves a host."""
    rig.order(order(rig, Verb.SETTLE, 10))
    assert said(rig.order(order(rig, Verb.TRIAL, 9))) == ("refused", "stale-fence")
    assert said(rig.order(order(rig, Verb.TRIAL, 10**12, fence=Fence(0, 10**12)))) == ("refused", "stale-fence")
    is_untouched(rig)


def an_equal_fence_with_other_words_is_refused(rig: Rig) -> None:
    """Two controllers that chose the same fence are told, not obeyed."""
    rig.order(order(rig, Verb.SETTLE, 10))
    assert said(rig.order(order(rig, Verb.TRIAL, 10))) == ("refused", "fence-conflict")
    is_untouched(rig)


def a_repeat_does_nothing(rig: Rig) -> None:
    """The same order twice takes effect once."""
    live_trial(rig)
    trial = order(rig, Verb.TRIAL, 10)
    rig.forget_log()
    assert said(rig.order(trial)) == ("ok", "repeat")
    assert not [line for line in rig.log() if " start " in line]
    assert rig.shown().state == "trial"


def after_a_settle_no_earlier_order_takes_effect(rig: Rig) -> None:
    """That is what makes an answered settle resolve an unknown outcome."""
    late = order(rig, Verb.TRIAL, 10)
    assert said(rig.order(order(rig, Verb.SETTLE, 11))) == ("ok", "settled")
    assert rig.shown().fence == "1.11"
    assert said(rig.order(late)) == ("refused", "stale-fence")
    is_untouched(rig)


def a_fence_is_durable_before_its_order_is_obeyed(rig: Rig) -> None:
    """Killed at its first write, an order has done nothing; at the second, its fence already holds."""
    rig.set("die-at", "1")
    dies(rig, order(rig, Verb.TRIAL, 10))
    assert rig.shown().fence == "0.0"
    rig.set("die-at", "3")
    rig.set("writes", "0")
    dies(rig, order(rig, Verb.TRIAL, 11))
    rig.clear("die-at")
    assert rig.shown().fence == "1.11"
    is_untouched(rig)


def an_extend_carries_exactly_the_fence(rig: Rig) -> None:
    """A controller that was replaced cannot keep a trial alive."""
    live_trial(rig)
    before = rig.shown().deadline
    rig.pass_time(5)
    assert said(rig.order(order(rig, Verb.EXTEND, 9))) == ("refused", "stale-fence")
    assert said(rig.order(order(rig, Verb.EXTEND, 11))) == ("refused", "stale-fence")
    assert (rig.shown().deadline, rig.shown().fence) == (before, "1.10")


def dies(rig: Rig, sent: Order) -> None:
    """Send an order to a helper that is about to be killed."""
    try:
        rig.order(sent)
    except Died:
        return
    raise AssertionError("the helper was to be killed")


# -- what an order is held against ------------------------------------------------------------------------------


def an_order_for_another_machine_is_refused(rig: Rig) -> None:
    """An address that another machine took over."""
    assert said(rig.order(order(rig, Verb.TRIAL, 10, machine_id="f" * 32))) == ("refused", "wrong-host")
    is_untouched(rig)
    assert rig.shown().fence == "0.0"


def an_order_of_another_boot_is_refused(rig: Rig) -> None:
    """An order dies with a reboot."""
    assert said(rig.order(order(rig, Verb.TRIAL, 10, boot_id="boot-0"))) == ("refused", "expired")
    is_untouched(rig)


def a_late_order_is_refused(rig: Rig) -> None:
    """An order that a network kept for too long."""
    late = order(rig, Verb.TRIAL, 10)
    rig.pass_time(61)
    assert said(rig.order(late)) == ("refused", "expired")
    is_untouched(rig)


def another_current_system_is_drift(rig: Rig) -> None:
    """Somebody switched the host since it was looked at."""
    rig.point("run/current-system", OTHER)
    assert said(rig.order(order(rig, Verb.TRIAL, 10))) == ("refused", "drifted")
    assert rig.shown().current == OTHER


def another_profile_is_drift(rig: Rig) -> None:
    """Somebody prepared another system for the next boot."""
    rig.point("nix/var/nix/profiles/system", OTHER)
    assert said(rig.order(order(rig, Verb.TRIAL, 10))) == ("refused", "drifted")
    assert rig.shown().profile == OTHER


def a_boot_default_that_does_not_run_is_unsettled(rig: Rig) -> None:
    """Going back by a reboot would not go back to what ran."""
    rig.set_boot_default(OTHER)
    assert said(rig.order(order(rig, Verb.TRIAL, 10))) == ("refused", "unsettled")
    assert not [line for line in rig.log() if " start " in line]


def a_second_trial_is_refused_while_one_runs(rig: Rig) -> None:
    """One activation at a time."""
    live_trial(rig)
    second = order(rig, Verb.TRIAL, 11, id=f"r-2.{HOST}.1", toplevel=OTHER, expect_current=NEW)
    assert said(rig.order(second)) == ("refused", "busy")
    assert rig.shown().id == ID


def an_id_is_tried_once(rig: Rig) -> None:
    """What is told of an id must be true of one trial only."""
    live_trial(rig)
    rig.order(order(rig, Verb.REVERT, 11))
    run_reverts(rig)
    assert said(rig.order(order(rig, Verb.TRIAL, 12))) == ("refused", "id-used")
    is_back(rig)


def a_system_that_is_not_in_the_store_is_refused(rig: Rig) -> None:
    """A copy that did not arrive."""
    assert said(rig.order(order(rig, Verb.TRIAL, 10, toplevel=toplevel("8")))) == ("refused", "not-valid")
    is_untouched(rig)


def a_system_of_other_bytes_is_refused(rig: Rig) -> None:
    """The path is there and holds something else."""
    wrong = order(rig, Verb.TRIAL, 10, nar_hash=f"sha256:{'1' * 52}")
    assert said(rig.order(wrong)) == ("refused", "hash-mismatch")
    is_untouched(rig)


def an_order_that_is_too_long_is_refused_whole(rig: Rig) -> None:
    """What is cut must never be obeyed."""
    document = encode_order(order(rig, Verb.SETTLE, 10)) + b"ignore_units=" + b"a" * 70_000 + b"\n"
    assert said(rig.ask("settle", document)) == ("refused", "bad-order")
    assert rig.shown().fence == "0.0"


def a_trial_without_its_times_is_refused_before_its_fence(rig: Rig) -> None:
    """An order that lacks something has an answer, and no effect at all."""
    assert said(rig.order(order(rig, Verb.TRIAL, 10, times=None))) == ("refused", "bad-order")
    assert rig.shown().fence == "0.0"


def only_shared_inhibitors_are_compared(rig: Rig) -> None:
    """A key that one system does not know forbids nothing; a key that both have, and that differs, does."""
    place = rig.root / NEW.removeprefix("/") / "switch-inhibitors"
    place.write_text('{ "dbus-implementation" : "dbus", "systemd": "261" }\n')
    assert said(rig.order(order(rig, Verb.TRIAL, 10))) == ("ok", "started")


def a_shared_inhibitor_that_differs_needs_a_reboot(rig: Rig) -> None:
    """And is never switched to live."""
    place = rig.root / NEW.removeprefix("/") / "switch-inhibitors"
    place.write_text('{"dbus-implementation":"broker"}\n')
    reply = rig.order(order(rig, Verb.TRIAL, 10))
    assert said(reply) == ("refused", "needs-reboot")
    assert "dbus-implementation (dbus -> broker)" in reply.message
    is_untouched(rig)


def a_boot_partition_without_room_is_refused(rig: Rig) -> None:
    """Before anything is cleaned up there; both numbers are told."""
    big_kernel(rig)
    reply = rig.order(order(rig, Verb.TRIAL, 10))
    assert said(reply) == ("refused", "boot-full")
    assert str(KERNEL_BYTES + 65536) in reply.message
    is_untouched(rig)


def a_kernel_that_is_there_needs_no_room(rig: Rig) -> None:
    """Most systems share their kernel with the one before."""
    big_kernel(rig)
    (rig.root / "boot/nixos").mkdir()
    (rig.root / f"boot/nixos/{'k' * 32}-linux-6.12-bzImage").touch()
    assert said(rig.order(order(rig, Verb.TRIAL, 10))) == ("ok", "started")


KERNEL_BYTES = 1 << 44
"""More than any disk of a test has; the file is a hole."""


def big_kernel(rig: Rig) -> None:
    """Give the new system a kernel for which there is no room."""
    kernel = rig.root / f"nix/store/{'k' * 32}-linux-6.12/bzImage"
    kernel.parent.mkdir()
    with kernel.open("wb") as file:
        file.truncate(KERNEL_BYTES)
    (rig.root / NEW.removeprefix("/") / "kernel").symlink_to(kernel)


def a_wrapper_in_the_profile_is_the_system_that_it_wraps(rig: Rig) -> None:
    """deploy-rs leaves one; its files are links into the system that runs."""
    wrapper = f"/nix/store/{'w' * 32}-activatable-nixos-system-web1-1"
    place = rig.root / wrapper.removeprefix("/")
    place.mkdir()
    (place / "init").symlink_to(rig.root / OLD.removeprefix("/") / "init")
    rig.point("nix/var/nix/profiles/system", wrapper)
    assert rig.ask("facts").fields["profile"] == OLD
    assert said(rig.order(order(rig, Verb.TRIAL, 10))) == ("ok", "started")


def another_system_in_the_profile_is_not_taken_for_a_wrapper(rig: Rig) -> None:
    """It has an init of its own, or none."""
    (rig.root / OTHER.removeprefix("/") / "init").unlink()
    (rig.root / OLD.removeprefix("/") / "init").unlink()
    rig.point("nix/var/nix/profiles/system", OTHER)
    assert said(rig.order(order(rig, Verb.TRIAL, 10))) == ("refused", "drifted")


def what_only_a_boot_can_change_is_named(rig: Rig) -> None:
    """By where links lead, and by what files say."""
    assert (rig.ask("facts").fields["needs_reboot"], rig.ask("facts").fields["reboot_reasons"]) == ("", "")
    new = rig.root / NEW.removeprefix("/")
    (new / "kernel").symlink_to("/nix/store/k/bzImage")
    (new / "kernel-params").write_text("loglevel=7\n")
    rig.point("run/current-system", NEW)
    fields = rig.ask("facts").fields
    assert (fields["needs_reboot"], fields["reboot_reasons"]) == ("yes", "kernel kernel-params")


# -- arming -----------------------------------------------------------------------------------------------------


def the_guard_is_armed_before_the_switch(rig: Rig) -> None:
    """Nothing is switched that nobody would take back."""
    rig.set("refuse-guard", "yes")
    assert said(rig.order(order(rig, Verb.TRIAL, 10))) == ("error", "no-guard")
    assert not [line for line in rig.log() if "fleetd-switch" in line and " start " in line]
    is_untouched(rig, "reverted")


def a_switch_that_cannot_be_started_ends_where_it_began(rig: Rig) -> None:
    """Armed, and then systemd refuses."""
    rig.set("refuse-switch", "yes")
    assert said(rig.order(order(rig, Verb.TRIAL, 10))) == ("ok", "started")
    run_reverts(rig)
    is_back(rig)


def state_is_on_disk_before_its_effect(rig: Rig) -> None:
    """Killed at any write of a trial: what was started is what the disk says."""
    for write in range(1, 90):
        rig.set("writes", "0")
        rig.set("die-at", str(write))
        rig.forget_log()
        sent = order(rig, Verb.TRIAL, 10 + write, id=f"r-{write}.{HOST}.1")
        try:
            rig.order(sent)
        except Died:
            started = [line for line in rig.log() if " start " in line and "switch" in line]
            assert not started or (rig.shown().state, rig.shown().id) == ("switching", sent.id), (write, started)
        else:
            assert rig.shown().state in (
                "switching",
                "reverting",
            )  # or mended, where it was killed after its last write
            return
        finally:
            rig.clear("die-at")
    raise AssertionError("a trial makes fewer writes than this")


def a_full_disk_refuses_the_trial(rig: Rig) -> None:
    """At any write: refused, nothing runs, and with room again the next one starts."""
    for write in range(1, 90):
        rig.set("writes", "0")
        rig.set("full-from", str(write))
        reply = rig.order(order(rig, Verb.TRIAL, 10 + write, id=f"r-{write}.{HOST}.1"))
        if reply.end == "ok":
            break
        assert said(reply) == ("error", "disk-full")
        assert not [line for line in rig.log() if " start " in line]
        is_untouched(rig)
    rig.clear("full-from")
    assert 20 < write < 89


# -- the deadline -----------------------------------------------------------------------------------------------


def the_guard_takes_back_what_nobody_confirms(rig: Rig) -> None:
    """Promise 3: no controller is needed."""
    live_trial(rig)
    rig.pass_time(TIMES.contact_timeout_s + 1)
    rig.guard_looks()
    run_reverts(rig)
    is_back(rig)
    assert not rig.guard_looks()


def a_switch_that_never_ends_is_taken_back(rig: Rig) -> None:
    """The deadline of the whole switch, armed before it."""
    rig.order(order(rig, Verb.TRIAL, 10))
    rig.pass_time(TIMES.switch_timeout_s + 30 + TIMES.contact_timeout_s)
    assert rig.guard_looks()
    assert rig.shown().state == "switching"
    rig.pass_time(1)
    rig.guard_looks()
    run_reverts(rig)
    is_back(rig)


def from_the_end_of_the_switch_only_silence_counts(rig: Rig) -> None:
    """A quick switch does not leave a host alone for as long as a slow one might have taken."""
    live_trial(rig)
    assert int(rig.shown().deadline) == rig.now + TIMES.contact_timeout_s


def extending_never_goes_beyond_the_cap(rig: Rig) -> None:
    """A controller that only ever extends cannot keep an unproven system for good."""
    live_trial(rig)
    armed = rig.now
    for _ in range(20):
        rig.pass_time(20)
        rig.order(order(rig, Verb.EXTEND, 10))
        assert int(rig.shown().deadline) <= armed + TIMES.cap_s


def a_passed_deadline_cannot_be_extended(rig: Rig) -> None:
    """Nor committed: the guard may be a moment late, nothing else may profit from that."""
    live_trial(rig)
    rig.pass_time(TIMES.contact_timeout_s)
    before = rig.shown().deadline
    assert said(rig.order(order(rig, Verb.EXTEND, 10))) == ("refused", "bad-state")
    assert rig.shown().deadline == before
    assert said(rig.order(order(rig, Verb.COMMIT, 11))) == ("refused", "bad-state")


def a_shutdown_is_no_deadline(rig: Rig) -> None:
    """While the host shuts down the guard waits: the boot default is the old system already."""
    live_trial(rig)
    rig.set("is-system-running", "stopping")
    rig.pass_time(500)
    assert rig.guard_looks()
    assert rig.shown().state == "trial"


# -- the end of a switch ----------------------------------------------------------------------------------------


def a_switch_that_was_killed_is_never_taken_for_done(rig: Rig) -> None:
    """It looks live, and nobody knows what it left undone."""
    rig.order(order(rig, Verb.TRIAL, 10))
    rig.set("switch", "die")
    rig.run_switch()
    assert rig.record("verdict") == "interrupted"
    run_reverts(rig)
    is_back(rig)


def a_switch_that_was_killed_in_its_activation_is_taken_back(rig: Rig) -> None:
    """It had written its /etc, and moved nothing that shows."""
    rig.order(order(rig, Verb.TRIAL, 10))
    rig.set("switch", "die-in-activation")
    rig.run_switch()
    assert (rig.control / "etc").read_text() == f"{NEW[-1]}\n"
    assert (rig.shown().state, rig.record("verdict")) == ("reverting", "interrupted")
    run_reverts(rig)
    is_back(rig)
    assert (rig.control / "etc").read_text() == f"{OLD[-1]}\n"


def a_switch_that_never_began_leaves_nothing_to_take_back(rig: Rig) -> None:
    """Its unit could not even write down that it begins."""
    rig.order(order(rig, Verb.TRIAL, 10))
    rig.set("writes", "0")
    rig.set("full-from", "0")
    rig.begin_switch()
    rig.clear("full-from")
    rig.run_switch(begins=False)
    is_untouched(rig, "reverted")


def a_system_is_switched_to_as_by_hand(rig: Rig) -> None:
    """What its programs and its boot loader write is not for root alone; the helper's own state is."""
    committing(rig)
    rig.set("loader", "fail")
    rig.run_commit()
    run_reverts(rig)
    is_back(rig)
    assert (rig.control / "umasks").read_text().split() == ["0022"] * 3  # test, boot, test
    assert (rig.root / "nix/var/fleetd-host").stat().st_mode & 0o77 == 0


def an_interrupted_switch_is_resumed_once(rig: Rig) -> None:
    """Left-over lists say that it stopped midway; the same call goes on."""
    rig.order(order(rig, Verb.TRIAL, 10))
    rig.set("switch", "cut-1")
    rig.run_switch()
    assert (rig.shown().state, rig.record("verdict")) == ("trial", "live")


def a_switch_that_stays_interrupted_is_taken_back(rig: Rig) -> None:
    """Twice is enough."""
    rig.order(order(rig, Verb.TRIAL, 10))
    rig.set("switch", "cut-1\ncut-0")
    rig.run_switch()
    assert rig.shown().state == "reverting"
    run_reverts(rig)
    is_back(rig)


def a_switch_runs_once(rig: Rig) -> None:
    """Killed whole, without its last word: started again by hand it leaves the host to the guard."""
    rig.order(order(rig, Verb.TRIAL, 10))
    rig.set("switch", "die-early")
    rig.run_switch(last_word=False)
    rig.start_unit("switch")
    rig.forget_log()
    rig.run_switch(last_word=False)
    assert not [line for line in rig.log() if line.startswith("stc")]


# -- the commit -------------------------------------------------------------------------------------------------


def a_commit_without_a_guard_is_refused(rig: Rig) -> None:
    """Something takes the host back already."""
    live_trial(rig)
    rig.kill_unit("guard")
    assert said(rig.order(order(rig, Verb.COMMIT, 11))) == ("refused", "bad-state")


def a_silent_systemd_is_no_dead_guard(rig: Rig) -> None:
    """While PID 1 re-executes it answers nobody; that takes no good trial back."""
    live_trial(rig)
    rig.set("systemd-is-silent", "yes")
    rig.ask("facts")
    assert rig.shown().state == "trial"


def a_commit_moves_profile_and_boot_default(rig: Rig) -> None:
    """And only then is the host committed."""
    live_trial(rig)
    assert said(rig.order(order(rig, Verb.COMMIT, 11))) == ("ok", "committing")
    rig.run_commit()
    shown = rig.shown()
    assert (shown.state, shown.current, shown.profile, shown.boot_default) == ("committed", NEW, NEW, NEW)
    roots = rig.root / "nix/var/nix/gcroots/fleetd"
    rooted = {link.name: link.readlink().as_posix() for link in roots.iterdir()}
    assert (rooted.get("current"), rooted.get("last-good")) == (NEW, OLD)


def a_commit_whose_loader_lies_is_undone(rig: Rig) -> None:
    """Exit 0 is a hint; what the loader says is read back."""
    committing(rig)
    rig.set("loader", "lie")
    rig.run_commit()
    assert rig.shown().state == "undoing"
    run_reverts(rig)
    is_back(rig)


def a_commit_whose_loader_garbles_its_file_is_undone(rig: Rig) -> None:
    """It was readable when the trial began: what nobody can read now, no firmware may be able to boot."""
    committing(rig)
    rig.set("loader", "garble")
    rig.run_commit()
    assert rig.shown().state == "undoing"
    run_reverts(rig)
    is_back(rig)


def a_way_back_whose_loader_garbles_its_file_is_not_well(rig: Rig) -> None:
    """Nor is the old system's own program believed; it is asked again."""
    committing(rig)
    rig.set("loader", "garble\ngarble\ngarble")
    rig.run_commit()
    rig.run_revert()
    assert (rig.shown().state, rig.shown().current) == ("undoing", OLD)
    run_reverts(rig)
    is_back(rig)


def a_host_whose_loader_nobody_can_read_is_committed_by_permission(rig: Rig) -> None:
    """The fleet file says ``boot = "external"``: then its program's word is all there is."""
    rig.garble_loader()
    live_trial(rig, boot_external=True)
    rig.set("loader", "garble")
    rig.order(order(rig, Verb.COMMIT, 11))
    rig.run_commit()
    assert (rig.shown().state, rig.shown().profile) == ("committed", NEW)


def a_commit_whose_profile_lies_is_undone(rig: Rig) -> None:
    """So is the profile."""
    committing(rig)
    rig.set("profile", "lie")
    rig.run_commit()
    assert rig.shown().state == "undoing"
    run_reverts(rig)
    is_back(rig)


def a_profile_that_lies_on_the_way_back_is_not_well(rig: Rig) -> None:
    """The boot default never moved; what a later boot loader installs is what the profile says."""
    committing(rig)
    rig.set("loader", "fail")
    rig.run_commit()
    rig.set("profile", "lie\nlie")
    rig.run_revert()
    assert (rig.shown().state, rig.shown().current, rig.shown().profile) == ("undoing", OLD, NEW)
    run_reverts(rig)
    is_back(rig)


def a_commit_that_fails_is_undone(rig: Rig) -> None:
    """The profile that was moved already comes back."""
    committing(rig)
    rig.set("loader", "fail")
    rig.run_commit()
    assert rig.shown().profile == NEW
    run_reverts(rig)
    is_back(rig)


def what_the_installer_said_is_told_with_a_commit_that_failed(rig: Rig) -> None:
    """In the reason, its end; in the log, more of it. Its own words are what a person needs to mend it."""
    committing(rig)
    rig.set("journal-commit", "copying a kernel\nno space left on /boot")
    rig.set("loader", "fail")
    rig.run_commit()
    run_reverts(rig)
    is_back(rig)
    status = status_of(rig.ask("status"))
    failed = "the commit failed: the boot loader could not be installed"
    assert status.message == f"{failed}: copying a kernel | no space left on /boot"


def the_log_of_a_commit_that_failed_has_its_installer(rig: Rig) -> None:
    """And that of one that went well has nothing to tell."""
    committing(rig)
    rig.set("journal-commit", "no space left on /boot")
    rig.run_commit()
    assert "== profile" not in status_of(rig.ask("status")).log
    rig.set("loader", "fail")
    later = {"id": f"r-2.{HOST}.1", "toplevel": OTHER, "expect_current": NEW, "expect_profile": NEW}
    rig.order(order(rig, Verb.TRIAL, 20, **later))
    rig.run_switch()
    rig.order(order(rig, Verb.COMMIT, 21, id=later["id"]))
    rig.run_commit()
    run_reverts(rig)
    assert rig.shown().state == "reverted"
    assert status_of(rig.ask("status")).log.endswith("== profile and boot loader\nno space left on /boot")


def a_commit_goes_on_when_a_collector_fails_its_installer(rig: Rig) -> None:
    """What was listed is gone before it is read: that says nothing of the new system."""
    committing(rig)
    (rig.root / "nix/var/nix/profiles/system-1-link").symlink_to(OLD)
    rig.set("loader", "collected")
    rig.run_commit()
    shown = rig.shown()
    assert (shown.state, shown.profile, shown.boot_default) == ("committed", NEW, NEW)


def a_collector_waits_while_the_profile_is_set(rig: Rig) -> None:
    """It would take the new generation away before the profile leads to it."""
    committing(rig)
    rig.set("profile", "collected")
    rig.run_commit()
    assert rig.shown().state == "committed"


def a_profile_is_set_also_where_it_cannot_be_locked(rig: Rig) -> None:
    """What everybody else does without is not worth a lost commit."""
    committing(rig)
    (rig.root / "nix/var/nix/profiles/system.lock").mkdir()
    rig.run_commit()
    assert rig.shown().state == "committed"


def a_commit_that_hangs_is_undone_by_the_guard(rig: Rig) -> None:
    """At the commit's own deadline."""
    committing(rig)
    rig.pass_time(TIMES.commit_timeout_s + 1)
    rig.guard_looks()
    assert rig.shown().state == "undoing"
    run_reverts(rig)
    is_back(rig)


def a_commit_that_is_undone_runs_no_longer(rig: Rig) -> None:
    """The guard called it off, and its loader is still at work: what that writes now would be booted next."""
    committing(rig)
    rig.pass_time(TIMES.commit_timeout_s + 1)
    rig.guard_looks()
    assert rig.shown().units == {"guard", "commit", "revert"}
    rig.forget_log()
    rig.run_revert()
    log = rig.log()
    stop = f"systemctl stop fleetd-commit-{ID}.service"
    assert stop in log and log.index(stop) < log.index(f"stc {OLD[-1]} test")
    assert "commit" not in rig.shown().units


def a_way_back_is_not_well_while_the_commit_may_run(rig: Rig) -> None:
    """What runs comes back; the host is not called well while a commit may still move its default."""
    committing(rig)
    rig.pass_time(TIMES.commit_timeout_s + 1)
    rig.guard_looks()
    rig.set("stop-is-lost", "yes")
    rig.run_revert()
    assert (rig.shown().state, rig.shown().current) == ("undoing", OLD)
    rig.clear("stop-is-lost")
    run_reverts(rig)
    is_back(rig)


def a_commit_that_lost_the_race_is_not_committed(rig: Rig) -> None:
    """Whoever swaps the state first has won; the loser changes nothing."""
    committing(rig)
    rig.set("loader", "taken-back")
    rig.run_commit()
    assert rig.shown().state == "undoing"


def a_commit_is_not_reverted_by_order(rig: Rig) -> None:
    """Between the steps of a commit only its own undo is right."""
    committing(rig)
    assert said(rig.order(order(rig, Verb.REVERT, 12))) == ("refused", "bad-state")
    assert rig.shown().state == "committing"


def a_system_that_does_not_run_is_not_committed(rig: Rig) -> None:
    """Somebody switched between the last look and the commit."""
    live_trial(rig)
    rig.point("run/current-system", OLD)
    rig.order(order(rig, Verb.COMMIT, 11))
    rig.run_commit()
    assert not [line for line in rig.log() if line.startswith("nix-env")]
    run_reverts(rig)
    is_back(rig)


def power_lost_in_a_commit_is_undone_or_finished(rig: Rig) -> None:
    """Profile new, boot default old, runs old: a later `nixos-rebuild boot` must not take the new one."""
    committing(rig)
    rig.set("profile", "die-after")
    try:
        rig.run_commit()
    except Died:
        rig.clear("profile")
    rig.reboot()
    assert (rig.shown().current, rig.shown().profile) == (OLD, NEW)
    rig.ask("facts")
    run_reverts(rig)
    is_back(rig)


def a_revert_that_runs_after_a_reboot_says_itself_how_it_ends(rig: Rig) -> None:
    """The old system's link is there long before its units are: somebody who asks meanwhile is not told "reverted"."""
    committing(rig)
    rig.set("loader", "die-after")
    try:
        rig.run_commit()
    except Died:
        rig.clear("loader")
    rig.point("nix/var/nix/profiles/system", OLD)
    rig.reboot()
    rig.ask("facts")
    assert (rig.shown().state, rig.shown().current) == ("undoing", NEW)
    rig.set("switch", "cut-die")
    try:
        rig.run_revert()
    except Died:
        assert (rig.shown().current, rig.shown().boot_default) == (OLD, OLD)
    else:
        raise AssertionError("the revert was to be killed in its switch")
    rig.ask("facts")
    assert rig.shown().state == "undoing"
    run_reverts(rig)
    is_back(rig)


def power_lost_after_the_whole_commit_is_committed(rig: Rig) -> None:
    """All of it is there, only the last word was not written."""
    committing(rig)
    rig.set("loader", "die-after")
    try:
        rig.run_commit()
    except Died:
        rig.clear("loader")
    rig.reboot()
    rig.ask("facts")
    shown = rig.shown()
    assert (shown.state, shown.current, shown.profile, shown.boot_default) == ("committed", NEW, NEW, NEW)


def committing(rig: Rig) -> None:
    """Bring the host to where the commit unit is about to run."""
    live_trial(rig)
    assert said(rig.order(order(rig, Verb.COMMIT, 11))) == ("ok", "committing")


def a_person_at_the_console_is_told_a_program_that_is_there(rig: Rig) -> None:
    """Whichever way the helper came to the host."""
    live_trial(rig)
    for _ in range(100):
        if (rig.control / "wall").exists():
            break
        time.sleep(0.05)
    program = (rig.control / "wall").read_text().splitlines()[1].split()[0]
    assert Path(program).is_file(), program


def a_commit_from_the_console_is_told_as_one(rig: Rig) -> None:
    """Whoever asks later learns that it was a person, and no order."""
    live_trial(rig)
    assert rig.console("finish")
    rig.run_commit()
    assert (rig.shown().state, rig.record("by")) == ("committed", "console")


def a_commit_from_the_console_that_cannot_begin_says_so(rig: Rig) -> None:
    """A person reads what is printed, and a script the exit code."""
    live_trial(rig)
    rig.set("full-from", "0")
    assert not rig.console("finish")
    rig.clear("full-from")
    assert rig.shown().state == "trial"


def a_commit_that_cannot_be_written_down_is_no_refusal(rig: Rig) -> None:
    """Its last write may have come through: the controller must settle it, and not believe that nothing was done."""
    live_trial(rig)
    rig.set("writes", "0")
    rig.set("full-from", "3")  # the fence is two
    assert said(rig.order(order(rig, Verb.COMMIT, 11))) == ("error", "disk-full")


# -- the way back -----------------------------------------------------------------------------------------------


def a_revert_is_judged_by_what_the_host_shows(rig: Rig) -> None:
    """The old system's switch ends with 0 and changed nothing: three times, and a person is asked."""
    live_trial(rig)
    rig.order(order(rig, Verb.REVERT, 11))
    rig.set("switch", "refuse-0\nrefuse-0\nrefuse-0")
    run_reverts(rig)
    assert rig.shown().state == "stranded"


def what_the_switch_left_in_the_queue_is_ended_and_nothing_else(rig: Rig) -> None:
    """A hung unit of its own would hang the way back; a backup that was at work before is nobody's leftover."""
    rig.set("jobs", "7 backup.service start running\n8 nightly.target start waiting")
    live_trial(rig)
    rig.set("jobs", "7 backup.service start running\n9 hung.service start running")
    rig.order(order(rig, Verb.REVERT, 11))
    run_reverts(rig)
    is_back(rig)
    assert "systemctl kill -s KILL hung.service" in rig.log()
    assert not [line for line in rig.log() if "backup" in line]


def a_revert_that_leaves_a_unit_down_is_not_well(rig: Rig) -> None:
    """Running the old system is not enough: what ran before must run again."""
    live_trial(rig)
    rig.order(order(rig, Verb.REVERT, 11))
    rig.set("switch", "lame\nlame\nlame")
    rig.set("refuse-other", "yes")
    run_reverts(rig)
    assert rig.shown().state == "stranded"


def a_revert_whose_program_cannot_end_is_finished_by_hand(rig: Rig) -> None:
    """It stopped a unit, and a broken logind ends it before it starts that again: what it owes is on its lists."""
    live_trial(rig)
    rig.order(order(rig, Verb.REVERT, 11))
    rig.set("switch", "cut-1\ncut-1\ncut-1")
    run_reverts(rig)
    is_back(rig)
    assert "systemctl start --no-block web.service" in rig.log()
    assert not list((rig.root / "run/nixos").iterdir())


def a_switch_back_that_owes_something_is_not_well(rig: Rig) -> None:
    """Units that were to be restarted still run what the new system gave them."""
    live_trial(rig)
    rig.order(order(rig, Verb.REVERT, 11))
    rig.set("switch", "cut-1")
    rig.run_revert()
    assert rig.shown().state == "reverting"


def a_revert_that_was_killed_twice_ends(rig: Rig) -> None:
    """The third run finishes."""
    live_trial(rig)
    rig.order(order(rig, Verb.REVERT, 11))
    rig.set("switch", "die-early\ndie")
    for _ in range(2):
        try:
            rig.run_revert()
        except Died:
            continue
    run_reverts(rig)
    is_back(rig)


def a_loader_that_fails_does_not_keep_a_host_unreachable(rig: Rig) -> None:
    """What runs comes back first; the boot default is tried again, and the host is not called well before."""
    committing(rig)
    rig.set("loader", "die-after")
    try:
        rig.run_commit()
    except Died:
        rig.clear("loader")
    rig.pass_time(TIMES.commit_timeout_s + 1)
    rig.guard_looks()
    rig.set("loader", "fail\nfail")
    rig.run_revert()
    assert (rig.shown().state, rig.shown().current) == ("undoing", OLD)
    run_reverts(rig)
    is_back(rig)


def an_unreadable_loader_is_put_back_after_a_commit_began(rig: Rig) -> None:
    """Nobody can read what it boots, so its own program is asked to boot the old system."""
    rig.garble_loader()
    live_trial(rig, boot_external=True)
    rig.order(order(rig, Verb.COMMIT, 11))
    rig.set("loader", "fail")
    rig.run_commit()
    rig.set("loader", "lie")
    rig.forget_log()
    run_reverts(rig)
    assert f"stc {OLD[-1]} boot" in rig.log()


def a_host_that_an_operator_switched_is_left_alone(rig: Rig) -> None:
    """A person knows better than a deadline."""
    live_trial(rig)
    rig.point("run/current-system", OTHER)
    rig.pass_time(81)
    rig.forget_log()
    rig.guard_looks()
    assert rig.shown().state == "interfered"
    assert not [line for line in rig.log() if line.startswith("stc")]


def a_link_that_cannot_be_read_is_no_operator(rig: Rig) -> None:
    """Going back must not be called off by something that is only broken."""
    live_trial(rig)
    (rig.root / "run/current-system").unlink()
    rig.pass_time(81)
    rig.guard_looks()
    run_reverts(rig)
    is_back(rig)


def a_dead_guard_is_noticed_by_facts(rig: Rig) -> None:
    """Killed with its revert, in the same boot: the next look takes the host back."""
    live_trial(rig)
    rig.kill_unit("guard")
    rig.kill_unit("revert")
    rig.ask("facts")
    run_reverts(rig)
    is_back(rig)


def units_that_are_there_are_not_written_again(rig: Rig) -> None:
    """Going back must not need room in /run."""
    live_trial(rig)
    unit = rig.root / "run/systemd/system" / rig.unit("revert")
    unit.write_text(unit.read_text() + "# as it was\n")
    rig.kill_unit("guard")
    rig.kill_unit("revert")
    rig.ask("facts")
    assert unit.read_text().endswith("# as it was\n")
    run_reverts(rig)
    is_back(rig)


def a_full_disk_does_not_stop_the_way_back(rig: Rig) -> None:
    """Live first; the state follows once there is room."""
    live_trial(rig)
    rig.set("full-from", "0")
    rig.pass_time(81)
    rig.guard_looks()
    rig.run_revert()
    assert rig.shown().current == OLD
    rig.clear("full-from")
    run_reverts(rig)
    is_back(rig)


def a_reboot_as_last_resort_needs_permission(rig: Rig) -> None:
    """Stranded and running is better than a reboot that nobody allowed."""
    live_trial(rig)
    rig.order(order(rig, Verb.REVERT, 11))
    rig.set("switch", "refuse-0\nrefuse-0\nrefuse-0")
    run_reverts(rig)
    assert not (rig.control / "reboots").exists()


def a_reboot_as_last_resort_needs_the_old_boot_default(rig: Rig) -> None:
    """Else it would not go back at all."""
    live_trial(rig, last_resort="reboot")
    rig.set_boot_default(NEW)
    rig.order(order(rig, Verb.REVERT, 11))
    rig.set("switch", "refuse-0\nrefuse-0\nrefuse-0")
    rig.set("loader", "\n".join(["fail"] * 6))
    run_reverts(rig)
    assert not (rig.control / "reboots").exists()


def the_last_resort_is_used_once(rig: Rig) -> None:
    """A host that reboots for ever helps nobody."""
    live_trial(rig, last_resort="reboot")
    rig.order(order(rig, Verb.REVERT, 11))
    rig.set("switch", "\n".join(["refuse-0"] * 6))
    run_reverts(rig)
    assert (rig.control / "reboots").read_text().count("reboot") == 3  # one by one harder
    rig.start_unit("revert")
    (rig.root / f"nix/var/fleetd-host/{ID}/state").write_text("reverting\n")
    run_reverts(rig)
    assert (rig.control / "reboots").read_text().count("reboot") == 3


LAWS: tuple[Law, ...] = tuple(
    value
    for name, value in list(globals().items())
    if callable(value)
    and getattr(value, "__module__", "") == __name__
    and name
    not in ("order", "said", "live_trial", "is_untouched", "is_back", "run_reverts", "dies", "committing", "big_kernel")
)
