"""Laws about units: a host that says which system it runs runs that system's units, and no other's.

The switch program asks systemd to end what changed. A systemd that re-executes itself at that moment hears nothing,
the program passes over it, and later finds the unit active: nothing to do. Then the host shows the right links, an exit
code of 0, no failed unit, and a process of the other system.
"""

from __future__ import annotations

import contextlib

from fleetd.host.wire import status_of
from fleetd.model.facts import HostStatus, Verdict
from fleetd.model.order import Verb
from tests.host.laws import NEW, Law, is_back, is_untouched, live_trial, order, run_reverts, said
from tests.host.rig import Died, Rig


def status(rig: Rig) -> HostStatus:
    """Return what the host says of itself."""
    return status_of(rig.ask("status"))


def differing(rig: Rig, more: str = "") -> None:
    """Let the system that is tried have another web server; ``more`` is said of it by both."""
    rig.declare("1", "web.service", f"[Service]\n{more}ExecStart=/v1\n")
    rig.declare("2", "web.service", f"[Service]\n{more}ExecStart=/v2\n")


def reverting(rig: Rig, *switches: str) -> None:
    """Take a live trial back, with these ends of the old system's switch, until the revert leaves by itself."""
    rig.order(order(rig, Verb.REVERT, 11))
    rig.set("switch", "\n".join(switches))
    run_reverts(rig)


def a_unit_that_the_switch_passed_over_is_told(rig: Rig) -> None:
    """It ended with 0, and the web server is still the old one: that is no success."""
    differing(rig)
    rig.set("switch", "deaf")
    live_trial(rig)
    shown = status(rig)
    assert (shown.verdict, shown.behind_units) == (Verdict.FAILED, ("web.service",))


def what_nixos_leaves_alone_is_not_behind(rig: Rig) -> None:
    """A unit that says it is not to be restarted keeps running, and that is as it should be."""
    differing(rig, "X-RestartIfChanged=false\n")
    rig.set("switch", "deaf")
    live_trial(rig)
    assert (status(rig).verdict, status(rig).behind_units) == (Verdict.LIVE, ())


def what_is_only_told_differently_is_not_behind(rig: Rig) -> None:
    """Another description starts nothing anew."""
    rig.declare("1", "web.service", "[Unit]\nDescription=one\n[Service]\nExecStart=/v1\n")
    rig.declare("2", "web.service", "[Unit]\nDescription=two\n[Service]\nExecStart=/v1\n[Install]\nWantedBy=x\n")
    rig.set("switch", "deaf")
    live_trial(rig)
    assert (status(rig).verdict, status(rig).behind_units) == (Verdict.LIVE, ())


def no_unit_keeps_what_the_new_system_started(rig: Rig) -> None:
    """The way back passes over the web server: it is restarted by hand, before anybody says that the host is back."""
    differing(rig)
    live_trial(rig)
    assert rig.invocation("web.service") == 2
    reverting(rig, "deaf", "deaf", "deaf")
    is_back(rig)
    assert rig.invocation("web.service") == 3


def no_unit_of_the_new_system_alone_is_left(rig: Rig) -> None:
    """What the old system does not have must not run on it."""
    units = {f"miner.{kind}" for kind in ("service", "socket", "timer", "path")}
    for unit in units:
        rig.declare("2", unit, "[Service]\nExecStart=/v2\n")
    live_trial(rig)
    assert units <= set(rig.active())
    reverting(rig, "deaf", "deaf", "deaf")
    is_back(rig)
    assert not units & set(rig.active())


def a_unit_that_runs_since_before_the_trial_is_as_it_was(rig: Rig) -> None:
    """The trial did not touch it, so nothing on the way back has to."""
    differing(rig)
    rig.set("switch", "deaf")
    live_trial(rig)
    reverting(rig, "deaf", "deaf", "deaf")
    is_back(rig)
    assert rig.invocation("web.service") == 1


def a_later_revert_remembers_what_the_first_found(rig: Rig) -> None:
    """The first run restarted what the new system had started, and died: the second takes none of that for new."""
    differing(rig)
    live_trial(rig)
    rig.order(order(rig, Verb.REVERT, 11))
    rig.set("switch", "die-late\ndeaf\ndeaf")
    with contextlib.suppress(Died):
        rig.run_revert()
    run_reverts(rig)
    is_back(rig)
    assert rig.invocation("web.service") == 3


