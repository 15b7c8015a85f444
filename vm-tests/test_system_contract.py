"""The lab's systems keep the contract of switch-to-configuration: one test for each behaviour of its README."""

from __future__ import annotations

from dataclasses import replace

import pytest
from lab import system as systems
from lab.system.rig import Rig

pytest_plugins = ["lab.system.fixtures"]
pytestmark = [
    pytest.mark.lab,
    # A host's supervisor outlives the object that started it, on purpose.
    pytest.mark.filterwarnings("ignore:Exception ignored in. .function Popen.__del__"),
]

ACTIONS = ("check", "switch", "boot", "test", "dry-activate")
LASTING = {"Type": "exec"}


def with_sleeper(system: systems.System, name: str, seconds: int, **keys: str) -> systems.System:
    """Add a unit that lasts; another number of seconds is a changed unit."""
    return system.with_unit(f"{name}.service", systems.service(f"/usr/bin/sleep {seconds}", **{**LASTING, **keys}))


# -- before anything happens --------------------------------------------------------------------------------------


def test_a_healthy_switch_ends_with_0_and_leaves_nothing_owed(rig: Rig) -> None:
    new = rig.install(rig.good("v2"))
    done = rig.switch(new)
    assert done.returncode == 0, done.stderr
    assert (rig.current, rig.booted, rig.page(), rig.lists()) == (new, rig.old, "greeting v2", {})


def test_a_stop_that_is_not_heard_is_passed_over(rig: Rig) -> None:
    new = rig.install(rig.good("v2").with_fault("stop-unheard"))
    began = rig.unit("web.service", "InvocationID")
    done = rig.switch(new)
    assert (done.returncode, rig.current, rig.lists()) == (0, new, {}), done.stderr
    assert (rig.page(), rig.unit("web.service", "InvocationID")) == ("greeting v1", began)


def test_an_unknown_action_is_a_usage_error(rig: Rig) -> None:
    done = rig.switch(rig.old, "restart")
    assert done.returncode == 1
    assert "usage" in done.stderr


def test_only_root_may_switch(rig: Rig) -> None:
    new = rig.install(rig.good("v2"))
    done = rig.host.inside("setpriv", "--reuid=1000", f"{new}/bin/switch-to-configuration", "test", check=False)
    assert done.returncode == 1
    assert rig.current == rig.old


def test_only_a_nixos_may_be_switched(rig: Rig) -> None:
    rig.shell("rm /etc/NIXOS")
    done = rig.switch(rig.old)
    assert done.returncode == 1
    assert "This is not a NixOS installation!" in done.stderr


@pytest.mark.parametrize("action", ACTIONS)
def test_every_action_takes_the_lock_or_ends_with_11(rig: Rig, action: str) -> None:
    new = rig.install(rig.good("v2"))
    rig.profile(new)
    rig.shell("mkdir -p /run/nixos; flock /run/nixos/switch-to-configuration.lock sleep 60 >/dev/null 2>&1 &")
    rig.until(lambda: rig.shell("flock -n /run/nixos/switch-to-configuration.lock true && echo free || true") == "")
    done = rig.switch(new, action)
    assert done.returncode == 11
    assert "Could not acquire lock" in done.stderr
    assert (rig.current, rig.boot_default) == (rig.old, rig.old)


def test_a_killed_switch_leaves_no_lock_behind(rig: Rig) -> None:
    pid = rig.start(rig.install(rig.good("v2").with_fault("pause-after-stop", 60)))
    rig.until(lambda: not rig.is_active("web"))
    rig.kill(pid)
    done = rig.switch(rig.old)
    assert done.returncode == 0, done.stderr
    assert rig.page() == "greeting v1"


@pytest.mark.parametrize("action", ["check", "switch", "test"])
def test_a_changed_inhibitor_refuses_before_anything(rig: Rig, action: str) -> None:
    new = rig.install(systems.inhibited("web1", "", "v2"))
    rig.profile(new)
    done = rig.switch(new, action)
    assert done.returncode == 1
    assert "There are changes to critical components of the system" in done.stderr
    assert "dbus-implementation : dbus -> broker" in done.stderr
    assert (rig.current, rig.boot_default, rig.page()) == (rig.old, rig.old, "greeting v1")


