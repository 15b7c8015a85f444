"""Systems with the contract of a NixOS toplevel: a test says what it wants, and gets a store path.

``System(host="web1", label="v2").with_web("greeting v2")`` is a value; ``build(system)`` makes it real with Nix.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

from lab.run import run

DIRECTORY = Path(__file__).parent
WEB_PORT = 8080

# fmt: off
TOOLS = (
    "bash", "sh", "env", "cat", "cp", "mv", "ln", "rm", "mkdir", "rmdir", "chmod", "chown", "readlink", "sync",
    "stat", "df", "id", "sleep", "sort", "tail", "head", "tr", "sed", "grep", "cmp", "flock", "systemctl",
    "journalctl", "systemd-run", "loginctl", "nix-env", "nix-store", "nix", "ip", "ss", "wall", "timeout", "base64",
    "sha256sum", "mktemp", "touch", "uname", "date", "printf", "kill", "ps", "dd", "mkfifo", "mountpoint",
    "ssh-keygen", "find", "cut", "wc",
)
# fmt: on
"""What ``sw/bin`` holds: links to the host's own programs, where NixOS has store paths."""


NIX_OPTIONS = ("--option", "sandbox", "false", "--option", "substituters", "", "--option", "build-users-group", "")
"""A plain builder with the machine's own tools, and no network: what these systems need and no more."""


@dataclass(frozen=True)
class System:
    """One host's generation, as data."""

    host: str
    label: str = "v1"
    units: Mapping[str, tuple[str, bool]] = field(default_factory=dict)
    faults: Mapping[str, str] = field(default_factory=dict)
    boot_kind: str = "systemd-boot"
    boot_limit: int = 10
    kernel: str = "6.12.1"
    kernel_params: str = "loglevel=4"
    init_interface: str = "systemd 1"
    inhibitors: Mapping[str, str] = field(default_factory=lambda: {"dbus-implementation": "dbus"})
    systemd: str = "257"
    system: str = "x86_64-linux"

    def with_unit(self, name: str, text: str, *, wanted: bool = True) -> System:
        """Add or replace a unit; ``wanted`` ones start with the system."""
        return replace(self, units={**self.units, name: (text, wanted)})

    def without_unit(self, name: str) -> System:
        """Leave a unit out."""
        return replace(self, units={key: value for key, value in self.units.items() if key != name})

    def with_fault(self, name: str, value: str = "1") -> System:
        """Make something go wrong; see the table in README.md for the names."""
        return replace(self, faults={**self.faults, name: value})

    def with_web(self, text: str, *, status: int = 200, port: int = WEB_PORT, life_s: float | None = None) -> System:
        """Add a web server that answers everything with ``status`` and ``text``, and may die after a while."""
        life = f" {life_s}" if life_s is not None else ""
        command = f"/usr/bin/python3 @tools@/web.py {port} {status} '{text}'{life}"
        return self.with_unit("web.service", service(command, Type="exec"))


def service(command: str, *, unit: str = "", **keys: str) -> str:
    """Return the text of a service unit."""
    lines = [f"[Unit]\n{unit}" if unit else "[Unit]", "[Service]", f"ExecStart={command}"]
    lines += [f"{key}={value}" for key, value in keys.items()]
    return "\n".join(lines) + "\n"


SSHD = service(
    "/usr/sbin/sshd -D",
    unit="X-StopIfChanged=false",
    ExecStartPre="/usr/bin/mkdir -p /run/sshd",
    KillMode="process",
    Restart="always",
    Type="notify",
)
_ONESHOT = {"Type": "oneshot", "RemainAfterExit": "yes"}


def network(gateway: str, *, up: bool = True) -> str:
    """Return the unit that configures the network, or that takes it down."""
    if not up:
        return service("/usr/sbin/ip link set host0 down", **_ONESHOT)
    route = f"/usr/sbin/ip route replace default via {gateway}"
    return service("/usr/sbin/ip link set host0 up", ExecStartPost=route, **_ONESHOT)


def base(host: str, gateway: str, label: str = "v1") -> System:
    """Return a system with sshd and a network, and nothing else."""
    system = System(host=host, label=label)
    return system.with_unit("sshd.service", SSHD).with_unit("network.service", network(gateway))


def good(host: str, gateway: str, greeting: str) -> System:
    """Return a system whose web server greets."""
    return base(host, gateway, greeting.replace(" ", "-")).with_web(f"greeting {greeting}")


def answers_500(host: str, gateway: str, greeting: str) -> System:
    """Return a system whose web server answers 500."""
    return base(host, gateway, greeting.replace(" ", "-")).with_web(f"greeting {greeting}", status=500)


def network_down(host: str, gateway: str, greeting: str) -> System:
    """Return a system that takes its network down."""
    return good(host, gateway, greeting).with_unit("network.service", network(gateway, up=False))


def sshd_off(host: str, gateway: str, greeting: str) -> System:
    """Return a system without sshd."""
    return good(host, gateway, greeting).without_unit("sshd.service")


def unit_fails(host: str, gateway: str, greeting: str) -> System:
    """Return a system with a unit that fails to start."""
    return good(host, gateway, greeting).with_unit("broken.service", service("/bin/false", Type="oneshot"))


def unit_hangs(host: str, gateway: str, greeting: str) -> System:
    """Return a system with a unit whose start never ends."""
    hanging = service("/usr/bin/sleep infinity", Type="oneshot", TimeoutStartSec="infinity")
    return good(host, gateway, greeting).with_unit("hanging.service", hanging)


def slow_start(host: str, gateway: str, greeting: str, seconds: int) -> System:
    """Return a system with a unit that takes long to start: going back to it takes as long."""
    slow = service(f"/usr/bin/sleep {seconds}", TimeoutStartSec="infinity", **_ONESHOT)
    return good(host, gateway, greeting).with_unit("slow.service", slow)


@lru_cache(maxsize=512)
def _build(options: str) -> str:
    argv = ("nix-build", "--no-out-link", *NIX_OPTIONS, str(DIRECTORY / "default.nix"))
    done = run(*argv, "--argstr", "optionsJson", options, timeout_s=120)
    return done.stdout.strip()


def options_json(system: System) -> str:
    """Return what default.nix takes."""
    return json.dumps(
        {
            "hostName": system.host,
            "label": system.label,
            "units": {name: {"text": text, "wanted": wanted} for name, (text, wanted) in system.units.items()},
            "faults": dict(system.faults),
            "bootKind": system.boot_kind,
            "bootLimit": system.boot_limit,
            "kernelVersion": system.kernel,
            "kernelParams": system.kernel_params,
            "initInterface": system.init_interface,
            "inhibitors": dict(system.inhibitors),
            "systemdVersion": system.systemd,
            "system": system.system,
            "tools": TOOLS,
        },
        sort_keys=True,
    )


def build(system: System) -> str:
    """Build a system on the control node and return its toplevel."""
    return _build(options_json(system))
