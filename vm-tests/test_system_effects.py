"""The lab's systems keep the contract: activation, systemd, users, failed units, and every way to end half-way."""

from __future__ import annotations

import pytest
from lab import system as systems
from lab.system.rig import OUTPUT, Rig

pytest_plugins = ["lab.system.fixtures"]
pytestmark = [
    pytest.mark.lab,
    # A host's supervisor outlives the object that started it, on purpose.
    pytest.mark.filterwarnings("ignore:Exception ignored in. .function Popen.__del__"),
]


# -- activation ---------------------------------------------------------------------------------------------------


def test_a_failing_activation_script_ends_with_2_and_the_new_system_is_live(rig: Rig) -> None:
    new = rig.install(systems.activation_fails("web1", rig.host.wiring.gateway, "v2"))
    done = rig.switch(new)
    assert done.returncode == 2
    assert "Failed to run activate script" in done.stderr
    assert (rig.current, rig.page(), rig.lists()) == (new, "greeting v2", {})


def test_4_masks_2(rig: Rig) -> None:
    new = systems.unit_fails("web1", rig.host.wiring.gateway, "v2").with_fault("activation")
    done = rig.switch(rig.install(new))
    assert done.returncode == 4
    assert "Failed to run activate script" in done.stderr


def test_the_current_system_moves_in_the_middle(rig: Rig) -> None:
    gateway = rig.host.wiring.gateway
    paused = (
        systems.good("web1", gateway, "v2").with_fault("pause-after-stop", 2).with_fault("pause-after-activation", 60)
    )
    new = rig.install(paused)
    pid = rig.start(new)
    rig.until(lambda: not rig.is_active("web"))
    assert rig.current == rig.old
    rig.until(lambda: rig.current == new)
    assert not rig.is_active("web")
    rig.kill(pid)


def test_children_see_the_action(rig: Rig) -> None:
    pid = rig.start(rig.install(rig.good("v2").with_fault("activation-sleep", 60)), "test")
    rig.until(lambda: rig.shell("pgrep -x sleep || true") != "")
    environment = rig.shell("tr '\\0' '\\n' </proc/$(pgrep -x sleep)/environ").splitlines()
    assert "NIXOS_ACTION=test" in environment
    rig.kill(pid)


def test_what_runs_is_not_collected_even_when_no_profile_names_it(rig: Rig) -> None:
    new = rig.install(rig.good("v2"))
    unused = rig.install(rig.good("v3"))
    assert rig.switch(new).returncode == 0
    rig.host.inside("nix-store", "--gc")
    assert rig.shell(f"ls -d {new}") == new
    assert rig.shell(f"ls -d {unused} 2>/dev/null || true") == ""


# -- systemd ------------------------------------------------------------------------------------------------------


def test_systemd_is_re_executed_where_the_generation_has_another(rig: Rig) -> None:
    before = rig.unit("sshd", "MainPID")
    new = rig.install(systems.systemd_changed("web1", rig.host.wiring.gateway, "v2"))
    done = rig.switch(new)
    assert done.returncode == 0, done.stderr
    assert "restarting systemd..." in done.stderr
    assert rig.said_by_systemd("Reexecuting.") == 1
    assert (rig.current, rig.page(), rig.unit("sshd", "MainPID")) == (new, "greeting v2", before)


def test_systemd_is_reloaded_and_not_re_executed_otherwise(rig: Rig) -> None:
    done = rig.switch(rig.install(rig.good("v2")))
    assert "restarting systemd" not in done.stderr
    assert rig.said_by_systemd("Reloading...") == 1
    assert rig.said_by_systemd("Reexecuting.") == 0


def test_an_interrupted_switch_still_owes_the_re_execution(rig: Rig) -> None:
    changed = systems.systemd_changed("web1", rig.host.wiring.gateway, "v2").with_fault("pause-after-activation", 2)
    new = rig.install(changed)
    pid = rig.start(new)
    rig.until(lambda: rig.current == new)
    rig.kill(pid)
    assert "restarting systemd..." in rig.switch(new).stderr