def test_inhibitors_that_only_one_system_has_do_not_count(rig: Rig) -> None:
    new = rig.install(replace(rig.good("v2"), inhibitors={"something-else": "yes"}))
    assert rig.switch(new, "check").returncode == 0


def test_inhibitors_do_not_concern_boot_and_dry_activate(rig: Rig) -> None:
    new = rig.install(systems.inhibited("web1", "", "v2"))
    rig.profile(new)
    assert rig.switch(new, "dry-activate").returncode == 0
    assert rig.switch(new, "boot").returncode == 0
    assert rig.boot_default == new


def test_checks_can_be_switched_off(rig: Rig) -> None:
    new = rig.install(systems.inhibited("web1", rig.host.wiring.gateway, "v2"))
    assert rig.switch(new, env={"NIXOS_NO_CHECK": "1"}).returncode == 0
    assert rig.current == new


def test_a_pre_switch_check_concerns_boot_as_well(rig: Rig) -> None:
    new = rig.install(rig.good("v2").with_fault("pre-switch-check"))
    rig.profile(new)
    done = rig.switch(new, "boot")
    assert (done.returncode, rig.boot_default) == (1, rig.old)
    assert "Pre-switch checks failed" in done.stderr


def test_check_does_nothing_else(rig: Rig) -> None:
    new = rig.install(rig.good("v2"))
    rig.profile(new)
    assert rig.switch(new, "check").returncode == 0
    assert (rig.current, rig.boot_default) == (rig.old, rig.old)


def test_dry_activate_says_what_it_would_do_and_does_nothing(rig: Rig) -> None:
    new = rig.install(with_sleeper(rig.good("v2"), "extra", 1000))
    done = rig.switch(new, "dry-activate")
    assert done.returncode == 0
    assert "would stop the following units: web.service" in done.stderr
    assert "would start the following units: web.service" in done.stderr
    assert (rig.current, rig.lists(), rig.page()) == (rig.old, {}, "greeting v1")
    assert not rig.is_active("extra")


# -- boot loader, sync, init interface ----------------------------------------------------------------------------


def test_switch_installs_the_boot_loader_first(rig: Rig) -> None:
    new = rig.install(rig.good("v2").with_fault("pause-after-loader", 60))
    rig.profile(new)
    pid = rig.start(new, "switch")
    rig.until(lambda: rig.boot_default == new)
    assert (rig.current, rig.page()) == (rig.old, "greeting v1")
    rig.kill(pid)


def test_a_boot_loader_that_fails_ends_the_switch_with_1(rig: Rig) -> None:
    new = rig.install(rig.good("v2").with_fault("boot-loader"))
    done = rig.switch(new, "switch")
    assert (done.returncode, rig.current, rig.page()) == (1, rig.old, "greeting v1")
    assert "Failed to install bootloader" in done.stderr


def test_test_leaves_the_boot_loader_alone(rig: Rig) -> None:
    new = rig.install(rig.good("v2"))
    rig.profile(new)
    assert rig.switch(new).returncode == 0
    assert rig.boot_default == rig.old


def test_boot_moves_nothing_but_the_boot_default(rig: Rig) -> None:
    new = rig.install(rig.good("v2"))
    rig.profile(new)
    assert rig.switch(new, "boot").returncode == 0
    assert (rig.boot_default, rig.current, rig.page()) == (new, rig.old, "greeting v1")


@pytest.mark.parametrize(("env", "synced"), [({}, True), ({"NIXOS_NO_SYNC": "1"}, False)])
def test_the_store_is_synced_unless_told_not_to(rig: Rig, env: dict[str, str], synced: bool) -> None:
    done = rig.switch(rig.old, "test", env={**env, "SHELLOPTS": "xtrace"})
    assert ("+ alone sync -f /nix/store" in done.stderr) is synced


