"""Laws about what starts other units, and about the clock: sockets, timers and paths belong to a system as services do.

NixOS restarts a changed timer, ends what the other system does not have, and leaves a changed path or socket alone;
only along with its service, where that runs, a socket is opened anew.
"""

from __future__ import annotations

from pathlib import Path

from fleetd.model.facts import Verdict
from tests.host.laws import Law, is_back, live_trial
from tests.host.laws_of_units import differing, reverting, status
from tests.host.rig import Rig


def triggers(rig: Rig, unit: str, *, running: str) -> None:
    """Let both systems have a unit, each in its own words, and say what runs."""
    rig.declare("1", unit, "[Unit]\n[X]\nWhen=one\n")
    rig.declare("2", unit, "[Unit]\n[X]\nWhen=two\n")
    rig.set("active", running)


def a_timer_that_the_switch_passed_over_is_told(rig: Rig) -> None:
    """It would go on firing by the old system's times."""
    triggers(rig, "backup.timer", running="sshd.service\nweb.service\nbackup.timer")
    rig.set("switch", "deaf")
    live_trial(rig)
    assert (status(rig).verdict, status(rig).behind_units) == (Verdict.FAILED, ("backup.timer",))


def a_changed_path_is_left_alone(rig: Rig) -> None:
    """What it watches follows when systemd reads its files anew, and NixOS never ends it."""
    triggers(rig, "spool.path", running="sshd.service\nweb.service\nspool.path")
    live_trial(rig)
    assert (status(rig).verdict, status(rig).behind_units) == (Verdict.LIVE, ())


def a_changed_socket_of_an_idle_service_is_left_alone(rig: Rig) -> None:
    """NixOS opens it anew only along with its service: that is no failure of the switch."""
    differing(rig)
    triggers(rig, "web.socket", running="sshd.service\nweb.socket")
    rig.set("switch", "deaf")
    live_trial(rig)
    assert (status(rig).verdict, status(rig).behind_units) == (Verdict.LIVE, ())


def a_socket_that_was_to_be_opened_anew_and_was_not_is_told(rig: Rig) -> None:
    """Its service ran and was stopped; the socket did not hear, and listens where the old system had it."""
    differing(rig)
    triggers(rig, "web.socket", running="sshd.service\nweb.service\nweb.socket")
    rig.set("switch", "deaf-socket")
    live_trial(rig)
    assert (status(rig).verdict, status(rig).behind_units) == (Verdict.FAILED, ("web.socket",))


def no_socket_listens_for_the_new_system(rig: Rig) -> None:
    """The trial opened it anew; its service is idle on the way back, so NixOS leaves it as it is."""
    differing(rig)
    triggers(rig, "web.socket", running="sshd.service\nweb.service\nweb.socket")
    live_trial(rig)
    opened = rig.invocation("web.socket")
    assert opened == 2
    rig.set("active", "sshd.service\nweb.socket")
    rig.set("triggers-web.service", "web.socket")
    reverting(rig)
    is_back(rig)
    assert rig.invocation("web.socket") == opened + 1
    assert "systemctl restart --no-block web.socket" in rig.log()


def a_service_does_not_keep_its_socket_from_being_opened_anew(rig: Rig) -> None:
    """systemd opens no socket whose service runs."""
    differing(rig)
    triggers(rig, "web.socket", running="sshd.service\nweb.service\nweb.socket")
    live_trial(rig)
    rig.set("triggers-web.service", "web.socket")
    reverting(rig, "deaf", "deaf", "deaf")
    is_back(rig)
    jobs = [line for line in rig.log() if "--no-block web." in line]
    assert jobs[-2:] == ["systemctl stop --no-block web.service", "systemctl restart --no-block web.socket"]


def a_timer_that_is_gone_is_down(rig: Rig) -> None:
    """Nobody would ever start what it starts."""
    rig.declare("1", "backup.timer", "[Timer]\n")
    rig.declare("2", "backup.timer", "[Timer]\n")
    rig.set("active", "sshd.service\nweb.service\nbackup.timer")
    live_trial(rig)
    rig.set("active", "sshd.service\nweb.service")
    assert status(rig).down_units == ("backup.timer",)


def a_timer_that_goes_when_it_is_done_is_not_down(rig: Rig) -> None:
    """It says so itself."""
    for system in ("1", "2"):
        rig.declare(system, "once.timer", "[Timer]\nRemainAfterElapse=no\n")
    rig.set("active", "sshd.service\nweb.service\nonce.timer")
    live_trial(rig)
    rig.set("active", "sshd.service\nweb.service")
    assert status(rig).down_units == ()


def started_by_a_timer(rig: Rig) -> list[str]:
    """Let a timer start a backup during the trial, take the host back, and return what was done to the backup."""
    live_trial(rig)
    rig.set("jobs", "9 backup.service start running")
    rig.set("pids-backup.service", "0\n77")
    (rig.root / "proc/77").mkdir(parents=True)
    (rig.root / "proc/77/environ").write_bytes(b"PATH=/bin\0TRIGGER_UNIT=backup.timer\0")
    rig.forget_log()
    reverting(rig)
    is_back(rig)
    return [line for line in rig.log() if line.startswith(("systemctl kill", "systemctl stop")) and "backup" in line]


def what_a_timer_started_in_the_trial_goes_on(rig: Rig) -> None:
    """Both systems say the same of it, so the switch back has nothing to end: it may run all night."""
    for system in ("1", "2"):
        rig.declare(system, "backup.service", "[Service]\nType=oneshot\n")
    assert started_by_a_timer(rig) == []


def what_a_timer_of_the_new_system_started_is_ended(rig: Rig) -> None:
    """The old system does not have it, or has it otherwise."""
    rig.declare("2", "backup.service", "[Service]\nType=oneshot\n")
    assert started_by_a_timer(rig) != []


def a_wall_clock_that_is_set_moves_no_wait(rig: Rig) -> None:
    """systemd is silent for three seconds of the boot clock, however far the wall clock jumps meanwhile."""
    rig.set("systemd-is-silent", "yes")
    slept = rig.control / "slept"
    testing = Path(f"{rig.helper}.testing")
    before = testing.read_text()
    for jump in ("+ 400000", "- 400000"):
        slept.unlink(missing_ok=True)
        testing.write_text(
            f"{before}SILENCE_S=3\nsleep() {{\n  SECONDS=$((SECONDS {jump}))\n  echo x >>{slept}\n"
            '  read -r at _ <"$UPTIME_FILE"; echo "$((${at%%.*} + 1)).25 0.00" >"$UPTIME_FILE"\n}\n'
        )
        rig.ask("facts")
        assert len(slept.read_text().split()) == 3


LAWS: tuple[Law, ...] = (
    a_timer_that_the_switch_passed_over_is_told,
    a_changed_path_is_left_alone,
    a_changed_socket_of_an_idle_service_is_left_alone,
    a_socket_that_was_to_be_opened_anew_and_was_not_is_told,
    no_socket_listens_for_the_new_system,
    a_service_does_not_keep_its_socket_from_being_opened_anew,
    a_timer_that_is_gone_is_down,
    a_timer_that_goes_when_it_is_done_is_not_down,
    what_a_timer_started_in_the_trial_goes_on,
    what_a_timer_of_the_new_system_started_is_ended,
    a_wall_clock_that_is_set_moves_no_wait,
)
