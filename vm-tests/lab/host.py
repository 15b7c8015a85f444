"""One test host: boot it, look at it, break it."""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from lab import cgroup, disk, net, state
from lab.errors import LabError
from lab.run import run, until

SUPERVISE = Path(__file__).with_name("supervise.sh")
DEPLOY_UID = 1000
POWER_OFF_S = 10
READY_S = 60
SUPERVISOR_S = 10
LONGEST_CONSOLE_BYTES = 1_000_000
INSIDE_ENV = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LC_ALL": "C"}
"""What a command inside gets: the machine's own environment is none of the host's business."""

Seed = Callable[["LabHost"], None]
"""Puts a system on a host's root while the host is off."""


@dataclass(frozen=True)
class HostSpec:
    """What a test wants of a host; ``disk_bytes`` limits what it can write, and is not taken until it is used."""

    name: str
    tags: tuple[str, ...] = ()
    domain: str = "default"
    disk_bytes: int = 2 << 30


@dataclass(frozen=True)
class Wiring:
    """Where a host is on this machine; ``short`` names its namespace, control group and packet filter."""

    directory: Path
    short: str
    address: str
    gateway: str
    bridge: str
    base: Path
    private_key: Path
    known_hosts: Path
    neighbours: str
    """The lines of ``/etc/hosts`` that name the lab's hosts."""