def test_earlier_failures_are_forgotten(rig: Rig) -> None:
    rig.host.inside("systemd-run", "--unit=trouble", "false")
    rig.until(lambda: rig.unit("trouble", "ActiveState") == "failed")
    done = rig.switch(rig.install(rig.good("v2")))
    assert done.returncode == 0, done.stderr
    assert rig.unit("trouble", "ActiveState") == "inactive"


def test_without_a_bus_nothing_is_stopped(rig: Rig) -> None:
    rig.host.inside("systemctl", "mask", "--runtime", "--now", "dbus.socket", "dbus.service", check=False)
    before = rig.unit("web", "MainPID")
    done = rig.switch(rig.install(rig.good("v2")))
    assert done.returncode == 1
    assert (rig.current, rig.unit("web", "MainPID"), rig.lists()) == (rig.old, before, {})


# -- users --------------------------------------------------------------------------------------------------------


def test_a_user_whose_activation_fails_gives_4_without_a_failed_unit(rig: Rig) -> None:
    new = rig.install(rig.good("v2").with_fault("user-activation"))
    done = rig.switch(new)
    assert done.returncode == 4
    assert "the following units failed" not in done.stderr
    assert (rig.current, rig.page()) == (new, "greeting v2")


@pytest.mark.parametrize("code", [1, 11])
def test_logind_that_does_not_answer_ends_the_switch_with_units_stopped(rig: Rig, code: int) -> None:
    new = rig.install(rig.good("v2").with_fault("logind", code))
    done = rig.switch(new)
    assert done.returncode == code
    assert "Unable to list users with logind" in done.stderr
    assert rig.current == new
    assert not rig.is_active("web")
    assert "web.service" in rig.lists()["start-list"]
    back = rig.switch(rig.old)
    assert back.returncode == 0, back.stderr
    assert (rig.current, rig.page(), rig.lists()) == (rig.old, "greeting v1", {})


def test_logind_is_really_asked(rig: Rig) -> None:
    rig.host.inside("systemctl", "mask", "--runtime", "--now", "systemd-logind.service")
    new = rig.install(rig.good("v2"))
    done = rig.switch(new)
    assert done.returncode == 1, done.stderr
    assert "Unable to list users with logind" in done.stderr
    assert not rig.is_active("web")


def test_a_bus_error_right_after_the_stop_leaves_the_old_system_half_down(rig: Rig) -> None:
    new = rig.install(rig.good("v2").with_fault("die-after-stop", 1))
    done = rig.switch(new)
    assert done.returncode == 1
    assert rig.current == rig.old
    assert not rig.is_active("web")
    assert "web.service" in rig.lists()["start-list"]


# -- stderr -------------------------------------------------------------------------------------------------------


def test_a_stderr_that_nobody_reads_ends_it_with_101_and_units_stopped(rig: Rig) -> None:
    new = rig.install(rig.good("v2"))
    program = f"{new}/bin/switch-to-configuration"
    rig.shell(f"{{ {program} test 2>&1 >/dev/null; echo $? >/run/code; }} | head -n 1 >/dev/null")
    rig.until(lambda: rig.shell("cat /run/code 2>/dev/null || true") != "")
    assert rig.shell("cat /run/code") == "101"
    assert rig.current == rig.old
    assert not rig.is_active("web")
    assert rig.switch(new).returncode == 0
    assert rig.page() == "greeting v2"


def test_a_stderr_that_is_closed_from_the_start_does_no_harm(rig: Rig) -> None:
    new = rig.install(rig.good("v2"))
    rig.shell(f"{new}/bin/switch-to-configuration test 2>&-")
    assert (rig.current, rig.page()) == (new, "greeting v2")


# -- the end ------------------------------------------------------------------------------------------------------


