"""However a switch ends, the host says what is true: by what it shows, not by an exit code."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from lab import system as systems
from lab.deputy import TIMES, Deputy, planted
from lab.system.rig import Rig

from fleetd.errors import OrderRefused
from fleetd.model.facts import HelperState as S
from fleetd.model.facts import HostStatus, Verdict
from fleetd.model.order import Verb

pytest_plugins = ["lab.system.fixtures"]
pytestmark = [
    pytest.mark.lab,
    pytest.mark.filterwarnings("ignore:Exception ignored in. .function Popen.__del__"),
]
LOCK = "/run/nixos/switch-to-configuration.lock"


@pytest.fixture
def deputy(rig: Rig) -> Iterator[Deputy]:
    with Deputy(rig.host) as made:
        yield made


def make(rig: Rig, kind: Callable[..., systems.System]) -> systems.System:
    """Return the second system of this host."""
    return kind(rig.host.name, rig.host.wiring.gateway, "v2")


def is_as_before(rig: Rig, deputy: Deputy) -> None:
    """Everything that a trial may move is where it was, and the old web server answers."""
    facts = deputy.facts()
    assert (facts.current, facts.profile, facts.boot_default) == (rig.old, rig.old, rig.old)
    rig.until(lambda: rig.page() == "greeting v1")
    assert facts.failed_units == ()


def ends(rig: Rig, deputy: Deputy, system: systems.System) -> HostStatus:
    """Try a system and return where the host stands then; a host in trial is taken back afterwards."""
    status = deputy.trial(rig.install(system))
    if status.state is S.TRIAL:
        deputy.revert()
    is_as_before(rig, deputy)
    return status


def test_a_unit_that_the_switch_passed_over_is_no_success(rig: Rig, deputy: Deputy) -> None:
    """It ended with 0, nothing failed, the links are right, and the web server is still the old one."""
    status = ends(rig, deputy, rig.good("v2").with_fault("stop-unheard"))
    assert (status.state, status.verdict, status.behind_units) == (S.TRIAL, Verdict.FAILED, ("web.service",))


def test_a_service_that_waits_for_its_socket_is_not_down(rig: Rig, deputy: Deputy) -> None:
    """The switch stops it, starts its socket, and nobody has called yet."""
    program = "import socket, time; socket.socket(fileno=3).accept(); time.sleep({})"
    echo = f"[Unit]\n[Service]\nExecStart=/usr/bin/python3 -c '{program}'\n"
    socket = "[Unit]\n[Socket]\nListenStream=127.0.0.1:9009\n"

    def with_echo(greeting: str, life_s: int) -> systems.System:
        return rig.good(greeting).with_unit("echo", echo.format(life_s), wanted=False).with_unit("echo.socket", socket)

    first = rig.install(with_echo("v1", 1000))
    deputy.trial(first)
    deputy.commit()
    rig.until(
        lambda: rig.shell("bash -c 'exec 3<>/dev/tcp/127.0.0.1/9009'; systemctl is-active echo || true") == "active"
    )
    status = deputy.trial(rig.install(with_echo("v2", 2000)))
    assert (rig.is_active("echo.service"), rig.is_active("echo.socket")) == (False, True)
    assert (status.verdict, status.down_units) == (Verdict.LIVE, ())
    deputy.revert()


# -- what ends by itself ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        (lambda system: system, Verdict.LIVE),
        (lambda system: system.with_fault("user-activation"), Verdict.LIVE_WARNING),
        (lambda system: system.with_service("broken", "failing"), Verdict.FAILED),
        (lambda system: system.with_service("flapping", "flapping"), Verdict.FAILED),
        (lambda system: system.with_fault("activation"), Verdict.FAILED),
    ],
    ids=["good", "warning only", "a unit fails", "a unit flaps", "the activation script fails"],
)
def test_a_switch_that_reached_its_end_is_a_trial_with_its_verdict(
    rig: Rig, deputy: Deputy, change: Callable[[systems.System], systems.System], verdict: Verdict
) -> None:
    status = ends(rig, deputy, change(rig.good("v2")))
    assert (status.state, status.verdict) == (S.TRIAL, verdict)


def test_a_check_that_refuses_before_anything_is_a_switch_that_did_not_start(rig: Rig, deputy: Deputy) -> None:
    status = ends(rig, deputy, rig.good("v2").with_fault("pre-switch-check"))
    assert (status.state, status.verdict, status.by) == (S.REVERTED, Verdict.NOT_STARTED, "switch")


@pytest.mark.parametrize(
    "fault",
    [("stderr-breaks", "1"), ("die-after-stop", "1"), ("die-after-activation", "4"), ("logind", "11")],
    ids=["panic after stopping", "1 after stopping", "4 after activation", "11 after activation"],
)
def test_a_switch_that_stays_interrupted_is_taken_back(rig: Rig, deputy: Deputy, fault: tuple[str, str]) -> None:
    status = ends(rig, deputy, rig.good("v2").with_fault(*fault))
    assert status.verdict is Verdict.INTERRUPTED
    assert status.state is S.REVERTED


# -- what is refused before anything ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [systems.inhibited, systems.init_changed])
def test_what_no_live_switch_may_cross_is_refused_untouched(
    rig: Rig, deputy: Deputy, kind: Callable[..., systems.System]
) -> None:
    with pytest.raises(OrderRefused) as caught:
        deputy.trial(rig.install(make(rig, kind)))
    assert caught.value.code == "needs-reboot"
    is_as_before(rig, deputy)
    assert rig.said_by_systemd("fleetd switches") == 0


def test_an_inhibitor_that_only_one_system_knows_forbids_nothing(rig: Rig, deputy: Deputy) -> None:
    more = replace(rig.good("v2"), inhibitors={"dbus-implementation": "dbus", "networking": "scripted"})
    assert ends(rig, deputy, more).verdict is Verdict.LIVE


# -- what interrupts it -----------------------------------------------------------------------------------------


def kill_the_switch(rig: Rig) -> None:
    """Kill the program itself while it waits after having stopped units; the unit around it lives."""
    rig.until(lambda: rig.lists() != {} and not rig.is_active("web.service"), timeout_s=30)
    rig.shell("pkill -9 -f '[s]witch-to-configuration.sh test' || pkill -9 -f '[b]in/switch-to-configuration test'")


def test_an_interrupted_switch_is_resumed(rig: Rig, deputy: Deputy) -> None:
    new = rig.install(rig.good("v2").with_fault("pause-after-stop", 4))
    deputy.send(deputy.write(Verb.TRIAL, new))
    kill_the_switch(rig)
    status = deputy.until(S.TRIAL, S.REVERTED)
    assert (status.state, status.verdict) == (S.TRIAL, Verdict.LIVE)
    rig.until(lambda: rig.page() == "greeting v2")
    deputy.revert()
    is_as_before(rig, deputy)


def test_a_switch_killed_with_its_unit_is_taken_back(rig: Rig, deputy: Deputy) -> None:
    new = rig.install(rig.good("v2").with_fault("pause-after-stop", 8))
    deputy.send(deputy.write(Verb.TRIAL, new))
    rig.until(lambda: rig.lists() != {}, timeout_s=30)
    rig.shell("systemctl kill -s KILL --kill-whom=all 'fleetd-switch-*'")
    status = deputy.until(S.REVERTED, S.STRANDED)
    assert status.state is S.REVERTED
    is_as_before(rig, deputy)


def test_a_switch_that_hangs_is_ended_and_taken_back(rig: Rig, deputy: Deputy) -> None:
    times = replace(TIMES, switch_timeout_s=10)
    status = deputy.trial(rig.install(make(rig, systems.unit_hangs)), times=times)
    assert (status.state, status.verdict) == (S.REVERTED, Verdict.INTERRUPTED)
    assert "timeout" in status.message
    is_as_before(rig, deputy)
    assert "hanging" not in rig.shell("systemctl list-jobs --no-legend || true")


def test_a_lock_that_is_held_for_a_while_is_waited_for(rig: Rig, deputy: Deputy) -> None:
    rig.shell(f"mkdir -p /run/nixos; systemd-run -q flock {LOCK} sleep 5")
    status = ends(rig, deputy, rig.good("v2"))
    assert (status.state, status.verdict) == (S.TRIAL, Verdict.LIVE)


def test_a_lock_that_is_never_let_go_is_a_switch_that_did_not_start(rig: Rig, deputy: Deputy) -> None:
    rig.shell(f"mkdir -p /run/nixos; systemd-run -q --unit=holder flock {LOCK} sleep 60")
    status = deputy.trial(rig.install(rig.good("v2")), times=replace(TIMES, switch_timeout_s=10))
    assert (status.state, status.verdict, status.exit_code) == (S.REVERTED, Verdict.NOT_STARTED, "11")
    rig.shell("systemctl stop holder")
    is_as_before(rig, deputy)


def test_a_switch_goes_on_when_its_ssh_session_is_killed(rig: Rig, deputy: Deputy) -> None:
    new = rig.install(rig.good("v2").with_fault("pause-after-stop", 3))
    deputy.send(deputy.write(Verb.TRIAL, new))
    rig.shell("pkill -9 -f '[s]shd-session: root|[s]shd: root' || true")
    status = deputy.until(S.TRIAL, S.REVERTED)
    assert (status.state, status.verdict) == (S.TRIAL, Verdict.LIVE)
    deputy.revert()
    is_as_before(rig, deputy)


def test_an_operator_who_switches_meanwhile_is_told_and_left_alone(rig: Rig, deputy: Deputy) -> None:
    other = rig.install(rig.good("v3"))
    new = rig.install(rig.good("v2").with_fault("settle", 3))
    deputy.send(deputy.write(Verb.TRIAL, new))
    rig.until(lambda: rig.current == new, timeout_s=30)
    rig.until(lambda: rig.switch(other).returncode == 0, timeout_s=30)
    status = deputy.until(S.TRIAL, S.INTERFERED, S.REVERTED)
    if status.state is S.TRIAL:
        # The switch had ended before the operator came: the guard finds out at its deadline.
        status = deputy.until(S.INTERFERED, S.REVERTED)
    assert status.state is S.INTERFERED
    assert rig.current == other


# -- the same without the protection ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("  has_lists && lists=yes\n", "", ("die-after-activation", "4")),
        ("    *) REPLY=interrupted ;;\n    esac", "    *) REPLY=live ;;\n    esac", ("stderr-breaks", "1")),
    ],
    ids=["lists are not looked at", "an unknown code is taken for done"],
)
def test_without_looking_a_broken_switch_would_be_called_live(
    rig: Rig, old: str, new: str, fault: tuple[str, str]
) -> None:
    """The protection taken out: the host claims more than is true, so the tests above can fail."""
    broken = planted(old, new)
    if fault[0] == "stderr-breaks":
        broken = broken.replace(b"  has_lists && lists=yes\n", b"").replace(
            b"old/no/no/no) if", b"old/*) REPLY=live ;;\n  0ld) if"
        )
    with Deputy(rig.host, helper=broken) as deputy:
        status = deputy.trial(rig.install(rig.good("v2").with_fault(*fault)))
        assert status.state is not S.REVERTED or status.verdict is not Verdict.INTERRUPTED
