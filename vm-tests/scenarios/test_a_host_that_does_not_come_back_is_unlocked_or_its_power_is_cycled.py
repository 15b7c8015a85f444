"""A host that stays away after its reboot gets what the fleet file says: its passphrase, or its power cycled."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from lab import system as systems
from lab.control import policy_with
from lab.host import LabHost
from lab.scene import Scene

pytestmark = pytest.mark.lab

PASSPHRASE = "correct horse battery staple"

# A disk that wants no passphrase just now is no success, and what it says of the passphrase must not be seen.
UNLOCK = """
read -r given
[ -e "$0/boot/lab-waits" ] || { echo "nobody asks on $1"; exit 1; }
printf '%s\\n' "$given" >"$0/boot/lab-given.new" && mv "$0/boot/lab-given.new" "$0/boot/lab-given"
echo "gave '$given' to $1"
"""
POWER_CYCLE = 'cd "$0" && "$1" -m lab power-cut "$2" "$3" && "$1" -m lab boot "$2" "$3" && echo "off and on"'


def kernel(host: str, gateway: str, greeting: str) -> systems.System:
    """Return a system that only a boot can bring."""
    return systems.kernel_changed(host, gateway, greeting).with_boot_guard()


def hangs(host: str, gateway: str, greeting: str) -> systems.System:
    """Return one whose boot never ends."""
    return kernel(host, gateway, greeting).with_fault("boot-hangs")


def lock_disk(host: LabHost) -> None:
    """Let the host wait for its passphrase from the next boot on."""
    (host.root / "boot/lab-passphrase").write_text(f"{PASSPHRASE}\n")


def all_text(directory: Path) -> str:
    """Return everything that fleetd has written in a directory and below."""
    return "\n".join(file.read_bytes().decode(errors="replace") for file in directory.rglob("*") if file.is_file())


def boots_of(host: LabHost) -> int:
    """Return how often the host was booted since its console was begun, perhaps for scenarios before this one."""
    return host.console(at_most=2**30).count("stage-2: booting ")


def test_a_disk_that_waits_for_a_passphrase_is_unlocked_in_a_trial_by_reboot(scene: Scene, tmp_path: Path) -> None:
    (host,) = scene.hosts("web1")
    lock_disk(host)
    secret = tmp_path / "passphrase"
    secret.write_text(f"{PASSPHRASE}\n")
    command = {"command": ["sh", "-c", UNLOCK, str(host.root), "{name}"], "stdin": str(secret), "timeout": "10s"}
    policy = policy_with(waves=[{"count": 1}], reboot="when-needed", reboot_timeout="90s", progress_deadline="9m")
    control = scene.control(["web1"], policy=policy, keys={"web1": {"unlock": command}})
    boot, new = host.boot_id(), scene.build(kernel, ["web1"], "v2")
    done = control.deploy(new)
    assert done.returncode == 0, done.stdout + control.log()
    assert host.boot_id() != boot
    assert scene.runs(host) == (new["web1"],) * 3
    logs = control.ctl("logs", "r-1", "web1").stdout
    assert "== unlock, try 1: sh ended with " in logs
    assert "gave '[hidden]' to web1" in logs
    assert PASSPHRASE not in all_text(control.directory)


def test_a_host_that_hangs_in_its_boot_gets_its_power_cycled_once_and_boots_its_old_system(scene: Scene) -> None:
    (host,) = scene.hosts("web1")
    before, boots = scene.runs(host), boots_of(host)
    lab_room = str(Path(__file__).parents[1])
    words = ["sh", "-c", POWER_CYCLE, lab_room, sys.executable, scene.lab.name, "{name}"]
    policy = policy_with(
        waves=[{"count": 1}],
        reboot="when-needed",
        reboot_timeout="10s",
        switch_timeout="5s",
        revert_timeout="5s",
        contact_timeout="18s",
    )
    command = {"command": words, "timeout": "1m"}
    control = scene.control(["web1"], policy=policy, keys={"web1": {"power_cycle": command}})
    control.deploy(scene.build(hangs, ["web1"], "v2"))
    document = control.wait_for("r-1", "web1", "reverted", timeout_s=420)
    assert "did not come back within 10s of its reboot" in document["hosts"]["web1"]["reason"]
    assert "its power was cycled" in document["hosts"]["web1"]["reason"]
    host.wait_ready()
    assert scene.runs(host) == before
    assert boots_of(host) == boots + 2
    kinds = [event["kind"] for event in control.events() if event["kind"].startswith("PowerCycle")]
    assert kinds == ["PowerCycleIntended", "PowerCycled"]
    assert "== power cycle: sh ended with 0\noff and on" in control.ctl("logs", "r-1", "web1").stdout