def test_another_init_interface_ends_with_100_after_the_boot_loader(rig: Rig) -> None:
    new = rig.install(systems.init_changed("web1", "", "v2"))
    rig.profile(new)
    done = rig.switch(new, "switch")
    assert (done.returncode, rig.boot_default) == (100, new)
    assert (rig.current, rig.page(), rig.lists()) == (rig.old, "greeting v1", {})


# -- which units --------------------------------------------------------------------------------------------------


def test_new_units_start_missing_ones_stop_and_others_are_left_alone(rig: Rig) -> None:
    first = rig.install(with_sleeper(with_sleeper(rig.good("v1"), "gone", 1000), "same", 1000))
    assert rig.switch(first).returncode == 0
    before = rig.unit("same", "MainPID")
    second = rig.install(with_sleeper(with_sleeper(rig.good("v1"), "fresh", 1000), "same", 1000))
    done = rig.switch(second)
    assert done.returncode == 0, done.stderr
    assert [rig.is_active(name) for name in ("gone", "fresh", "same")] == [False, True, True]
    assert rig.unit("same", "MainPID") == before


@pytest.mark.parametrize(
    ("key", "line"),
    [
        ({}, "stopping the following units: changed.service"),
        ({"X-StopIfChanged": "false"}, "restarting the following units: changed.service"),
        ({"X-ReloadIfChanged": "true", "ExecReload": "/usr/bin/touch /run/reloaded"}, "reloading the following units"),
        ({"X-RestartIfChanged": "false"}, "NOT restarting the following changed units: changed.service"),
    ],
)
def test_a_changed_unit_is_treated_as_it_asks(rig: Rig, key: dict[str, str], line: str) -> None:
    assert rig.switch(rig.install(with_sleeper(rig.good("v1"), "changed", 1000, **key))).returncode == 0
    before = rig.unit("changed", "MainPID")
    done = rig.switch(rig.install(with_sleeper(rig.good("v1"), "changed", 2000, **key)))
    assert done.returncode == 0, done.stderr
    assert line in done.stderr
    kept = "X-ReloadIfChanged" in key or "X-RestartIfChanged" in key
    assert (rig.unit("changed", "MainPID") == before) is kept
    assert (rig.shell("ls /run/reloaded 2>/dev/null || true") != "") is ("ExecReload" in key)


def test_a_new_description_is_no_change(rig: Rig) -> None:
    def described(words: str) -> str:
        unit = systems.service("/usr/bin/sleep 1000", unit=f"Description={words}")
        return rig.install(rig.good("v1").with_unit("told.service", unit))

    rig.switch(described("before"))
    before = rig.unit("told", "MainPID")
    assert rig.switch(described("after")).returncode == 0
    assert (rig.unit("told", "MainPID"), rig.unit("told", "Description")) == (before, "after")


def test_units_outside_of_etc_are_not_touched(rig: Rig) -> None:
    rig.host.inside("systemd-run", "--unit=transient", "sleep", "1000")
    unit = r"printf '[Service]\nExecStart=/usr/bin/sleep 1000\n'"
    rig.shell(f"{unit} >/run/systemd/system/volatile.service; systemctl start volatile")
    before = [rig.unit(name, "MainPID") for name in ("transient", "volatile", "nix-daemon")]
    assert rig.switch(rig.install(rig.good("v2"))).returncode == 0
    assert [rig.unit(name, "MainPID") for name in ("transient", "volatile", "nix-daemon")] == before
    assert before[0] != "0"


def test_the_activation_script_can_ask_for_restarts(rig: Rig) -> None:
    before = rig.unit("web", "MainPID")
    done = rig.switch(rig.install(rig.good("v1").with_fault("activation-restarts", "web.service\n")))
    assert "restarting the following units: web.service" in done.stderr
    assert rig.unit("web", "MainPID") != before


# -- the lists, and going on --------------------------------------------------------------------------------------


