"""Whatever happens to a host in trial, it goes back by itself, or says that a person is needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from lab import system as systems
from lab.deputy import TIMES, Deputy, planted
from lab.errors import LabError
from lab.host import LabHost
from lab.seed import seed_with
from lab.system.rig import Rig

from fleetd.errors import OrderRefused
from fleetd.model.facts import HelperState as S
from fleetd.model.facts import HostStatus, Verdict
from fleetd.model.order import OrderTimes, Verb

pytest_plugins = ["lab.system.fixtures"]
pytestmark = [
    pytest.mark.lab,
    pytest.mark.filterwarnings("ignore:Exception ignored in. .function Popen.__del__"),
]
SHORT = replace(TIMES, contact_timeout_s=6)


@pytest.fixture
def deputy(rig: Rig) -> Iterator[Deputy]:
    with Deputy(rig.host) as made:
        yield made


def live(rig: Rig, deputy: Deputy, times: OrderTimes = SHORT, **changes: object) -> str:
    """Bring the host into a live trial and return the system that it tries."""
    new = rig.install(rig.good("v2"))
    assert deputy.trial(new, times=times, **changes).state is S.TRIAL
    assert rig.current == new
    return new


def is_back(rig: Rig, deputy: Deputy) -> HostStatus:
    """The host comes back to the old system by itself, and it works."""
    status = deputy.until(S.REVERTED, S.STRANDED)
    assert status.state is S.REVERTED, status.message
    facts = deputy.facts()
    assert (facts.current, facts.profile, facts.boot_default) == (rig.old, rig.old, rig.old)
    rig.until(lambda: rig.page() == "greeting v1")
    return status


def boots_with(rig: Rig, system: Callable[[LabHost], systems.System]) -> None:
    """Make the host anew with another first system."""
    rig.host.reset(seed_with(system))
    rig.host.wait_ready()
    rig.host.mark_used()


def main_pid(rig: Rig, kind: str) -> str:
    """Return the process of one of our units, once there is one."""
    pid = ["0"]

    def there() -> bool:
        pid[0] = rig.shell(f"systemctl show -p MainPID --value 'fleetd-{kind}-*'") or "0"
        return pid[0] != "0"

    rig.until(there, timeout_s=40)
    return pid[0]


# -- the guard --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "storm",
    [
        "for i in $(seq 90); do systemctl daemon-reload; sleep 0.3; done",
        "for i in $(seq 30); do systemctl daemon-reexec; sleep 1; done",
        # After each, logins and logind hang for up to 25 s.
        "sleep 4; systemctl restart dbus; sleep 3; systemctl restart dbus",
        "for i in $(seq 30); do systemctl restart sshd; sleep 1; done",
        "for i in $(seq 15); do systemctl restart network; sleep 2; done",
    ],
    ids=["daemon-reload", "daemon-reexec", "dbus", "sshd", "network"],
)
def test_a_storm_does_not_move_the_deadline(rig: Rig, deputy: Deputy, storm: str) -> None:
    live(rig, deputy)
    rig.shell(f"systemd-run -q --unit=storm sh -c '{storm}'")
    deputy.until(S.REVERTED, S.STRANDED)
    rig.shell("systemctl stop storm 2>/dev/null || true")
    assert is_back(rig, deputy).by == "guard"


def test_a_trial_in_a_storm_is_told_as_it_is(rig: Rig, deputy: Deputy) -> None:
    """systemd re-executes itself all through switch and commit: whatever comes of it, the host says just that."""
    new = rig.install(rig.good("v2"))
    rig.shell("systemd-run -q --unit=storm sh -c 'for i in $(seq 200); do systemctl daemon-reexec; sleep 0.7; done'")
    status = deputy.trial(new, times=replace(TIMES, contact_timeout_s=30))
    if status.state is S.TRIAL and status.verdict in (Verdict.LIVE, Verdict.LIVE_WARNING):
        rig.until(lambda: rig.page() == "greeting v2")
        status = deputy.commit()
    elif status.state is S.TRIAL:
        status = deputy.revert()
    rig.shell("systemctl stop storm 2>/dev/null || true")
    facts = deputy.facts()
    assert status.state in (S.COMMITTED, S.REVERTED), status.message
    ends_on = new if status.state is S.COMMITTED else rig.old
    assert (facts.current, facts.profile, facts.boot_default) == (ends_on, ends_on, ends_on)
    rig.until(lambda: rig.page() == ("greeting v2" if ends_on == new else "greeting v1"))
    assert not rig.lists()


@pytest.mark.parametrize(
    "end",
    [
        "kill -9 $(systemctl show -p MainPID --value 'fleetd-guard-*')",
        "systemctl kill -s KILL 'fleetd-guard-*'",
        "systemctl stop 'fleetd-guard-*'",
        "systemctl kill -s TERM 'fleetd-guard-*'",
    ],
    ids=["kill -9", "the whole unit", "stop", "TERM"],
)
def test_a_guard_that_ends_takes_the_host_back_at_once(rig: Rig, deputy: Deputy, end: str) -> None:
    live(rig, deputy, TIMES)
    rig.shell(end)
    assert is_back(rig, deputy).by == "guard"


def test_without_its_last_word_a_dead_guard_would_guard_nothing(rig: Rig) -> None:
    """The protection taken out: killed, it leaves the host on the new system until somebody asks."""
    helpless = planted("OnFailure=fleetd-revert-$id.service\nOnSuccess=fleetd-revert-$id.service\n", "")
    with Deputy(rig.host, helper=helpless) as deputy:
        new = live(rig, deputy, replace(TIMES, contact_timeout_s=8))
        rig.shell("systemctl kill -s KILL 'fleetd-guard-*'; sleep 12")
        assert rig.current == new


def test_a_trial_in_an_isolated_target_is_still_guarded(rig: Rig, deputy: Deputy) -> None:
    live(rig, deputy)
    rig.shell("systemctl isolate multi-user.target")
    assert is_back(rig, deputy).by == "guard"


def test_a_host_without_memory_goes_back_though_its_guard_is_ended_first(rig: Rig, deputy: Deputy) -> None:
    """The new system takes what there is, and the kernel ends the guard, which nothing in the lab keeps it from."""
    rig.host.limit_memory(96 << 20)
    eater = systems.memory_eaten(rig.host.name, rig.host.wiring.gateway, "v2")
    assert deputy.trial(rig.install(eater), times=TIMES).state is S.TRIAL
    pid = main_pid(rig, "guard")
    assert rig.unit("fleetd-guard-*", "OOMScoreAdjust") == "-950"
    rig.shell(f"echo 1000 >/proc/{pid}/oom_score_adj")
    rig.until(lambda: not rig.is_alive(pid), timeout_s=40)
    assert is_back(rig, deputy).by == "guard"


WALL_CLOCK_JUMPS = """\
mkdir -p /run/systemd/system/fleetd-.service.d
printf '[Service]\\nEnvironment=BASH_ENV=/run/clock\\n' >/run/systemd/system/fleetd-.service.d/clock.conf
cat >/run/clock <<'END'
sleep() { command sleep "$@"; SECONDS=$((SECONDS + (RANDOM % 2 ? 1 : -1) * 31536000)); }
date() { command date -d "@$((RANDOM * 65536))" "$@"; }
unset EPOCHSECONDS EPOCHREALTIME
END
"""
"""By a year, at each moment that one of our units waits. Hosts here share the machine's clock, which nobody sets."""


