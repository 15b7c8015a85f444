"""What the helper believes of systemd-boot, on a real one with real firmware: ``make test-boot-loader``.

The helper's own functions read the boot partition and the EFI variables in the guest, before a boot; what then boots is
what the kernel was given. A boot is a start of the machine: the firmware begins anew, with what is in its variables.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from boot_loader.machine import Machine, entry, toplevel, unpack

FIRST, SECOND = 1, 2
NAMED = f"default nixos-generation-{FIRST}.conf\n"
LOOK = """
read_boot_default
echo "@@ kind=$BOOT_KIND"
echo "@@ default=$BOOT_DEFAULT"
one_shot
echo "@@ oneshot=$REPLY"
chosen_once
echo "@@ chosen=$REPLY"
"""
CHOOSE = f"""
read_boot_default
M[old]={toplevel(FIRST)} M[new]={toplevel(SECOND)} WHY=
choose_new && echo "@@ chose=yes" || echo "@@ chose=$WHY"
"""
CHOOSE_NOTHING = 'choose_nothing && echo "@@ nothing=yes"\n'
PANIC = 'echo "@@ panics=yes"\nexit 1\n'


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpack(Path.home() / ".cache/fleetd-boot-loader")


@pytest.fixture
def machine(tmp_path: Path, tree: Path) -> Machine:
    made = Machine(tmp_path, tree)
    made.list_systems(FIRST, SECOND, default=NAMED)
    return made


def test_a_system_chosen_once_boots_once_and_the_default_after_it(machine: Machine) -> None:
    before = machine.boot(LOOK + CHOOSE)
    assert (before["booted"], before["kind"]) == (toplevel(FIRST), "systemd-boot")
    assert (before["default"], before["oneshot"], before["chosen"]) == (toplevel(FIRST), "", "")
    assert before["chose"] == "yes"
    trial = machine.boot(LOOK)
    # In the boot that was chosen, the choice is forgotten, and the old system is the default as before.
    assert trial["booted"] == toplevel(SECOND)
    assert (trial["default"], trial["chosen"], trial["oneshot"]) == (toplevel(FIRST), "", "")
    assert machine.boot()["booted"] == toplevel(FIRST)


@pytest.mark.parametrize("end", ["panic", "power"])
def test_a_chosen_system_that_does_not_come_up_is_followed_by_the_default(machine: Machine, end: str) -> None:
    assert machine.boot(CHOOSE)["chose"] == "yes"
    trial = machine.boot(PANIC) if end == "panic" else machine.boot("sleep 60", dies_at="@@ booted=")
    assert trial == {"booted": toplevel(SECOND)} | ({"panics": "yes"} if end == "panic" else {})
    after = machine.boot(LOOK)
    assert (after["booted"], after["default"], after["chosen"]) == (toplevel(FIRST), toplevel(FIRST), "")


def test_a_choice_that_was_taken_back_is_not_booted(machine: Machine) -> None:
    said = machine.boot(CHOOSE + CHOOSE_NOTHING + LOOK)
    assert (said["chose"], said["nothing"], said["chosen"]) == ("yes", "yes", "")
    assert said["default"] == toplevel(FIRST)
    assert machine.boot()["booted"] == toplevel(FIRST)


@pytest.mark.parametrize("default", ["", "default nixos-*\n"])
def test_without_a_named_default_the_newest_entry_boots_ten_after_nine(machine: Machine, default: str) -> None:
    machine.list_systems(9, 10, default=default)
    said = machine.boot(LOOK)
    assert (said["booted"], said["default"]) == (toplevel(10), toplevel(10))
    assert "newest" in said["oneshot"]


def test_a_default_that_the_firmware_remembers_goes_before_the_file_and_is_not_guessed(machine: Machine) -> None:
    assert machine.boot(f"bootctl set-default nixos-generation-{SECOND}.conf\n" + LOOK)["default"] == "unreadable"
    said = machine.boot(LOOK)
    assert (said["booted"], said["default"]) == (toplevel(SECOND), "unreadable")


def test_a_default_with_counted_tries_is_not_guessed_where_it_is_named_without_them(machine: Machine) -> None:
    # Debian's systemd-boot 252 does not find it and boots the newest; newer ones do find it.
    for number in (FIRST, SECOND):
        machine.remove(f"loader/entries/nixos-generation-{number}.conf")
        machine.put(f"loader/entries/nixos-generation-{number}+3.conf", entry(number))
    said = machine.boot(LOOK)
    assert said["booted"] in (toplevel(FIRST), toplevel(SECOND))
    assert (said["default"], said["oneshot"]) == ("unreadable", "its boot default cannot be read")