def what_the_first_revert_could_not_note_is_looked_for_later(rig: Rig) -> None:
    """systemd did not answer in its first moment, and it died when the host already ran the old system."""
    differing(rig)
    live_trial(rig)
    rig.order(order(rig, Verb.REVERT, 11))
    rig.set("systemd-is-silent", "yes")
    rig.set("switch", "die\ndeaf\ndeaf")
    with contextlib.suppress(Died):
        rig.run_revert()
    rig.clear("systemd-is-silent")
    run_reverts(rig)
    is_back(rig)
    assert rig.invocation("web.service") == 3


def a_file_system_is_mounted_anew_and_never_taken_away(rig: Rig) -> None:
    """It stands in fstab, so no system has a unit file for it: that is no reason to stop it."""
    live_trial(rig)
    rig.order(order(rig, Verb.REVERT, 11))
    rig.set("switch", "cut-1\ncut-1\ncut-1")
    (rig.root / "run/nixos/restart-list").write_text("data.mount\n")
    run_reverts(rig)
    is_back(rig)
    assert "systemctl restart --no-block data.mount" in rig.log()
    assert "systemctl stop --no-block data.mount" not in rig.log()


def of_what_runs_already_nothing_is_behind(rig: Rig) -> None:
    """Only its boot default is missing: what runs was started by it, long before its trial."""
    differing(rig)
    rig.point("run/current-system", NEW)
    rig.set("switch", "deaf")
    live_trial(rig, expect_current=NEW)
    assert (status(rig).verdict, status(rig).behind_units) == (Verdict.LIVE, ())


def what_ran_before_its_trial_is_not_left_by_the_way_back(rig: Rig) -> None:
    """The same host goes back to what it would boot, and so does its web server."""
    differing(rig)
    rig.point("run/current-system", NEW)
    rig.set("switch", "deaf")
    live_trial(rig, expect_current=NEW)
    reverting(rig, "deaf", "deaf", "deaf")
    is_back(rig)
    assert rig.invocation("web.service") == 2


def against_an_empty_baseline_nothing_is_tried(rig: Rig) -> None:
    """While systemd does not answer nobody knows what ran before, and so nobody could say what is worse."""
    rig.set("systemd-is-silent", "yes")
    assert said(rig.order(order(rig, Verb.TRIAL, 10))) == ("error", "no-guard")
    rig.clear("systemd-is-silent")
    is_untouched(rig)


def a_link_that_is_gone_is_nobody_else_s_switch(rig: Rig) -> None:
    """The switch died between taking the link away and making it anew: that is to be finished or taken back."""
    assert said(rig.order(order(rig, Verb.TRIAL, 10))) == ("ok", "started")
    rig.set("switch", "unlinked\nunlinked")
    rig.run_switch()
    assert rig.shown().state == "reverting"
    run_reverts(rig)
    is_back(rig)


def a_silent_systemd_is_not_well(rig: Rig) -> None:
    """No list of units is not an empty list of failed ones."""
    live_trial(rig)
    rig.set("systemd-is-silent", "yes")
    assert status(rig).down_units == ("init.scope",)


def a_service_that_waits_for_its_socket_is_not_down(rig: Rig) -> None:
    """A switch stops it and starts its socket; the next caller starts it."""
    live_trial(rig)
    rig.set("active", "sshd.service\nweb.socket")
    rig.set("triggers-web.service", "web.socket")
    assert status(rig).down_units == ()


def a_service_whose_socket_is_gone_is_down(rig: Rig) -> None:
    """Nobody will start it."""
    live_trial(rig)
    rig.set("active", "sshd.service")
    rig.set("triggers-web.service", "web.socket")
    assert status(rig).down_units == ("web.service",)


LAWS: tuple[Law, ...] = (
    a_unit_that_the_switch_passed_over_is_told,
    what_nixos_leaves_alone_is_not_behind,
    what_is_only_told_differently_is_not_behind,
    no_unit_keeps_what_the_new_system_started,
    no_unit_of_the_new_system_alone_is_left,
    a_unit_that_runs_since_before_the_trial_is_as_it_was,
    a_later_revert_remembers_what_the_first_found,
    what_the_first_revert_could_not_note_is_looked_for_later,
    a_file_system_is_mounted_anew_and_never_taken_away,
    of_what_runs_already_nothing_is_behind,
    what_ran_before_its_trial_is_not_left_by_the_way_back,
    against_an_empty_baseline_nothing_is_tried,
    a_link_that_is_gone_is_nobody_else_s_switch,
    a_silent_systemd_is_not_well,
    a_service_that_waits_for_its_socket_is_not_down,
    a_service_whose_socket_is_gone_is_down,
)