def test_a_host_whose_sshd_waits_for_its_socket_goes_back_whatever_its_clock_says(rig: Rig, deputy: Deputy) -> None:
    gateway = rig.host.wiring.gateway
    boots_with(rig, lambda host: systems.sshd_when_needed(host.name, gateway, "v1"))
    old = Rig(rig.host, rig.current)
    rig.shell(WALL_CLOCK_JUMPS)
    new = rig.install(systems.sshd_when_needed(rig.host.name, gateway, "v2"))
    status = deputy.trial(new, times=SHORT)
    assert (status.state, status.failed_units, status.down_units, status.behind_units) == (S.TRIAL, (), (), ())
    assert is_back(old, deputy).by == "guard"
    assert rig.is_active("sshd.socket")


# -- the revert -------------------------------------------------------------------------------------------------


def test_sockets_and_timers_are_the_old_system_s_again(rig: Rig, deputy: Deputy) -> None:
    """NixOS leaves a socket open whose service is idle; what a timer started goes on where nothing of it differs."""

    def system(host: LabHost, version: int) -> systems.System:
        made = systems.good(host.name, host.wiring.gateway, f"v{version}")
        made = made.with_unit("echo.socket", f"[Unit]\n[Socket]\nListenStream=908{version}\n")
        made = made.with_unit("echo", f"[Unit]\n[Service]\nExecStart=/usr/bin/sleep 9{version}h\n", wanted=False)
        made = made.with_unit("backup", "[Unit]\n[Service]\nType=oneshot\nExecStart=/usr/bin/sleep 9h\n", wanted=False)
        return made.with_unit("backup.timer", f"[Unit]\n[Timer]\nOnActiveSec={version}\n")

    boots_with(rig, lambda host: system(host, 1))
    rig.shell("systemctl stop backup.timer backup; systemctl start echo")
    deputy.trial(rig.install(system(rig.host, 2)), times=TIMES)
    rig.shell("systemctl start backup.timer; systemctl stop echo")
    rig.until(lambda: rig.unit("backup", "ActiveState") == "activating")
    listening = "ss -Hltn 'sport >= :9081 and sport <= :9082' | grep -o '908[12]'"
    assert rig.shell(listening) == "9082"
    started = rig.unit("backup", "InvocationID")
    assert deputy.revert().state is S.REVERTED
    assert rig.shell(listening) == "9081"
    assert (rig.unit("backup", "ActiveState"), rig.unit("backup", "InvocationID")) == ("activating", started)
    assert "OnActiveUSec=1s" in rig.unit("backup.timer", "TimersMonotonic")


