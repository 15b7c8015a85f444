"""The boot default as each boot loader would find it, from the files that NixOS writes for it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.host.rig import Rig, toplevel
from tests.host.test_helper_against_the_model import place

ONE, TWO, TEN = toplevel("1"), toplevel("2"), "/nix/store/" + "a" * 32 + "-nixos-system-web1-26.05"
UNREADABLE = "unreadable"

SD_BOOT_ENTRY = """title NixOS
sort-key nixos
version Generation {number} NixOS 26.05, built on 2026-11-01
linux /EFI/nixos/aaaa-linux-6.12-bzImage.efi
initrd /EFI/nixos/bbbb-initrd-linux-6.12-initrd.efi
options init={system}/init root=fstab loglevel=4 lsm=landlock
machine-id 0123456789abcdef0123456789abcdef
"""

GRUB_HEAD = """set timeout=5
search --set=drive1 --fs-uuid 1234-ABCD
if [ -s $prefix/grubenv ]; then
  load_env
fi
set default={default}
font=($drive2)/boot/converted-font.pf2
"""

GRUB_ENTRIES = """menuentry "NixOS - Default" --class nixos --unrestricted {{
search --set=drive1 --fs-uuid 1234-ABCD
  linux ($drive1)/kernels/aaaa-linux-6.12-bzImage init={first}/init loglevel=4
  initrd ($drive1)/kernels/bbbb-initrd
}}
submenu "NixOS - All configurations" --class submenu {{
menuentry "NixOS - Configuration 1 (2026-11-01)" --class nixos {{
  linux ($drive1)/kernels/aaaa-linux-6.12-bzImage init={old}/init loglevel=4
}}
}}
menuentry "NixOS - rescue" --class nixos {{
  linux ($drive1)/kernels/cccc init={rescue}/init
}}
"""

EXTLINUX = """# Generated file, all changes will be lost on nixos-rebuild!

# Change this to e.g. nixos-42 to temporarily boot to an older configuration.
DEFAULT {default}

MENU TITLE ------------------------------------------------------------
TIMEOUT 50

LABEL nixos-default
  MENU LABEL NixOS - Default
  LINUX ../nixos/aaaa-linux-6.12-Image
  INITRD ../nixos/bbbb-initrd
  APPEND init={first}/init loglevel=4
  FDTDIR ../nixos/cccc-dtbs

LABEL nixos-1-default
  MENU LABEL NixOS - Configuration 1-default (2026-11-01 10:00 - 26.05)
  LINUX ../nixos/aaaa-linux-6.12-Image
  APPEND init={old}/init loglevel=4
