"""One test host: boot it, look at it, break it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lab.errors import LabError
from lab.run import lines, quiet, run

UPPER_SIZE = "2g"
"""Each host writes to a tmpfs of its own: fast, and full for real when it is filled. Nothing is taken until used."""

SUPERVISE = Path(__file__).with_name("supervise.sh")


@dataclass(frozen=True)
class HostSpec:
    """What a test wants of a host."""

    name: str
    tags: tuple[str, ...] = ()
    domain: str = "default"


@dataclass(frozen=True)
class Wiring:
    """Where a host is on this machine; ``short`` names its namespace, link and cgroup."""

    directory: Path
    short: str
    address: str
    gateway: str
    bridge: str
    base: Path
    private_key: Path
    known_hosts: Path


class LabHost:
    """A running (or powered-off) host. Everything is found again from the disk, so any process can use it."""

    def __init__(self, spec: HostSpec, wiring: Wiring) -> None:
        self.name = spec.name
        self.tags = spec.tags
        self.domain = spec.domain
        self.wiring = wiring
        self.address = wiring.address
        self.root = wiring.directory / "root"
        self._pidfile = wiring.directory / "supervisor.pid"

    @property
    def host_key(self) -> str:
        """The host's public key line."""
        return (self.wiring.directory / "host_key.pub").read_text().strip()

    # -- making and removing ------------------------------------------------------------------------------------

    def prepare(self, seed: Callable[[LabHost], None] | None) -> None:
        """Mount the host's root, give it keys and a network, and let ``seed`` put a system on it."""
        place = self.wiring.directory
        place.mkdir(parents=True, exist_ok=True)
        if not (place / "host_key").exists():
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", self.name, "-f", place / "host_key")
        self._mount()
        self._furnish()
        self._wire()
        if seed is not None:
            seed(self)

    def _mount(self) -> None:
        place = self.wiring.directory
        for name in ("disk", "root"):
            (place / name).mkdir(exist_ok=True)
        run(
            "mount",
            "-t",
            "tmpfs",
            "-o",
            f"size={UPPER_SIZE},mode=755",
            f"fleetd-lab-{self.wiring.short}",
            place / "disk",
        )
        for name in ("upper", "work"):
            (place / "disk" / name).mkdir()
        options = f"lowerdir={self.wiring.base},upperdir={place / 'disk/upper'},workdir={place / 'disk/work'}"
        run("mount", "-t", "overlay", "overlay", "-o", options, self.root)

    def _furnish(self) -> None:
        root, place = self.root, self.wiring.directory
        public = self.wiring.private_key.with_suffix(".pub").read_text()
        for home, owner in (("root", 0), ("home/deploy", 1000)):
            keys = root / home / ".ssh/authorized_keys"
            keys.write_text(public)
            keys.chmod(0o600)
            os.chown(keys, owner, owner)
        shutil.copy(place / "host_key", root / "etc/ssh/ssh_host_ed25519_key")
        (root / "etc/ssh/ssh_host_ed25519_key").chmod(0o600)
        (root / "etc/hostname").write_text(f"{self.name}\n")
        (root / "etc/machine-id").write_text(f"{zlib.crc32(f'{self.wiring.short}{self.name}'.encode()):032x}" + "\n")
        (root / "etc/resolv.conf").write_text("")

    def _wire(self) -> None:
        w = self.wiring
        run("ip", "netns", "add", w.short)
        run("ip", "link", "add", f"v-{w.short}", "type", "veth", "peer", "name", "host0", "netns", w.short)
        run("ip", "link", "set", f"v-{w.short}", "master", w.bridge, "up")
        run("ip", "-n", w.short, "addr", "add", f"{w.address}/24", "dev", "host0")
        run("ip", "-n", w.short, "link", "set", "lo", "up")
        run("ip", "-n", w.short, "link", "set", "host0", "up")
        run("ip", "-n", w.short, "route", "add", "default", "via", w.gateway)

    def remove(self) -> None:
        """End the host and take away everything that was made for it; safe to repeat, and after a crash."""
        self.power_cut()
        w = self.wiring
        for name in ("root", "disk"):
            while quiet("mountpoint", "-q", w.directory / name):
                run("umount", "-l", w.directory / name)
        quiet("ip", "link", "del", f"v-{w.short}")
        quiet("ip", "netns", "del", w.short)
        for tree in ("/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd", "/sys/fs/cgroup"):
            _remove_cgroup(Path(tree, w.short))

    # -- power --------------------------------------------------------------------------------------------------

    def boot(self) -> None:
        """Power on; returns at once."""
        if self.is_running():
            return
        console = self.wiring.directory / "console.log"
        words = (SUPERVISE, self.wiring.short, self.wiring.short, self.root, self._pidfile, console)
        run("setsid", "--fork", *words)
        _until(self._pidfile.exists, 5, f"{self.name}: the supervisor did not start; see {console}")

    def leader(self) -> int | None:
        """Return the process id of the host's own systemd, or None while it is off."""
        supervisor = self._supervisor()
        if supervisor is None:
            return None
        for child in lines(["pgrep", "-P", str(supervisor)]):
            for inner in lines(["pgrep", "-P", child, "-x", "systemd"]):
                return int(inner)
        return None

    def is_running(self) -> bool:
        """Whether the host is powered on."""
        return self._supervisor() is not None

    def power_cut(self) -> None:
        """Take the power away: nothing in the host gets to run another instruction. Its disk stays."""
        supervisor = self._supervisor()
        if supervisor is None:
            return
        leader = self.leader()
        if leader is not None:
            _kill(leader, signal.SIGKILL)
        try:
            _until(lambda: self._supervisor() is None, 10, "")
        except LabError:
            for child in lines(["pgrep", "-P", str(supervisor)]):
                _kill(int(child), signal.SIGKILL)
            _kill(supervisor, signal.SIGKILL)
            self._pidfile.unlink(missing_ok=True)

    def power_cycle(self) -> None:
        """Cut the power, and boot again."""
        self.power_cut()
        self.boot()
        self.wait_ready()

    def reboot(self) -> None:
        """Reboot in an orderly way and wait until it is back."""
        before = self.boot_id()
        self.ssh("systemctl", "reboot", check=False)
        _until(lambda: self._booted_other_than(before), 60, f"{self.name} did not come back from a reboot")

    def boot_id(self) -> str:
        """Return the id of the present boot."""
        return self.ssh("cat", "/proc/sys/kernel/random/boot_id").stdout.strip()

    def _booted_other_than(self, before: str) -> bool:
        done = self.ssh("cat", "/proc/sys/kernel/random/boot_id", check=False, timeout_s=5)
        return done.returncode == 0 and done.stdout.strip() not in ("", before)

    def wait_ready(self, timeout_s: float = 60) -> None:
        """Wait until a login works and the boot is over."""
        _until(
            lambda: self.ssh("true", check=False, timeout_s=5).returncode == 0, timeout_s, f"{self.name} did not boot"
        )

    def _supervisor(self) -> int | None:
        try:
            pid = int(self._pidfile.read_text())
        except (OSError, ValueError):
            return None
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            return None
        return pid if b"supervise.sh" in words else None

    # -- looking ------------------------------------------------------------------------------------------------

    def ssh(
        self, *argv: str, user: str = "root", check: bool = True, timeout_s: float = 30, text_in: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on the host over ssh; the words are joined by the remote shell."""
        options = (
            "-F/dev/null",
            f"-i{self.wiring.private_key}",
            f"-oUserKnownHostsFile={self.wiring.known_hosts}",
            "-oBatchMode=yes",
            "-oConnectTimeout=5",
            "-oServerAliveInterval=5",
        )
        return run(
            "ssh", *options, f"{user}@{self.address}", "--", *argv, check=check, timeout_s=timeout_s, text_in=text_in
        )

    def inside(self, *argv: str, check: bool = True, timeout_s: float = 30) -> subprocess.CompletedProcess[str]:
        """Run a command in the host without its network or sshd: what a person at the console sees."""
        leader = self.leader()
        if leader is None:
            raise LabError(f"{self.name} is powered off")
        enter = ("nsenter", "-t", str(leader), "-m", "-u", "-i", "-n", "-p", "-C", "-r", "-w", "--")
        return run(*enter, *argv, check=check, timeout_s=timeout_s)

    def readlink(self, path: str) -> str:
        """Return where a link on the running host finally leads; empty when there is none."""
        return self.inside("readlink", "-f", path, check=False).stdout.strip()

    # -- breaking -----------------------------------------------------------------------------------------------

    def cut(self, direction: str = "both") -> None:
        """Drop the host's packets: ``in`` (towards the host), ``out`` (from it), or ``both``."""
        hooks = {"in": ("input",), "out": ("output",), "both": ("input", "output")}[direction]
        rules = ["add table inet labcut", "flush table inet labcut"]
        for hook in hooks:
            rules.append(f"add chain inet labcut {hook} {{ type filter hook {hook} priority 0 ; policy drop ; }}")
            rules.append(f"add rule inet labcut {hook} {'iif' if hook == 'input' else 'oif'} lo accept")
        run("ip", "netns", "exec", self.wiring.short, "nft", "-f", "-", text_in="\n".join(rules) + "\n")

    def heal(self) -> None:
        """Undo ``cut`` and bring the outer end of the link up."""
        quiet("ip", "netns", "exec", self.wiring.short, "nft", "delete", "table", "inet", "labcut")
        quiet("ip", "link", "set", f"v-{self.wiring.short}", "up")

    def slow(self, rate: str = "1mbit") -> None:
        """Limit what the host receives to a rate, as ``tc`` writes it."""
        device = f"v-{self.wiring.short}"
        run("tc", "qdisc", "replace", "dev", device, "root", "tbf", "rate", rate, "burst", "32k", "latency", "400ms")

    def unslow(self) -> None:
        """Undo ``slow``."""
        quiet("tc", "qdisc", "del", "dev", f"v-{self.wiring.short}", "root")

    def fill_disk(self, leave_bytes: int = 0) -> None:
        """Fill the host's disk (its whole root, ``/nix`` too) until only ``leave_bytes`` are left."""
        place = self.wiring.directory / "disk"
        free = shutil.disk_usage(place).free - leave_bytes
        run("fallocate", "-l", str(max(4096, free)), place / "ballast", check=False)
        if leave_bytes == 0:
            quiet("dd", "if=/dev/zero", f"of={place / 'ballast2'}", "bs=4k")

    def unfill(self) -> None:
        """Undo ``fill_disk``."""
        for name in ("ballast", "ballast2"):
            (self.wiring.directory / "disk" / name).unlink(missing_ok=True)

    def is_pristine(self) -> bool:
        """Whether a test may use the host as it is: running, reachable, and not marked as used."""
        return self.is_running() and not (self.wiring.directory / "used").exists()

    def mark_used(self) -> None:
        """Say that this host must be made anew before the next test."""
        (self.wiring.directory / "used").touch()

    def reset(self, seed: Callable[[LabHost], None] | None) -> None:
        """Make the host anew: empty disk, same keys and address."""
        self.remove()
        self.prepare(seed)
        (self.wiring.directory / "used").unlink(missing_ok=True)
        self.boot()


def _until(true: Callable[[], bool], timeout_s: float, otherwise: str) -> None:
    end = time.monotonic() + timeout_s
    while not true():
        if time.monotonic() > end:
            raise LabError(otherwise)
        time.sleep(0.1)


def _kill(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _remove_cgroup(top: Path) -> None:
    if not top.is_dir():
        return
    for directory in sorted((path for path in top.rglob("*") if path.is_dir()), key=lambda path: -len(path.parts)):
        quiet("rmdir", directory)
    quiet("rmdir", top)