def test_a_revert_killed_twice_ends_with_its_third_run(rig: Rig, deputy: Deputy) -> None:
    boots_with(rig, lambda host: systems.good(host.name, host.wiring.gateway, "v1").with_fault("settle", 4))
    new = rig.install(rig.good("v2"))
    assert deputy.trial(new, times=TIMES).state is S.TRIAL
    deputy.send(deputy.write(Verb.REVERT))
    for _ in range(2):
        pid = main_pid(rig, "revert")
        rig.shell(f"sleep 1; kill -9 {pid}")
        rig.until(lambda pid=pid: not rig.is_alive(pid))  # type: ignore[misc]
    status = deputy.until(S.REVERTED, S.STRANDED)
    assert status.state is S.REVERTED
    assert rig.shell("cat /nix/var/fleetd-host/*/attempts") == "3"
    rig.until(lambda: rig.page() == "greeting v1")


def test_no_unit_keeps_what_the_new_system_started(rig: Rig, deputy: Deputy) -> None:
    """The old system's program ends with 0, and systemd did not hear what it was to stop: that is not back yet."""
    boots_with(rig, lambda host: systems.good(host.name, host.wiring.gateway, "v1").with_fault("stop-unheard"))
    old = rig.current
    deputy.trial(rig.install(rig.good("v2")), times=TIMES)
    assert rig.page() == "greeting v2"
    assert deputy.revert().state is S.REVERTED
    assert rig.current == old
    rig.until(lambda: rig.page() == "greeting v1")


def test_who_does_not_compare_invocations_calls_that_host_back(rig: Rig) -> None:
    """The protection taken out: it says reverted, and what answers is the new system."""
    boots_with(rig, lambda host: systems.good(host.name, host.wiring.gateway, "v1").with_fault("stop-unheard"))
    with Deputy(rig.host, helper=planted('<<<"$STARTED"', "</dev/null")) as credulous:
        credulous.trial(rig.install(rig.good("v2")), times=TIMES)
        assert credulous.revert().state is S.REVERTED
        assert rig.page() == "greeting v2"


def test_a_hung_unit_that_both_systems_have_does_not_hang_the_way_back(rig: Rig, deputy: Deputy) -> None:
    oneshot = "[Unit]\n[Service]\nType=oneshot\nRemainAfterExit=yes\nTimeoutStartSec=infinity\nExecStart={}\n"

    def with_shared(host_name: str, gateway: str, greeting: str, command: str) -> systems.System:
        return systems.good(host_name, gateway, greeting).with_unit("shared", oneshot.format(command))

    boots_with(rig, lambda host: with_shared(host.name, host.wiring.gateway, "v1", "/bin/true"))
    old = rig.current
    hanging = with_shared(rig.host.name, rig.host.wiring.gateway, "v2", "/bin/sleep infinity")
    status = deputy.trial(rig.install(hanging), times=replace(TIMES, switch_timeout_s=10))
    assert status.state is S.REVERTED, status.message
    assert rig.current == old
    assert rig.is_active("shared.service")


