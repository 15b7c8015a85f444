"""What a trial by reboot must never do, as short stories on the rig: laws, as in ``laws``.

The host has systemd-boot, and both systems bring ``fleetd-boot.service``, unless a law says otherwise.
"""

from __future__ import annotations

from pathlib import Path

from fleetd.model.order import OrderTimes, Verb
from tests.host.laws import NEW, OLD, OTHER, Law, is_back, is_untouched, order, run_reverts, said
from tests.host.rig import ONE_SHOT, Rig

TIMES = OrderTimes(20, 30, 150, 20, 40, reboot_timeout_s=100)
GUARDED = frozenset(("guard", "switch"))
GOES_DOWN_S = 50
"""Half of the time that a reboot has."""


def ready(rig: Rig) -> None:
    """Give the host what a trial by reboot needs."""
    rig.use_systemd_boot()
    rig.guard_boots("1", "2")


def reboot_trial(rig: Rig, reboot: str = "always", **changes: object) -> tuple[str, str]:
    """Order a trial that may, or must, be a reboot."""
    return said(rig.order(order(rig, Verb.TRIAL, 10, reboot=reboot, times=TIMES, **changes)))


def goes_down(rig: Rig) -> None:
    """Bring a host to where systemd was told to reboot."""
    ready(rig)
    assert reboot_trial(rig) == ("ok", "started")
    rig.begin_switch()
    rig.kill_unit("switch")
    assert rig.shown().state == "rebooting"


def comes_up(rig: Rig) -> None:
    """Bring a host into the trial of what it booted."""
    goes_down(rig)
    rig.reboot()
    rig.boot_service()
    assert (rig.shown().state, rig.shown().units) == ("rebooting", GUARDED)
    rig.run_switch()
    assert (rig.shown().state, rig.shown().current) == ("trial", NEW)


# -- whether it may, and whether it can ---------------------------------------------------------------------------


def a_host_is_rebooted_only_where_the_policy_says_so(rig: Rig) -> None:
    """A kernel is switched to live where it says never, and needs a reboot to run."""
    ready(rig)
    rig.kernel("2", "loglevel=7\n")
    assert reboot_trial(rig, "never") == ("ok", "started")
    rig.run_switch()
    assert (rig.shown().state, rig.shown().profile, rig.reboots()) == ("trial", OLD, [])


def what_needs_no_reboot_is_switched_to_live(rig: Rig) -> None:
    """When-needed means when needed."""
    ready(rig)
    assert reboot_trial(rig, "when-needed") == ("ok", "started")
    rig.run_switch()
    assert (rig.shown().state, rig.reboots()) == ("trial", [])


def what_needs_a_reboot_gets_one(rig: Rig) -> None:
    """The booted system is what counts, not the running one: a kernel that was switched to live never ran."""
    ready(rig)
    rig.kernel("2", "loglevel=7\n")
    assert reboot_trial(rig, "when-needed") == ("ok", "started")
    rig.run_switch()
    assert (rig.shown().state, rig.reboots()) == ("rebooting", ["reboot"])


def another_systemd_is_never_switched_to_live(rig: Rig) -> None:
    """Forward it works, but there is nothing to go back on."""
    for system, version in ((OLD, "257.6"), (NEW, "258")):
        place = Path(f"{rig.root}/nix/store/{'s' * 32}-systemd-{version}")
        place.mkdir()
        Path(f"{rig.root}{system}/systemd").symlink_to(place)
    reply = rig.order(order(rig, Verb.TRIAL, 10))
    assert (said(reply), "systemd 257 -> 258" in reply.message) == (("refused", "needs-reboot"), True)
    is_untouched(rig)


def another_message_bus_is_never_switched_to_live(rig: Rig) -> None:
    """Also where no inhibitor says so."""
    for system in (OLD, NEW):
        Path(f"{rig.root}{system}/switch-inhibitors").unlink()
    rig.declare("2", "dbus-broker.service", "[Service]\n")
    assert said(rig.order(order(rig, Verb.TRIAL, 10))) == ("refused", "needs-reboot")
    is_untouched(rig)


def without_a_choice_for_one_boot_nothing_is_tried(rig: Rig) -> None:
    """The reason is told, and in the facts before anybody asks for it."""
    rig.guard_boots("1", "2")
    assert "extlinux" in rig.ask("facts").fields["oneshot"]
    reply = rig.order(order(rig, Verb.TRIAL, 10, reboot="always", times=TIMES))
    assert (said(reply), "extlinux" in reply.message) == (("refused", "needs-reboot"), True)
    is_untouched(rig)


def where_the_newest_entry_is_the_default_nothing_is_tried(rig: Rig) -> None:
    """Listed beside the old one, the new system would be what every boot starts."""
    ready(rig)
    assert rig.ask("facts").fields["oneshot"] == "yes"
    rig.loader_conf.write_text("default nixos-*\n")
    assert "newest" in rig.ask("facts").fields["oneshot"]
    assert reboot_trial(rig) == ("refused", "needs-reboot")
    assert rig.shown().profile == OLD