"""

INIT_SCRIPT = """#!/bin/sh
# NixOS - Default
# created by NixOS
exec {first}/init
"""


@pytest.fixture
def rig() -> Iterator[Rig]:
    """A host without any boot loader."""
    made = place()
    rig = Rig(made / "host", "1", "2")
    shutil.rmtree(rig.root / "boot")
    yield rig
    shutil.rmtree(made)


def write(rig: Rig, path: str, text: str) -> Path:
    """Write a file of the host."""
    file = rig.root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def seen(rig: Rig) -> tuple[str, str]:
    """Return the kind of loader and the boot default, as facts tell them."""
    fields = rig.ask("facts").fields
    return fields["boot_kind"], fields["boot_default"]


def entries(rig: Rig, *pairs: tuple[str, str], esp: str = "boot") -> None:
    """Write entries of systemd-boot."""
    for name, system in pairs:
        write(rig, f"{esp}/loader/entries/{name}.conf", SD_BOOT_ENTRY.format(number=1, system=system))


@pytest.mark.parametrize("esp", ["boot", "efi", "boot/efi"])
def test_systemd_boot_by_its_default(rig: Rig, esp: str) -> None:
    entries(rig, ("nixos-generation-1", ONE), ("nixos-generation-2", TWO), esp=esp)
    write(rig, f"{esp}/loader/loader.conf", "timeout 5\ndefault nixos-generation-1.conf\nconsole-mode keep\n")
    assert seen(rig) == ("systemd-boot", ONE)


def test_systemd_boot_by_pattern_takes_the_newest_as_numbers_count(rig: Rig) -> None:
    entries(rig, ("nixos-generation-9", ONE), ("nixos-generation-10", TWO), ("other-99", TEN))
    for conf in ("default nixos-*\n", "timeout 3\n"):
        write(rig, "boot/loader/loader.conf", conf)
        assert seen(rig) == ("systemd-boot", TWO)


def test_systemd_boot_with_counted_tries(rig: Rig) -> None:
    entries(rig, ("nixos-generation-1", ONE), ("nixos-generation-2+3-0", TWO))
    write(rig, "boot/loader/loader.conf", "default nixos-generation-2.conf\n")
    assert seen(rig) == ("systemd-boot", TWO)


@pytest.mark.parametrize(
    "conf", ["default @saved\n", "default nixos-generation-7.conf\n"], ids=["a variable decides", "no such entry"]
)
def test_systemd_boot_that_no_file_decides(rig: Rig, conf: str) -> None:
    entries(rig, ("nixos-generation-1", ONE))
    write(rig, "boot/loader/loader.conf", conf)
    assert seen(rig) == ("systemd-boot", UNREADABLE)


def test_systemd_boot_without_entries(rig: Rig) -> None:
    write(rig, "boot/loader/loader.conf", "default nixos-generation-1.conf\n")
    assert seen(rig) == ("systemd-boot", UNREADABLE)


def test_lanzaboote_boots_the_newest_image(rig: Rig) -> None:
    for number, system in ((9, ONE), (10, TWO)):
        file = write(rig, f"boot/EFI/Linux/nixos-generation-{number}-abcdef.efi", "")
        file.write_bytes(b"MZ\0\0\x90" + b"\0" * 500 + f"init={system}/init root=fstab".encode() + b"\0" * 500)
    assert seen(rig) == ("lanzaboote", TWO)


@pytest.mark.parametrize(
    ("default", "system"),
    [("0", ONE), ('"0"', ONE), ("2", TEN), ("1", UNREADABLE), ('"${saved_entry}"', UNREADABLE), ("saved", UNREADABLE)],
)
def test_grub(rig: Rig, default: str, system: str) -> None:
    text = GRUB_HEAD.format(default=default) + GRUB_ENTRIES.format(first=ONE, old=TWO, rescue=TEN)
    write(rig, "boot/grub/grub.cfg", text)
    assert seen(rig) == ("grub", system)


@pytest.mark.parametrize(
    ("default", "system"), [("nixos-default", ONE), ("nixos-1-default", TWO), ("nixos-7", UNREADABLE)]
)
def test_extlinux(rig: Rig, default: str, system: str) -> None:
    write(rig, "boot/extlinux/extlinux.conf", EXTLINUX.format(default=default, first=ONE, old=TWO))
    assert seen(rig) == ("extlinux", system)


def test_an_init_script(rig: Rig) -> None:
    write(rig, "sbin/init", INIT_SCRIPT.format(first=TWO))
    assert seen(rig) == ("init-script", TWO)


def test_a_container_whose_init_is_a_link(rig: Rig) -> None:
    (rig.root / "sbin").mkdir()
    (rig.root / "sbin/init").symlink_to(f"{TWO}/init")
    assert seen(rig) == ("init-script", TWO)


def test_a_container_that_boots_its_profile(rig: Rig) -> None:
    (rig.root / "sbin").mkdir()
    (rig.root / "sbin/init").symlink_to("/nix/var/nix/profiles/system/init")
    assert seen(rig) == ("init-script", ONE)


def test_an_init_of_something_else_is_no_boot_loader_of_ours(rig: Rig) -> None:
    (rig.root / "sbin").mkdir()
    (rig.root / "sbin/init").write_bytes(b"\x7fELF\0\0exec /bin/true")
    assert seen(rig) == ("none", UNREADABLE)


def test_nothing(rig: Rig) -> None:
    assert seen(rig) == ("none", UNREADABLE)