def test_a_full_disk_does_not_stop_the_way_back(rig: Rig, deputy: Deputy) -> None:
    deputy.facts()
    state = "/nix/var/fleetd-host"
    rig.shell(f"mount -t tmpfs -o size=32k tmpfs {state}")
    with pytest.raises(OrderRefused, match="cannot"):
        live(rig, deputy)
    assert rig.current == rig.old
    assert rig.shell(f"umount {state}; systemctl list-units --plain --no-legend 'fleetd-*'") == ""
    live(rig, deputy)
    rig.host.fill_disk()
    try:
        rig.until(lambda: rig.current == rig.old and rig.page() == "greeting v1", timeout_s=60)
    finally:
        rig.host.unfill()
    is_back(rig, deputy)


def stuck(rig: Rig) -> str:
    """Boot the host into an old system whose switch always refuses; return it."""
    boots_with(rig, lambda host: systems.good(host.name, host.wiring.gateway, "v1").with_fault("pre-switch-check"))
    return rig.current


def test_a_host_that_cannot_go_back_says_that_a_person_is_needed(rig: Rig, deputy: Deputy) -> None:
    stuck(rig)
    new = rig.install(rig.good("v2"))
    deputy.trial(new, times=TIMES)
    boot = rig.host.boot_id()
    status = deputy.revert()
    assert status.state is S.STRANDED
    assert new in status.message
    assert (rig.host.boot_id(), rig.current) == (boot, new)


def test_a_host_that_may_reboots_into_its_old_system_as_last_resort(rig: Rig, deputy: Deputy) -> None:
    old = stuck(rig)
    deputy.trial(rig.install(rig.good("v2")), times=TIMES, last_resort="reboot")
    boot = rig.host.boot_id()
    deputy.send(deputy.write(Verb.REVERT))
    deputy.until(S.REVERTING)
    rig.until(lambda: _boot(rig) not in ("", boot), timeout_s=150)
    rig.host.wait_ready()
    deputy.facts()
    status = deputy.until(S.REVERTED)
    assert (status.by, rig.current) == ("reboot", old)


def test_a_host_that_needs_a_person_to_boot_is_never_rebooted(rig: Rig, deputy: Deputy) -> None:
    stuck(rig)
    deputy.trial(rig.install(rig.good("v2")), times=TIMES, last_resort="reboot", unattended_boot=False)
    boot = rig.host.boot_id()
    assert deputy.revert().state is S.STRANDED
    assert rig.host.boot_id() == boot


def _boot(rig: Rig) -> str:
    try:
        return rig.host.boot_id()
    except LabError:
        return ""  # it is off for a moment


# -- the console ------------------------------------------------------------------------------------------------

HELPER = "/nix/var/nix/gcroots/fleetd/helper"


def test_a_person_at_the_console_can_look_and_take_it_back(rig: Rig, deputy: Deputy) -> None:
    live(rig, deputy, TIMES)
    assert "reverts in" in rig.shell(f"{HELPER} show")
    assert rig.shell(f"{HELPER} revert-now") == "reverting"
    assert is_back(rig, deputy).by == "console"


def test_a_person_at_the_console_can_keep_it(rig: Rig, deputy: Deputy) -> None:
    new = live(rig, deputy)
    assert rig.shell(f"{HELPER} keep").startswith("kept")
    rig.shell("sleep 10")
    status = deputy.status()
    assert (status.state, status.by, rig.current) == (S.INTERFERED, "console", new)
    assert rig.shell(f"{HELPER} clear") == "cleared"
    assert "keep at the console" in rig.shell("journalctl -t fleetd-host -o cat")


def test_a_person_at_the_console_can_finish_it(rig: Rig, deputy: Deputy) -> None:
    new = live(rig, deputy, TIMES)
    assert rig.shell(f"{HELPER} finish") == "committing"
    assert deputy.until(S.COMMITTED, S.REVERTED).state is S.COMMITTED
    facts = deputy.facts()
    assert (facts.current, facts.profile, facts.boot_default) == (new, new, new)