def a_host_that_needs_a_person_to_boot_is_not_rebooted(rig: Rig) -> None:
    """It would wait for a passphrase."""
    ready(rig)
    assert reboot_trial(rig, unattended_boot=False) == ("refused", "needs-reboot")
    is_untouched(rig)


def a_system_without_a_guard_of_its_own_is_not_booted(rig: Rig) -> None:
    """Unless the risk is taken by name."""
    ready(rig)
    (rig.root / NEW.removeprefix("/") / "etc/systemd/system/fleetd-boot.service").unlink()
    assert reboot_trial(rig) == ("refused", "needs-boot-guard")
    is_untouched(rig)


# -- going down ---------------------------------------------------------------------------------------------------


def the_new_system_is_booted_once_and_the_old_one_stays_the_default(rig: Rig) -> None:
    """Power lost at any moment boots the old system, or what is on trial."""
    goes_down(rig)
    shown = rig.shown()
    assert (shown.current, shown.profile, shown.boot_default, rig.chosen_once) == (OLD, NEW, OLD, "nixos-2.conf")
    assert rig.reboots() == ["reboot"]


def a_loader_that_garbles_its_file_is_not_rebooted_into(rig: Rig) -> None:
    """The default is read back before anything is chosen."""
    ready(rig)
    reboot_trial(rig)
    rig.set("loader", "garble")
    rig.run_switch()
    assert (rig.shown().state, rig.reboots(), rig.chosen_once) == ("reverting", [], "")
    run_reverts(rig)
    is_back(rig)


def a_system_that_the_loader_does_not_list_is_not_rebooted_into(rig: Rig) -> None:
    """An entry is found by what it boots, never by a number."""
    ready(rig)
    reboot_trial(rig)
    rig.set("loader", "unlisted")
    rig.run_switch()
    assert (rig.shown().state, rig.reboots()) == ("reverting", [])


def a_choice_that_did_not_take_is_not_rebooted_with(rig: Rig) -> None:
    """It is read back: a reboot into the old system would prove nothing, and cost a boot."""
    ready(rig)
    reboot_trial(rig)
    rig.set("bootctl-lies", "yes")
    rig.run_switch()
    assert (rig.shown().state, rig.reboots()) == ("reverting", [])
    rig.clear("bootctl-lies")
    run_reverts(rig)
    is_back(rig)


def a_reboot_is_on_disk_before_it_is_asked_for(rig: Rig) -> None:
    """After it nobody could tell what was meant."""
    ready(rig)
    reboot_trial(rig)
    rig.set("loader", "fill-disk")
    rig.run_switch()
    assert (rig.reboots(), rig.chosen_once) == ([], "")


def a_shutdown_that_hangs_is_helped_along(rig: Rig) -> None:
    """A unit that cannot be stopped must not keep a host between two systems."""
    goes_down(rig)
    rig.set("is-system-running", "stopping")
    rig.pass_time(GOES_DOWN_S)
    assert rig.guard_looks()
    assert rig.reboots() == ["reboot"]
    rig.pass_time(1)
    assert rig.guard_looks()
    assert "reboot --force" in rig.reboots()


def a_reboot_that_does_not_begin_is_taken_back(rig: Rig) -> None:
    """Profile and choice as well: a reboot by somebody else must not start the new system later."""
    goes_down(rig)
    rig.pass_time(GOES_DOWN_S + 1)
    rig.guard_looks()
    assert rig.shown().state == "reverting"
    run_reverts(rig)
    is_back(rig)
    assert rig.chosen_once == ""


def a_choice_that_cannot_be_read_is_taken_back_all_the_same(rig: Rig) -> None:
    """What a file of the firmware does not tell, the firmware may still do."""
    goes_down(rig)
    (rig.root / ONE_SHOT).write_bytes(b"")
    rig.pass_time(GOES_DOWN_S + 1)
    rig.guard_looks()
    run_reverts(rig)
    is_back(rig)
    assert not (rig.root / ONE_SHOT).exists()


# -- coming up ----------------------------------------------------------------------------------------------------


def after_the_reboot_a_guard_is_armed(rig: Rig) -> None:
    """On the clock of the new boot, before anything is judged."""
    goes_down(rig)
    rig.reboot()
    rig.set("uptime", "7.25 0.00")
    rig.boot_service()
    shown = rig.shown()
    assert (shown.current, shown.units, shown.deadline) == (NEW, GUARDED, str(7 + 20 + 30 + 30))


def a_trial_by_reboot_is_committed(rig: Rig) -> None:
    """The way that everybody hopes for."""
    comes_up(rig)
    assert said(rig.order(order(rig, Verb.COMMIT, 11))) == ("ok", "committing")
    rig.run_commit()
    shown = rig.shown()
    assert (shown.state, shown.current, shown.profile, shown.boot_default) == ("committed", NEW, NEW, NEW)


def what_nobody_confirms_goes_back_by_a_reboot(rig: Rig) -> None:
    """Never by a live switch: the kernel that runs is the new system's."""
    comes_up(rig)
    rig.forget_log()
    rig.pass_time(31)
    rig.guard_looks()
    rig.run_revert()
    shown = rig.shown()
    assert (shown.state, shown.profile, shown.boot_default, len(rig.reboots())) == ("reverting", OLD, OLD, 2)
    assert "stc 1 test" not in rig.log()
    rig.reboot()
    rig.boot_service()
    is_back(rig)
    assert rig.record("by") == "guard"


