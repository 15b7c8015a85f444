"""Puts a first system on a host before it boots: store, profile, boot files, and the firmware that boots from them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from lab.host import LabHost
from lab.run import run
from lab.system import DIRECTORY, System, build

FIRMWARE = DIRECTORY / "tools/firmware.sh"


def seed_with(system_of: Callable[[LabHost], System]) -> Callable[[LabHost], None]:
    """Return a seed that gives each host the system that ``system_of`` says."""

    def seed(host: LabHost) -> None:
        seed_host(host.root, build(system_of(host)))

    return seed


def copy_to(root: Path, toplevel: str) -> None:
    """Make a closure valid in the store below a root; the host may be running.

    Its database is then one file for both sides, and SQLite's locks hold between namespaces of one kernel.
    """
    features = ("--extra-experimental-features", "nix-command")
    run("nix", *features, "copy", "--no-check-sigs", "--to", f"local?root={root}", toplevel, timeout_s=60)


def seed_host(root: Path, toplevel: str) -> None:
    """Make ``toplevel`` the system of a host that is powered off: valid in its store, profile, boot default.

    ``root`` is the host's root directory, fresh from the lab's base tree. Raises LabError when a step fails.
    """
    copy_to(root, toplevel)
    profiles = root / "nix/var/nix/profiles"
    profiles.mkdir(parents=True, exist_ok=True)
    (profiles / "system-1-link").symlink_to(toplevel)
    (profiles / "system").symlink_to("system-1-link")
    roots = root / "nix/var/nix/gcroots"
    roots.mkdir(exist_ok=True)
    if not (roots / "profiles").is_symlink():
        (roots / "profiles").symlink_to("/nix/var/nix/profiles")
    (root / "etc/NIXOS").touch()
    # Without a readable boot loader, what boots is decided outside of the host.
    (root / "etc/lab-external-default").write_text(f"{toplevel}/init\n")
    (root / "boot").mkdir(exist_ok=True)
    _install_firmware(root / "usr/lib/systemd")
    # Debian's own sshd gives way to the generation's. A pattern with these names would pass over links whose target
    # is on the host and not on this machine.
    for link in [*(root / "etc/systemd/system").rglob("*")]:
        if link.name in ("ssh.service", "ssh.socket", "sshd.service"):
            link.unlink()
    run("chroot", root, "/bin/bash", f"{toplevel}/boot-loader", toplevel)


def _install_firmware(systemd: Path) -> None:
    (systemd / "real").mkdir()
    shutil.move(systemd / "systemd", systemd / "real/systemd")
    shutil.copy(FIRMWARE, systemd / "systemd")
    (systemd / "systemd").chmod(0o755)
