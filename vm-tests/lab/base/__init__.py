"""The tree that every lab host is an overlay of: built once, kept in a cache, keyed by its recipe."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from lab.errors import LabError, LabUnavailable
from lab.run import quiet, run

RECIPE = Path(__file__).with_name("recipe.sh")
PACKAGES = {
    "debootstrap": "debootstrap",
    "systemd-nspawn": "systemd-container",
    "nft": "nftables",
    "ip": "iproute2",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "nix-store": "nix-bin",
}
WITHOUT_THE_LAB = "To run everything but the lab: make test-unit"


def cache_directory() -> Path:
    """Return where built trees are kept."""
    return Path(os.environ.get("FLEETD_LAB_CACHE", "/var/cache/fleetd-lab"))


def say(text: str) -> None:
    """Tell the person who waits what is being done."""
    sys.stderr.write(f"lab: {text}\n")
    sys.stderr.flush()


def require() -> None:
    """Raise LabUnavailable unless this machine can run the lab; install what is missing."""
    if platform.system() != "Linux":
        raise LabUnavailable(f"the lab needs Linux with network namespaces. {WITHOUT_THE_LAB}")
    if os.geteuid() != 0:
        raise LabUnavailable(f"the lab needs root (namespaces, mounts, systemd-nspawn). {WITHOUT_THE_LAB}")
    missing = sorted({package for program, package in PACKAGES.items() if shutil.which(program) is None})
    if not missing:
        return
    if shutil.which("apt-get") is None:
        raise LabUnavailable(f"the lab needs {', '.join(missing)}, and there is no apt-get. {WITHOUT_THE_LAB}")
    say(f"installing {', '.join(missing)} with apt")
    run("apt-get", "update", "-q", timeout_s=300)
    run("apt-get", "install", "-q", "-y", "--no-install-recommends", *missing, timeout_s=600)


def mirror() -> str:
    """Return the Debian mirror that apt uses here; it is never written down anywhere else."""
    places = [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))]
    for place in places:
        if not place.is_file():
            continue
        for line in place.read_text().splitlines():
            found = re.match(r"\s*(?:deb\s+(?:\[[^\]]*\]\s*)?|URIs:\s*)(\S+)", line)
            if found is not None and "security" not in found[1]:
                return found[1]
    raise LabUnavailable(f"no Debian mirror in /etc/apt: the lab cannot build its base tree. {WITHOUT_THE_LAB}")


def base_tree(suite: str = "trixie") -> Path:
    """Return the base tree of a suite, building it when its recipe has changed."""
    require()
    key = hashlib.sha256(RECIPE.read_bytes() + suite.encode()).hexdigest()[:16]
    tree = cache_directory() / f"{suite}-{key}"
    if not (tree / ".complete").exists():
        _build(suite, tree)
    return tree


def _build(suite: str, tree: Path) -> None:
    tree.parent.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(dir=tree.parent, prefix=f".{suite}-") as scratch:
        root = Path(scratch) / "root"
        say(f"building the base tree of {suite}, once: about a minute")
        script = "/usr/share/debootstrap/scripts/" + (suite if _knows(suite) else "sid")
        keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
        argv = ["debootstrap", "--variant=minbase", f"--keyring={keyring}", suite, str(root), mirror(), script]
        run(*argv, timeout_s=900)
        say("installing systemd, sshd and Nix in it")
        _carry_apt(root)
        with subprocess.Popen(
            ["systemd-nspawn", "-q", "--register=no", "--keep-unit", "--pipe", "-D", str(root), "sh", "-s"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as child:
            said, _nothing = child.communicate(RECIPE.read_text(), timeout=900)
        if child.returncode != 0:
            raise LabError(f"the recipe of the base tree failed with exit {child.returncode}:\n{said[-3000:]}")
        (root / ".complete").touch()
        if tree.exists():
            shutil.rmtree(tree)
        root.rename(tree)
    for old in tree.parent.glob(f"{suite}-*"):
        if old != tree and not quiet("sh", "-c", f"grep -q lowerdir={old} /proc/mounts"):
            shutil.rmtree(old)
    say(f"base tree ready after {time.monotonic() - started:.0f} s")


def _knows(suite: str) -> bool:
    return Path("/usr/share/debootstrap/scripts", suite).exists()


def _carry_apt(root: Path) -> None:
    """Give the tree this machine's way to the mirror: proxy settings, certificates and name resolution."""
    for place in Path("/etc/apt/apt.conf.d").glob("*"):
        if re.search(r"(?i)proxy|verify|acquire::", place.read_text(errors="replace")):
            shutil.copy(place, root / "etc/apt/apt.conf.d" / place.name)
    shutil.copy("/etc/resolv.conf", root / "etc/resolv.conf")
    certificates = Path("/etc/ssl/certs/ca-certificates.crt")
    if certificates.exists():
        (root / "etc/ssl/certs").mkdir(parents=True, exist_ok=True)
        shutil.copy(certificates, root / "etc/ssl/certs/ca-certificates.crt")
