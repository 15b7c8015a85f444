"""The tree that every lab host is an overlay of: built once, kept in a cache, keyed by its recipe."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
import time
from pathlib import Path

from lab import disk
from lab.errors import LabError, LabUnavailable
from lab.run import quiet, run, say
from lab.state import lock

RECIPE = Path(__file__).with_name("recipe.sh")
SCRIPTS = Path("/usr/share/debootstrap/scripts")
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
SUITES = ("trixie", "forky")
"""systemd 257 with Nix 2.26, and systemd 262 with Nix 2.34."""
PACKAGES = {
    "debootstrap": "debootstrap",
    "systemd-nspawn": "systemd-container",
    "nft": "nftables",
    "ip": "iproute2",
    "tc": "iproute2",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "nix-store": "nix-bin",
    "nsenter": "util-linux",
    "setsid": "util-linux",
}
WITHOUT_THE_LAB = "Everything but the lab: make test-unit"
STEP_S = 900
STILL_S = 10
UNUSED_DAYS = 14


def cache_directory() -> Path:
    """Return where built trees are kept: FLEETD_LAB_CACHE, or the usual place."""
    return Path(os.environ.get("FLEETD_LAB_CACHE", "/var/cache/fleetd-lab"))


def default_suite() -> str:
    """Return the Debian that hosts run unless somebody says otherwise: FLEETD_LAB_SUITE, or the first there is."""
    return os.environ.get("FLEETD_LAB_SUITE") or SUITES[0]


def require() -> None:
    """Raise LabUnavailable unless this machine can run the lab; install what is missing."""
    if platform.system() != "Linux":
        raise LabUnavailable(f"the lab needs Linux with network namespaces. {WITHOUT_THE_LAB}")
    if os.geteuid() != 0:
        raise LabUnavailable(f"the lab needs root (namespaces, mounts, systemd-nspawn). {WITHOUT_THE_LAB}")
    missing = sorted({package for program, package in PACKAGES.items() if shutil.which(program) is None})
    if missing and shutil.which("apt-get") is None:
        raise LabUnavailable(f"the lab needs {', '.join(missing)}, and there is no apt-get. {WITHOUT_THE_LAB}")
    if missing:
        say(f"installing {', '.join(missing)} with apt")
        env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        run("apt-get", "update", "-q", timeout_s=300, env=env)
        run("apt-get", "install", "-q", "-y", "--no-install-recommends", *missing, timeout_s=STEP_S, env=env)
    if not quiet("unshare", "--mount", "--net", "--pid", "--fork", "mount", "-t", "tmpfs", "none", "/mnt"):
        raise LabUnavailable(f"root here may not make namespaces and mounts (a container?). {WITHOUT_THE_LAB}")


def mirror() -> str:
    """Return the Debian mirror that apt uses here (or FLEETD_LAB_MIRROR); it is written down nowhere else."""
    given = os.environ.get("FLEETD_LAB_MIRROR")
    if given:
        return given
    told = Path("/etc/os-release").read_text()
    codename = re.search(r"^VERSION_CODENAME=(\S+)", told, re.MULTILINE)
    if codename is not None and re.search(r"^ID=debian$", told, re.MULTILINE):
        places = [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))]
        for place in places:
            found = _main_uri(place, codename[1]) if place.is_file() else None
            if found is not None:
                return found
    raise LabUnavailable(
        f"apt has no Debian mirror here to build the base tree from: set FLEETD_LAB_MIRROR to one. {WITHOUT_THE_LAB}"
    )


def _main_uri(place: Path, codename: str) -> str | None:
    """Return the URI from which a sources file takes ``main`` of this Debian."""
    text = place.read_text(errors="replace")
    if place.suffix == ".list":
        for line in text.splitlines():
            words = re.sub(r"\[[^]]*\]", "", line.partition("#")[0]).split()
            if len(words) > 3 and words[0] == "deb" and words[2] == codename and "main" in words[3:]:
                return words[1]
    if place.suffix == ".sources":
        for stanza in re.split(r"\n\s*\n", text):
            fields = dict(line.split(":", 1) for line in stanza.splitlines() if re.match(r"[A-Za-z-]+:", line))
            suites, uris = fields.get("Suites", "").split(), fields.get("URIs", "").split()
            is_off = fields.get("Enabled", "yes").strip().lower() in ("no", "false")
            if uris and codename in suites and "main" in fields.get("Components", "").split() and not is_off:
                return uris[0]
    return None


def base_tree(suite: str) -> Path:
    """Return the base tree of a suite, building it when its recipe has changed.

    Raises LabUnavailable when this machine cannot run the lab, LabError when building fails (nothing is left then).
    """
    if suite not in SUITES:
        raise LabError(f"there is no recipe for {suite!r}, only for {' and '.join(SUITES)}")
    require()
    key = hashlib.sha256(RECIPE.read_bytes() + suite.encode()).hexdigest()[:16]
    cache = cache_directory()
    tree = cache / f"{suite}-{key}"
    cache.mkdir(parents=True, exist_ok=True)
    if not tree.exists():
        say(f"the base tree of {suite} has to be built, once: about a minute")
        with lock(cache / "lock", "the base tree"):
            # The one who held the lock before may have built it.
            if not tree.exists():
                _build(suite, tree)
    os.utime(tree)
    return tree


def _build(suite: str, tree: Path) -> None:
    started = time.monotonic()
    # Holding the lock: what a killed build left is nobody's, and what was not used for long may go.
    for scratch in tree.parent.glob(".building-*"):
        disk.discard(scratch)
    scratch = tree.parent / f".building-{suite}"
    root = scratch / "root"
    root.mkdir(parents=True)
    try:
        script = SCRIPTS / suite
        words = [suite, str(root), mirror(), str(script if script.exists() else SCRIPTS / "sid")]
        say(f"installing a small Debian ({suite})")
        _step(["debootstrap", "--variant=minbase", f"--keyring={KEYRING}", *words], scratch)
        say("installing systemd, sshd and Nix in it")
        carried = _carry_apt(root)
        shutil.copy(RECIPE, root / "recipe.sh")
        _step(
            ["systemd-nspawn", "-q", "--register=no", "--keep-unit", "--pipe", "-D", str(root), "/recipe.sh"], scratch
        )
        for place in (*carried, root / "recipe.sh"):
            place.unlink(missing_ok=True)
        run("sync", "-f", root, timeout_s=300)
        root.rename(tree)
    finally:
        disk.discard(scratch)
    _prune(tree)
    say(f"the base tree is ready after {time.monotonic() - started:.0f} s: {tree}")


def _step(argv: list[str], scratch: Path) -> None:
    """Run one step of the build, saying now and then that it still runs."""
    log = scratch / "log"
    started = time.monotonic()
    with (
        log.open("wb") as said,
        subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT, start_new_session=True
        ) as child,
    ):
        try:
            while True:
                try:
                    child.wait(STILL_S)
                    break
                except subprocess.TimeoutExpired:
                    spent = time.monotonic() - started
                    if spent > STEP_S:
                        raise LabError(f"{argv[0]} does not end: {_tail(log)}") from None
                    say(f"… {spent:.0f} s")
        finally:
            # On any way out: nspawn ends its container when it is told to end, not when it is killed.
            if child.poll() is None:
                child.terminate()
                try:
                    child.wait(STILL_S)
                except subprocess.TimeoutExpired:
                    child.kill()
    if child.returncode != 0:
        raise LabError(f"{argv[0]} failed with exit {child.returncode}:\n{_tail(log)}")


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-3000:]


def _prune(keep: Path) -> None:
    """Remove trees that no lab has asked for in a long time and no host runs on."""
    mounts = Path("/proc/self/mountinfo").read_text()
    oldest = time.time() - UNUSED_DAYS * 86400
    for suite in SUITES:
        for tree in keep.parent.glob(f"{suite}-*"):
            if tree != keep and tree.stat().st_mtime < oldest and f"lowerdir={tree}," not in mounts:
                disk.discard(tree)


def _carry_apt(root: Path) -> list[Path]:
    """Give the tree this machine's way to the mirror (proxies, certificates, names); returns what to remove later."""
    carried = []
    for place in sorted(Path("/etc/apt/apt.conf.d").glob("*")):
        if re.search(r"(?i)proxy|acquire::", place.read_text(errors="replace")):
            carried.append(root / "etc/apt/apt.conf.d" / place.name)
            shutil.copy(place, carried[-1])
    shutil.copy("/etc/resolv.conf", root / "etc/resolv.conf")
    certificates = Path("/etc/ssl/certs/ca-certificates.crt")
    if certificates.exists():
        (root / "etc/ssl/certs").mkdir(parents=True, exist_ok=True)
        shutil.copy(certificates, root / "etc/ssl/certs/ca-certificates.crt")
    return carried