class LabHost:
    """A host, on or off. Everything is found again from the disk, so any process can use it."""

    def __init__(self, spec: HostSpec, wiring: Wiring) -> None:
        self.spec = spec
        self.name = spec.name
        self.tags = spec.tags
        self.domain = spec.domain
        self.wiring = wiring
        self.address = wiring.address
        self.root = wiring.directory / "root"

    @property
    def host_key(self) -> str:
        """The host's public key line, ``ssh-ed25519 …``."""
        return " ".join((self.wiring.directory / "host_key.pub").read_text().split()[:2])

    # -- making -------------------------------------------------------------------------------------------------

    def make_key(self) -> None:
        """Make the host's ssh key; it stays the same when the host is made anew."""
        place = self.wiring.directory
        place.mkdir(parents=True, exist_ok=True)
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", self.name, "-f", place / "host_key")

    def prepare(self, seed: Seed | None) -> None:
        """Give the powered-off host an empty disk with its names and keys, and let ``seed`` put a system on it."""
        disk.mount(self.wiring.directory, self.wiring.base, self.spec.disk_bytes)
        self._furnish()
        if seed is not None:
            seed(self)

    def _furnish(self) -> None:
        root, w = self.root, self.wiring
        public = w.private_key.with_suffix(".pub").read_text()
        for home, owner in (("root", 0), ("home/deploy", DEPLOY_UID)):
            keys = root / home / ".ssh/authorized_keys"
            keys.write_text(public)
            keys.chmod(0o600)
            os.chown(keys, owner, owner)
        shutil.copy(w.directory / "host_key", root / "etc/ssh/ssh_host_ed25519_key")
        (root / "etc/ssh/ssh_host_ed25519_key").chmod(0o600)
        shutil.copy(w.directory / "host_key.pub", root / "etc/ssh/ssh_host_ed25519_key.pub")
        (root / "etc/hostname").write_text(f"{self.name}\n")
        (root / "etc/hosts").write_text(f"127.0.0.1 localhost\n{w.neighbours}")
        identity = hashlib.sha256(f"{w.directory}".encode()).hexdigest()[:32]
        (root / "etc/machine-id").write_text(f"{identity}\n")
        (root / "etc/resolv.conf").write_text("")

    def reset(self, seed: Seed | None) -> None:
        """Make the host anew and power it on: no faults, an empty disk, ``seed``; the same keys and address."""
        self.power_cut()
        self.heal()
        self.unslow()
        disk.unmount_below(self.wiring.directory)
        self.prepare(seed)
        self.boot()
        (self.wiring.directory / "used").unlink(missing_ok=True)

    # -- power --------------------------------------------------------------------------------------------------

    def is_running(self) -> bool:
        """Whether the host has power; it may still boot, or reboot."""
        return state.is_on(self.wiring.directory)

    def boot(self) -> None:
        """Power on and return at once; see ``wait_ready``."""
        place, w = self.wiring.directory, self.wiring
        with self._alone():
            if self.is_running():
                return
            # A group that was killed once would end what starts in it now.
            cgroup.remove(w.short)
            (place / "off").unlink(missing_ok=True)
            words = [w.short, self.name, str(self.root), w.address, w.gateway, str(place / "off")]
            with (place / "power").open("w") as power, self._open_console() as console:
                # Somebody may look at this moment whether it is locked.
                until(lambda: state.try_lock(power.fileno()), SUPERVISOR_S, lambda: f"{self.name} is on already")
                # The lock is passed on, and held for as long as the supervisor lives.
                subprocess.run(
                    ["setsid", "--fork", str(SUPERVISE), *words],
                    stdin=power,
                    stdout=console,
                    stderr=console,
                    timeout=SUPERVISOR_S,
                    check=True,
                )

    def power_cut(self) -> None:
        """Take the power away: nothing in the host gets to run another instruction. Its disk stays."""
        place, short = self.wiring.directory, self.wiring.short
        with self._alone():
            # First this, so that a reboot that is under way does not start the host again.
            (place / "off").touch()

            def dead() -> bool:
                cgroup.kill(short)
                return not self.is_running() and not cgroup.pids(short)

            until(dead, POWER_OFF_S, lambda: f"{self.name} does not go off; still there: {cgroup.pids(short)}")
            cgroup.remove(short)

    def power_cycle(self) -> None:
        """Cut the power, boot again, and wait until a login works."""
        self.power_cut()
        self.boot()
        self.wait_ready()

    def reboot(self, *, wait: bool = True) -> None:
        """Reboot in an orderly way from within; unless told otherwise, wait until a login works again."""
        before = self.boot_id()
        self.inside("systemctl", "--no-block", "reboot")
        if wait:
            until(lambda: self._boot_id_if_up() not in ("", before), READY_S, lambda: f"{self.name} did not reboot")
            self.wait_ready()

    def boot_id(self) -> str:
        """Return the id of the present boot. Raises LabError while the host is off."""
        return self.read("/proc/sys/kernel/random/boot_id").strip()

    def _boot_id_if_up(self) -> str:
        try:
            return self.boot_id()
        except LabError:
            return ""

    def wait_ready(self, timeout_s: float = READY_S) -> None:
        """Wait until the host has booted so far that both users can log in over ssh."""
        last = ["nothing"]

        def ready() -> bool:
            if not self.is_running():
                raise LabError(f"{self.name} is off; its console says:\n{self.console(2000)}")
            leader = self.leader()
            # While this file is there only root can log in.
            if leader is None or os.path.lexists(f"/proc/{leader}/root/run/nologin"):
                last[0] = "the boot is not over"
                return False
            done = self.ssh("true", check=False, timeout_s=15)
            last[0] = done.stderr.strip()
            return done.returncode == 0

        until(ready, timeout_s, lambda: f"{self.name} is not ready: {last[0]}; its console:\n{self.console(2000)}")

    def leader(self) -> int | None:
        """Return the process id, on this machine, of the host's own systemd; None while there is none."""
        return cgroup.leader(self.wiring.short)

    def _alone(self) -> AbstractContextManager[None]:
        return state.lock(self.wiring.directory / "lock", f"the power of {self.name}")

    def _open_console(self) -> BinaryIO:
        console = self.wiring.directory / "console.log"
        is_long = console.exists() and console.stat().st_size > LONGEST_CONSOLE_BYTES
        return console.open("wb" if is_long else "ab")

    # -- looking ------------------------------------------------------------------------------------------------

    def ssh_words(self, user: str = "root") -> list[str]:
        """Return the words of an ssh command that logs in to the host; what to run there may follow."""
        options = (
            "-F/dev/null",
            f"-i{self.wiring.private_key}",
            "-oIdentitiesOnly=yes",
            "-oIdentityAgent=none",
            f"-oUserKnownHostsFile={self.wiring.known_hosts}",
            "-oGlobalKnownHostsFile=/dev/null",
            "-oStrictHostKeyChecking=yes",
            "-oBatchMode=yes",
            "-oConnectTimeout=5",
            "-oServerAliveInterval=5",
        )
        return ["ssh", *options, f"{user}@{self.address}"]

    def ssh(
        self, *argv: str, user: str = "root", check: bool = True, timeout_s: float = 30, text_in: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on the host over ssh. One word alone is shell text; several are a command and its arguments."""
        command = argv[0] if len(argv) == 1 else shlex.join(argv)
        return run(*self.ssh_words(user), "--", command, check=check, timeout_s=timeout_s, text_in=text_in)

    def inside(
        self, *argv: str, check: bool = True, timeout_s: float = 30, text_in: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the host without its network or sshd, as a person at its console would."""
        leader = self._leader_or_raise()
        enter = ("nsenter", "-t", str(leader), "-m", "-u", "-i", "-n", "-p", "-C", "-r", "-w", "--")
        return run(*enter, *argv, check=check, timeout_s=timeout_s, text_in=text_in, env=INSIDE_ENV)

    def read(self, path: str) -> str:
        """Return the text of a file as the host sees it, on or off, with nothing run there; LabError without one."""
        place = self.path(path)
        try:
            return place.read_text(errors="replace")
        except OSError as error:
            raise LabError(f"{self.name}: cannot read {path}: {error.strerror}") from error

    def readlink(self, path: str) -> str:
        """Return where a path finally leads on the host, all links followed; empty when nothing is there."""
        top = self._top()
        place = disk.resolve(top, path)
        return f"/{place.relative_to(top)}" if place.exists() else ""

    def path(self, path: str) -> Path:
        """Return the place, on this machine, of a path of the host, all links followed; it may not exist."""
        return disk.resolve(self._top(), path)

    def console(self, at_most: int = 64_000) -> str:
        """Return the last bytes of what the host wrote to its console."""
        try:
            return (self.wiring.directory / "console.log").read_bytes()[-at_most:].decode(errors="replace")
        except FileNotFoundError:
            return ""

    def _top(self) -> Path:
        """Return the host's root: with its own mounts (``/run`` …) while it is on, else what is on its disk."""
        leader = self.leader()
        return self.root if leader is None else Path(f"/proc/{leader}/root")

    def _leader_or_raise(self) -> int:
        leader = self.leader()
        if leader is None:
            raise LabError(f"{self.name} is off")
        return leader

    # -- breaking -----------------------------------------------------------------------------------------------

    def cut(self, direction: str = "both") -> None:
        """Drop the host's packets: ``in`` (towards the host), ``out`` (from it), or ``both``. Outlives a reboot."""
        net.cut(self.wiring.short, direction)

    def heal(self) -> None:
        """Undo ``cut``."""
        net.heal(self.wiring.short)

    def slow(self, rate: str = "1mbit") -> None:
        """Limit the host's link, in each direction, to a rate as ``tc`` writes it."""
        net.slow(self.wiring.short, rate)

    def unslow(self) -> None:
        """Undo ``slow``."""
        net.unslow(self.wiring.short)

    def fill_disk(self, leave_bytes: int = 0) -> None:
        """Fill the host's one disk, ``/nix`` too, until ``leave_bytes`` are left: then writes fail with ENOSPC."""
        disk.fill(self.wiring.directory, leave_bytes)

    def unfill(self) -> None:
        """Undo ``fill_disk``."""
        disk.unfill(self.wiring.directory)

    def limit_memory(self, limit_bytes: int) -> None:
        """Let the host take so much more memory, until it is off: beyond it the kernel ends processes there."""
        cgroup.limit_memory(self.wiring.short, limit_bytes)

    def pause_sshd(self) -> None:
        """Stop sshd and its sessions in their tracks: connections are taken by the kernel, and nobody answers."""
        if not self._signal_sshd(signal.SIGSTOP):
            raise LabError(f"{self.name}: no sshd runs")

    def resume_sshd(self) -> None:
        """Undo ``pause_sshd``."""
        self._signal_sshd(signal.SIGCONT)

    def kill_ssh_sessions(self) -> int:
        """End every ssh session at once, and not the server; returns how many processes those were."""
        return self._signal_sshd(signal.SIGKILL, ("sshd-session", "sshd-auth"))

    def _signal_sshd(self, number: signal.Signals, names: tuple[str, ...] = ("sshd",)) -> int:
        signalled = 0
        for pid in cgroup.pids(self.wiring.short):
            try:
                if Path(f"/proc/{pid}/comm").read_text().startswith(names):
                    os.kill(pid, number)
                    signalled += 1
            except OSError:
                continue  # It ended meanwhile.
        return signalled

    # -- between tests ------------------------------------------------------------------------------------------

    def is_pristine(self) -> bool:
        """Whether a test may have the host as it is: on, and not used since it was made."""
        return self.is_running() and not (self.wiring.directory / "used").exists()

    def mark_used(self) -> None:
        """Say that this host must be made anew before the next test."""
        (self.wiring.directory / "used").touch()