def a_boot_that_fell_back_is_a_trial_that_failed(rig: Rig) -> None:
    """The new system panicked, say, and the boot loader had forgotten it."""
    goes_down(rig)
    rig.reboot(OLD)
    rig.boot_service()
    run_reverts(rig)
    is_back(rig)
    assert (rig.record("by"), rig.shown().current) == ("reboot", OLD)


def a_third_system_that_was_booted_is_left_alone(rig: Rig) -> None:
    """Somebody stood at the boot menu."""
    goes_down(rig)
    rig.reboot(OTHER)
    rig.boot_service()
    assert (rig.shown().state, rig.shown().current) == ("interfered", OTHER)


def a_trial_whose_guard_cannot_be_started_goes_back(rig: Rig) -> None:
    """What nobody would take back is not tried."""
    goes_down(rig)
    rig.reboot()
    rig.set("refuse-guard", "yes")
    rig.boot_service()
    assert rig.shown().state == "reverting"
    run_reverts(rig, most=2)
    rig.reboot()
    rig.boot_service()
    is_back(rig)


def a_boot_that_is_not_over_is_not_judged_well(rig: Rig) -> None:
    """A unit that never gets up keeps it from being over."""
    goes_down(rig)
    rig.reboot()
    rig.boot_service()
    rig.set("is-system-running", "starting")
    rig.set("uptime", "5000.25 0.00")
    rig.run_switch()
    assert (rig.shown().state, rig.record("verdict")) == ("reverting", "interrupted")


def a_service_of_the_boot_that_is_missing_counts(rig: Rig) -> None:
    """It ran, the new system wants it at boot, and it is not there."""
    ready(rig)
    wants = rig.root / NEW.removeprefix("/") / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir()
    (wants / "web.service").symlink_to("../web.service")
    goes_down_with(rig, "sshd.service")
    assert (rig.shown().state, rig.record("down")) == ("trial", "web.service")
    assert rig.record("verdict") == "failed"


def a_service_that_the_boot_does_not_start_is_not_missed(rig: Rig) -> None:
    """A person or the message bus had started it."""
    ready(rig)
    goes_down_with(rig, "sshd.service")
    assert (rig.shown().state, rig.record("verdict"), rig.record("down")) == ("trial", "live", "")


def goes_down_with(rig: Rig, active: str) -> None:
    """Reboot into the new system, in which other services run."""
    assert reboot_trial(rig) == ("ok", "started")
    rig.run_switch()
    rig.reboot()
    rig.set("active", active)
    rig.boot_service()
    rig.run_switch()


def a_reboot_into_what_runs_chooses_nothing(rig: Rig) -> None:
    """It is the default already, whatever the boot loader can do, and ends committed as any other."""
    rig.guard_boots("1")
    assert reboot_trial(rig, toplevel=OLD) == ("ok", "started")
    rig.run_switch()
    assert (rig.shown().state, rig.reboots()) == ("rebooting", ["reboot"])
    rig.reboot()
    rig.boot_service()
    rig.run_switch()
    assert rig.shown().state == "trial"
    rig.order(order(rig, Verb.COMMIT, 11))
    rig.run_commit()
    assert (rig.shown().state, rig.shown().current) == ("committed", OLD)


LAWS: tuple[Law, ...] = (
    a_host_is_rebooted_only_where_the_policy_says_so,
    what_needs_no_reboot_is_switched_to_live,
    what_needs_a_reboot_gets_one,
    another_systemd_is_never_switched_to_live,
    another_message_bus_is_never_switched_to_live,
    without_a_choice_for_one_boot_nothing_is_tried,
    where_the_newest_entry_is_the_default_nothing_is_tried,
    a_host_that_needs_a_person_to_boot_is_not_rebooted,
    a_system_without_a_guard_of_its_own_is_not_booted,
    the_new_system_is_booted_once_and_the_old_one_stays_the_default,
    a_loader_that_garbles_its_file_is_not_rebooted_into,
    a_system_that_the_loader_does_not_list_is_not_rebooted_into,
    a_choice_that_did_not_take_is_not_rebooted_with,
    a_reboot_is_on_disk_before_it_is_asked_for,
    a_shutdown_that_hangs_is_helped_along,
    a_reboot_that_does_not_begin_is_taken_back,
    a_choice_that_cannot_be_read_is_taken_back_all_the_same,
    after_the_reboot_a_guard_is_armed,
    a_trial_by_reboot_is_committed,
    what_nobody_confirms_goes_back_by_a_reboot,
    a_boot_that_fell_back_is_a_trial_that_failed,
    a_third_system_that_was_booted_is_left_alone,
    a_trial_whose_guard_cannot_be_started_goes_back,
    a_boot_that_is_not_over_is_not_judged_well,
    a_service_of_the_boot_that_is_missing_counts,
    a_service_that_the_boot_does_not_start_is_not_missed,
    a_reboot_into_what_runs_chooses_nothing,
)