def test_a_unit_that_fails_gives_4_and_the_new_system_is_live(rig: Rig) -> None:
    new = rig.install(systems.unit_fails("web1", rig.host.wiring.gateway, "v2"))
    done = rig.switch(new)
    assert done.returncode == 4
    assert "warning: the following units failed: broken.service" in done.stderr
    assert (rig.current, rig.page(), rig.lists()) == (new, "greeting v2", {})


def test_a_unit_that_failed_before_fails_again_with_every_switch(rig: Rig) -> None:
    gateway = rig.host.wiring.gateway
    assert rig.switch(rig.install(systems.unit_fails("web1", gateway, "v2"))).returncode == 4
    done = rig.switch(rig.install(systems.unit_fails("web1", gateway, "v3")))
    assert done.returncode == 4
    assert "broken.service" in done.stderr


def test_failed_units_count_whoever_they_belong_to(rig: Rig) -> None:
    new = rig.install(rig.good("v2").with_fault("pause-after-start", 2))
    pid = rig.start(new)
    rig.until(lambda: rig.page() == "greeting v2")
    rig.host.inside("systemd-run", "--unit=somebody-elses", "false")
    rig.until(lambda: not rig.is_alive(pid))
    assert "warning: the following units failed: somebody-elses.service" in rig.shell(f"cat {OUTPUT}")


def test_a_unit_that_waits_for_its_next_try_counts_as_failed(rig: Rig) -> None:
    done = rig.switch(rig.install(systems.unit_flaps("web1", rig.host.wiring.gateway, "v2")))
    assert done.returncode == 4
    assert "warning: the following units failed: flapping.service" in done.stderr


def test_a_unit_that_dies_while_things_settle_is_seen(rig: Rig) -> None:
    dying = systems.web_dies("web1", rig.host.wiring.gateway, "v2", 2).with_fault("settle", 4)
    done = rig.switch(rig.install(dying))
    assert done.returncode == 4
    assert "warning: the following units failed: web.service" in done.stderr


def test_a_unit_that_dies_later_is_not_seen(rig: Rig) -> None:
    done = rig.switch(rig.install(systems.web_dies("web1", rig.host.wiring.gateway, "v2", 5)))
    assert done.returncode == 0, done.stderr
    rig.until(lambda: rig.unit("web", "ActiveState") == "failed")


# -- what it does to the host -------------------------------------------------------------------------------------


def test_a_web_server_can_answer_500(rig: Rig) -> None:
    done = rig.switch(rig.install(systems.answers_500("web1", rig.host.wiring.gateway, "v2")))
    assert done.returncode == 0, done.stderr
    assert rig.shell("curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1:8080/healthz") == "500"


def test_sshd_can_be_off_and_comes_back(rig: Rig) -> None:
    done = rig.switch(rig.install(systems.sshd_off("web1", rig.host.wiring.gateway, "v2")))
    assert done.returncode == 0, done.stderr
    assert rig.host.ssh("true", check=False).returncode == 255
    assert rig.switch(rig.old).returncode == 0
    assert rig.host.ssh("true").returncode == 0


def test_the_network_can_be_off_and_comes_back_with_its_route(rig: Rig) -> None:
    route = rig.shell("ip route show default")
    assert route
    rig.switch(rig.install(systems.network_down("web1", rig.host.wiring.gateway, "v2")))
    assert "state DOWN" in rig.shell("ip link show host0")
    assert rig.switch(rig.old).returncode == 0
    assert rig.shell("ip route show default") == route
    assert rig.host.ssh("true").returncode == 0


def test_a_login_does_not_touch_the_current_system(rig: Rig) -> None:
    new = rig.install(rig.good("v2"))
    assert rig.switch(new).returncode == 0
    rig.host.inside("systemctl", "stop", "user@0.service")
    rig.host.ssh("systemctl --user daemon-reexec")
    assert (rig.current, rig.booted) == (new, rig.old)
