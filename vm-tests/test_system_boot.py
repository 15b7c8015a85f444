"""The lab's systems keep the contract: boot-loader builders, what a reboot follows, the store, and the flake."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest
from lab import system as systems
from lab.run import run
from lab.system.rig import Rig

pytest_plugins = ["lab.system.fixtures"]
pytestmark = [
    pytest.mark.lab,
    # A host's supervisor outlives the object that started it, on purpose.
    pytest.mark.filterwarnings("ignore:Exception ignored in. .function Popen.__del__"),
]


def boot(rig: Rig, system: systems.System) -> str:
    """Make a system the newest generation and the boot default; returns its toplevel."""
    new = rig.install(system)
    rig.profile(new)
    done = rig.switch(new, "boot")
    assert done.returncode == 0, done.stderr
    return new


# -- what a reboot follows ----------------------------------------------------------------------------------------


def test_a_reboot_follows_the_boot_default(rig: Rig) -> None:
    new = boot(rig, rig.good("v2"))
    rig.host.reboot()
    rig.until(lambda: rig.page() == "greeting v2")
    assert (rig.current, rig.booted) == (new, new)


def test_a_power_cut_after_a_test_boots_the_old_system(rig: Rig) -> None:
    new = rig.install(rig.good("v2"))
    assert rig.switch(new).returncode == 0
    rig.host.power_cycle()
    rig.until(lambda: rig.page() == "greeting v1")
    assert (rig.current, rig.booted) == (rig.old, rig.old)


def test_a_one_shot_entry_is_booted_once(rig: Rig) -> None:
    new = rig.install(rig.good("v2"))
    rig.profile(new)
    assert rig.switch(rig.old, "boot").returncode == 0
    assert (rig.boot_default, rig.entry("nixos-generation-2.conf")) == (rig.old, new)
    rig.shell("echo nixos-generation-2.conf >/boot/loader/oneshot")
    rig.host.reboot()
    assert (rig.current, rig.booted, rig.boot_default) == (new, new, rig.old)
    rig.host.reboot()
    assert (rig.current, rig.booted) == (rig.old, rig.old)


@pytest.mark.parametrize("kind", ["newest", "lanzaboote"])
def test_where_the_newest_wins_the_old_default_is_lost_as_soon_as_it_is_listed(
    rig: Rig, kind: systems.BootKind
) -> None:
    first = boot(rig, replace(rig.good("v1"), boot_kind=kind))
    new = rig.install(replace(rig.good("v2"), boot_kind=kind))
    rig.profile(new)
    assert rig.switch(first, "boot").returncode == 0
    assert ("default nixos-*" in rig.shell("cat /boot/loader/loader.conf")) is (kind == "lanzaboote")
    rig.host.reboot()
    assert rig.current == new


def test_extlinux_boots_what_its_builder_was_called_with(rig: Rig) -> None:
    first = boot(rig, replace(rig.good("v1"), boot_kind="extlinux"))
    rig.profile(rig.install(replace(rig.good("v2"), boot_kind="extlinux")))
    assert rig.switch(first, "boot").returncode == 0
    text = rig.shell("cat /boot/extlinux/extlinux.conf")
    assert "DEFAULT nixos-default" in text
    assert text.count("\nLABEL ") == 4
    rig.host.reboot()
    assert rig.current == first


def test_without_a_loader_boot_succeeds_and_changes_nothing(rig: Rig) -> None:
    rig.shell("rm -r /boot/loader /boot/EFI")
    new = rig.install(replace(rig.good("v2"), boot_kind="none"))
    rig.profile(new)
    done = rig.switch(new, "boot")
    assert done.returncode == 0
    assert "do not know how to make this configuration bootable" in done.stderr
    assert rig.shell("ls /boot") == ""
    rig.host.reboot()
    assert rig.current == rig.old


def test_a_default_that_does_not_exist_is_not_booted(rig: Rig) -> None:
    rig.shell(f"rm -r /boot/loader/entries; sync; ls {rig.old}")
    rig.host.ssh("systemctl", "reboot", check=False)
    rig.until(lambda: not rig.host.is_running(), 30)


# -- the builder --------------------------------------------------------------------------------------------------


def test_entries_are_in_the_real_form(rig: Rig) -> None:
    text = rig.shell("cat /boot/loader/entries/nixos-generation-1.conf").splitlines()
    keys = [line.split()[0] for line in text]
    assert keys == ["title", "sort-key", "version", "linux", "initrd", "options"]
    assert text[-1] == f"options init={rig.old}/init loglevel=4"
    for line in text[3:5]:
        assert rig.shell(f"ls /boot{line.split()[1]}")


def test_the_limit_drops_the_oldest_entries_and_their_kernels(rig: Rig) -> None:
    boot(rig, replace(rig.good("v2"), boot_limit=2, kernel="6.12.2"))
    boot(rig, replace(rig.good("v3"), boot_limit=2, kernel="6.12.3"))
    assert rig.entries() == ["nixos-generation-2.conf", "nixos-generation-3.conf"]
    kernels = rig.shell("ls /boot/EFI/nixos")
    assert "6.12.1" not in kernels
    assert {"6.12.2", "6.12.3"} <= {
        name.split("-")[2] for name in kernels.split() if "-linux-6" in name and "initrd" not in name
    }


def test_a_default_beyond_the_limit_leaves_the_default_line_as_it_was(rig: Rig) -> None:
    only = replace(rig.good("v2"), boot_limit=1)
    boot(rig, only)
    rig.profile(rig.install(rig.good("v3")))
    new = rig.install(only)
    assert rig.switch(new, "boot").returncode == 0
    assert rig.shell("sed -n 's/^default //p' /boot/loader/loader.conf") == "nixos-generation-2.conf"
    assert rig.entries() == ["nixos-generation-3.conf"]


def test_old_files_go_before_new_ones_come_also_when_the_disk_is_then_full(rig: Rig) -> None:
    rig.shell("cp -a /boot /run/boot && mount -t tmpfs -o size=128k tmpfs /boot && cp -a /run/boot/. /boot/")
    big = replace(rig.good("v2"), boot_limit=1, kernel="6.12.2", kernel_kib=100)
    new = rig.install(big)
    rig.profile(new)
    done = rig.switch(new, "switch")
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert "Failed to install bootloader" in done.stderr
    assert (rig.entries(), rig.current, rig.page()) == ([], rig.old, "greeting v1")
    # The way back fails as well while the profile names what does not fit, as the real one must; its entry is there.
    rig.profile(rig.old)
    assert rig.switch(rig.old, "boot").returncode == 1
    assert rig.boot_default == rig.old
    rig.host.inside("nix-env", "-p", "/nix/var/nix/profiles/system", "--delete-generations", "2")
    mended = rig.switch(rig.old, "boot")
    assert mended.returncode == 0, mended.stderr
    assert rig.boot_default == rig.old


def test_a_builder_that_dies_half_way_is_mended_by_the_next(rig: Rig) -> None:
    dying = rig.install(replace(rig.good("v2"), boot_limit=1).with_fault("boot-die-between"))
    rig.profile(dying)
    assert rig.switch(dying, "boot").returncode == 1
    assert rig.entries() == []
    rig.profile(rig.old)
    assert rig.switch(rig.old, "boot").returncode == 0
    assert rig.boot_default == rig.old


def test_a_builder_can_be_slow_or_fail_half_way(rig: Rig) -> None:
    slow = rig.install(rig.good("v2").with_fault("boot-sleep", 2).with_fault("boot-fail-between"))
    rig.profile(slow)
    started = time.monotonic()
    assert rig.switch(slow, "boot").returncode == 1
    assert time.monotonic() - started >= 2
    assert rig.boot_default == rig.old


# -- the toplevel and the store -----------------------------------------------------------------------------------


def test_a_toplevel_has_what_a_nixos_toplevel_has(rig: Rig) -> None:
    top = Path(rig.old)
    assert top.name.endswith("-nixos-system-web1-v1")
    for name in (
        "activate",
        "init",
        "bin/switch-to-configuration",
        "kernel",
        "initrd",
        "kernel-modules",
        "kernel-params",
    ):
        assert (top / name).exists(), name
    for name in (
        "nixos-version",
        "system",
        "init-interface-version",
        "switch-inhibitors",
        "etc/hostname",
        "specialisation",
    ):
        assert (top / name).exists(), name
    for name in ("bash", "systemctl", "nix-env", "nix-store", "readlink", "sync"):
        assert (top / "sw/bin" / name).is_symlink(), name
    assert (top / "system").read_text() == "x86_64-linux"


def test_the_host_takes_the_seeded_and_the_installed_closures_for_its_own(rig: Rig) -> None:
    new = rig.install(rig.good("v2"))
    for toplevel in (rig.old, new):
        closure = rig.shell(f"nix-store -qR {toplevel}").split()
        assert len(closure) > 4
        rig.host.inside("nix-store", "--verify-path", *closure)
        here = run("nix-store", "-q", "--hash", *closure).stdout
        assert rig.host.inside("nix-store", "-q", "--hash", *closure).stdout == here


def test_the_flake_gives_a_toplevel_for_each_host_and_follows_its_revision(tmp_path: Path) -> None:
    place = tmp_path / "flake"
    shutil.copytree(systems.DIRECTORY, place, ignore=shutil.ignore_patterns("__pycache__"))

    def built() -> str:
        features = ("--extra-experimental-features", "nix-command flakes", *systems.NIX_OPTIONS)
        attribute = f"path:{place}#nixosConfigurations.web1.config.system.build.toplevel"
        command = ("nix", *features, "build", "--no-link", "--json", "--no-write-lock-file", attribute)
        return str(json.loads(run(*command, timeout_s=120).stdout)[0]["outputs"]["out"])

    first = built()
    assert first.endswith("-nixos-system-web1-v1")
    revision = place / "revision.nix"
    revision.write_text(revision.read_text().replace("v1", "v2"))
    assert built().endswith("-nixos-system-web1-v2")


def test_an_unknown_fault_is_refused() -> None:
    with pytest.raises(ValueError, match="no such fault: bootloader"):
        systems.System("web1").with_fault("bootloader")