def test_the_lists_are_written_before_any_effect(rig: Rig) -> None:
    new = rig.install(rig.good("v2").with_fault("pause-after-lists", 60))
    pid = rig.start(new)
    rig.until(lambda: "web.service" in rig.lists().get("start-list", []))
    assert (rig.page(), rig.current) == ("greeting v1", rig.old)
    rig.kill(pid)


def test_each_list_goes_when_its_step_is_done(rig: Rig) -> None:
    keys = {"X-StopIfChanged": "false"}
    assert rig.switch(rig.install(with_sleeper(rig.good("v1"), "restarted", 1000, **keys))).returncode == 0
    hanging = systems.unit_hangs("web1", rig.host.wiring.gateway, "v2").with_fault("pause-after-lists", 2)
    pid = rig.start(rig.install(with_sleeper(hanging, "restarted", 2000, **keys)))
    rig.until(lambda: set(rig.lists()) == {"start-list", "restart-list"})
    rig.until(lambda: rig.unit("hanging", "ActiveState") == "activating")
    rig.until(lambda: set(rig.lists()) == {"start-list"})
    assert rig.is_alive(pid)
    rig.kill(pid)


@pytest.mark.parametrize("point", [point for point in systems.POINTS if point != "after-loader"])
def test_the_same_command_goes_on_where_a_killed_one_stopped(rig: Rig, point: str) -> None:
    new = rig.install(rig.good("v2").with_fault(f"pause-{point}", 3))
    pid = rig.start(new)
    rig.until(lambda: rig.shell("pgrep -x sleep || true") != "")
    rig.kill(pid)
    done = rig.switch(new)
    assert done.returncode == 0, done.stderr
    assert (rig.current, rig.page(), rig.lists()) == (new, "greeting v2", {})


def test_what_no_target_wants_is_started_again_by_the_list_alone(rig: Rig) -> None:
    def by_hand(seconds: int) -> systems.System:
        text = systems.service(f"/usr/bin/sleep {seconds}", **LASTING)
        return rig.good("v1").with_unit("by-hand.service", text, wanted=False)

    assert rig.switch(rig.install(by_hand(1000))).returncode == 0
    rig.host.inside("systemctl", "start", "by-hand")
    new = rig.install(by_hand(2000).with_fault("pause-after-activation", 3))
    pid = rig.start(new)
    rig.until(lambda: rig.current == new)
    rig.kill(pid)
    assert not rig.is_active("by-hand")
    assert rig.switch(new).returncode == 0
    assert rig.is_active("by-hand")


def test_a_left_over_list_with_an_unknown_unit_ends_with_4_and_no_failed_unit(rig: Rig) -> None:
    rig.shell("mkdir -p /run/nixos; echo nowhere.service >/run/nixos/start-list")
    done = rig.switch(rig.old)
    assert (done.returncode, rig.lists()) == (4, {})
    assert "the following units failed" not in done.stderr


def test_a_hung_start_is_stopped_by_the_way_back(rig: Rig) -> None:
    pid = rig.start(rig.install(systems.unit_hangs("web1", rig.host.wiring.gateway, "v2")))
    rig.until(lambda: rig.unit("hanging", "ActiveState") == "activating")
    rig.kill(pid)
    done = rig.switch(rig.old)
    assert done.returncode == 0, done.stderr
    assert rig.shell("systemctl list-jobs --no-legend") == ""
    assert (rig.current, rig.page()) == (rig.old, "greeting v1")


def test_a_way_back_takes_as_long_as_a_unit_of_the_old_system_takes(rig: Rig) -> None:
    slow = rig.install(systems.slow_start("web1", rig.host.wiring.gateway, "v0", 3))
    done = rig.switch(slow, env={"SHELLOPTS": "xtrace"})
    assert done.returncode == 0, done.stderr
    elapsed = int(rig.unit("slow", "ActiveEnterTimestampMonotonic")) - int(
        rig.unit("slow", "InactiveExitTimestampMonotonic")
    )
    assert elapsed >= 3_000_000
