"""A host on which systems are switched by hand: what the tests of the contract act on and look at."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from lab.errors import LabError
from lab.host import LabHost
from lab.seed import copy_to
from lab.system import System, build, good

LISTS = ("start-list", "restart-list", "reload-list")
OUTPUT = "/run/switch-output"


@dataclass(frozen=True, slots=True)
class Rig:
    """One host; ``old`` is the toplevel that it booted."""

    host: LabHost
    old: str

    # -- systems ------------------------------------------------------------------------------------------------

    def good(self, greeting: str) -> System:
        """Return a healthy system for this host."""
        return good(self.host.name, self.host.wiring.gateway, greeting)

    def install(self, system: System) -> str:
        """Build a system and make it valid in the host's store; returns its toplevel.

        The host may be running: its database is one file for both, and SQLite's locks hold between namespaces.
        """
        toplevel = build(system)
        copy_to(self.host.root, toplevel)
        return toplevel

    def profile(self, toplevel: str) -> None:
        """Make a toplevel the newest generation of the system profile."""
        self.host.inside("nix-env", "-p", "/nix/var/nix/profiles/system", "--set", toplevel)

    # -- switching ----------------------------------------------------------------------------------------------

    def switch(
        self, toplevel: str, action: str = "test", env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run switch-to-configuration to its end."""
        words = [f"{name}={value}" for name, value in (env or {}).items()]
        return self.host.inside("env", *words, f"{toplevel}/bin/switch-to-configuration", action, check=False)

    def start(self, toplevel: str, action: str = "test") -> str:
        """Start switch-to-configuration and return its process id on the host; its words go to a file."""
        command = f"{toplevel}/bin/switch-to-configuration {action} >{OUTPUT} 2>&1 </dev/null & echo $!"
        return self.shell(command)

    def kill(self, pid: str) -> None:
        """End a process at once, and wait until it is gone."""
        self.host.inside("kill", "-9", pid)
        self.until(lambda: not self.is_alive(pid))

    def is_alive(self, pid: str) -> bool:
        """Whether a process of the host exists and is more than a zombie."""
        state = self.shell(f"sed -n 's/^State:[^A-Z]*//p' /proc/{pid}/status 2>/dev/null || true")
        return state not in ("", "Z (zombie)")

    # -- looking ------------------------------------------------------------------------------------------------

    def shell(self, command: str) -> str:
        """Run a shell command on the host and return what it said."""
        return self.host.inside("sh", "-c", command).stdout.strip()

    @property
    def current(self) -> str:
        """What the host runs."""
        return self.host.readlink("/run/current-system")

    @property
    def booted(self) -> str:
        """What the host booted."""
        return self.host.readlink("/run/booted-system")

    @property
    def boot_default(self) -> str:
        """The toplevel of the entry that loader.conf names; empty when there is none."""
        name = self.shell("sed -n 's/^default //p' /boot/loader/loader.conf")
        return self.entry(name) if name else ""

    def entry(self, name: str) -> str:
        """Return the toplevel of a boot entry; empty when there is none of that name."""
        return self.shell(f"sed -n 's/^options init=\\([^ ]*\\)\\/init .*/\\1/p' /boot/loader/entries/{name} || true")

    def entries(self) -> list[str]:
        """Return the names of the boot entries."""
        return self.shell("cd /boot/loader/entries && ls").split()

    def lists(self) -> dict[str, list[str]]:
        """Return what an interrupted switch still owes, by list."""
        found = {name: self.shell(f"cat /run/nixos/{name} 2>/dev/null || true").split() for name in LISTS}
        return {name: units for name, units in found.items() if units}

    def unit(self, name: str, key: str) -> str:
        """Return a property of a unit."""
        return self.shell(f"systemctl show -p {key} --value {name}")

    def is_active(self, name: str) -> bool:
        """Whether a unit is active."""
        return self.unit(name, "ActiveState") == "active"

    def page(self) -> str:
        """Return what the web server says; empty when nobody answers."""
        return self.shell("curl -s --max-time 5 http://127.0.0.1:8080/healthz || true")

    def said_by_systemd(self, words: str) -> int:
        """Return how often PID 1 has logged some words in this boot."""
        self.host.inside("journalctl", "--sync")
        return self.shell("journalctl -b -o cat _PID=1").count(words)

    def until(self, true: Callable[[], bool], timeout_s: float = 15) -> None:
        """Wait for something. Raises LabError with the output of the last switch when it does not come."""
        end = time.monotonic() + timeout_s
        while not true():
            if time.monotonic() > end:
                raise LabError(f"waited {timeout_s} s in vain; " + self.shell(f"cat {OUTPUT} 2>&1 || true"))
            time.sleep(0.05)
