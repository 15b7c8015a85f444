"""Systems with the contract of a NixOS toplevel: a test says what it wants, and gets a store path.

``System(host="web1", label="v2").with_web("greeting v2")`` is a value; ``build(system)`` makes it real with Nix.
README.md beside this file says what each part of the contract follows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Literal

from lab.run import run

DIRECTORY = Path(__file__).parent
WEB_PORT = 8080

NIX_OPTIONS = ("--option", "sandbox", "false", "--option", "substituters", "", "--option", "build-users-group", "")
"""A plain builder with the machine's own tools, and no network: what these systems need and no more."""

BootKind = Literal["systemd-boot", "newest", "lanzaboote", "extlinux", "none"]
"""How the boot default is found: the entry that loader.conf names; the newest generation, without a default line or
with the pattern ``nixos-*``; extlinux' ``nixos-default``, without one-shot; or unreadable."""

POINTS = ("after-loader", "after-lists", "after-stop", "after-activation", "after-reload", "after-start")
"""Where switch-to-configuration can be held or made to die; see README.md for the order."""

FAULTS = frozenset(
    {
        "activation",
        "activation-restarts",
        "activation-sleep",
        "boot-die-between",
        "boot-hangs",
        "boot-panics",
        "boot-fail-between",
        "boot-loader",
        "boot-sleep",
        "logind",
        "pre-switch-check",
        "settle",
        "stderr-breaks",
        "stop-unheard",
        "user-activation",
        *(f"pause-{point}" for point in POINTS),
        *(f"die-{point}" for point in POINTS),
    }
)
"""What can go wrong: the table in README.md says what each does and what its value means."""


@dataclass(frozen=True, slots=True)
class System:
    """One host's generation, as data.

    ``services`` maps a name (``web``, or with a type: ``data.mount``) to a kind of default.nix and its arguments.
    ``kernel_kib`` is the size of kernel and initrd, each. ``boot_limit`` 0 lists every generation. ``inhibitors`` and
    ``init_interface`` are compared by a switch; another ``systemd`` makes it re-execute PID 1.
    """

    host: str
    label: str = "v1"
    services: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    faults: Mapping[str, str] = field(default_factory=dict)
    boot_kind: BootKind = "systemd-boot"
    boot_limit: int = 10
    kernel: str = "6.12.1"
    kernel_kib: int = 4
    kernel_params: str = "loglevel=4"
    init_interface: str = "systemd 1"
    inhibitors: Mapping[str, str] = field(default_factory=lambda: {"dbus-implementation": "dbus"})
    systemd: str = "257"
    system: str = "x86_64-linux"

    def __post_init__(self) -> None:
        unknown = sorted(set(self.faults) - FAULTS)
        if unknown:
            raise ValueError(f"no such fault: {', '.join(unknown)}; there are {', '.join(sorted(FAULTS))}")
        for word in (*self.inhibitors, *self.inhibitors.values()):
            if re.fullmatch(r"[\w.+ -]*", word) is None:
                raise ValueError(f"an inhibitor is letters, digits, dots, pluses, dashes and blanks, not {word!r}")

    def with_service(self, name: str, kind: str, **arguments: object) -> System:
        """Add or replace a service of one of the kinds in default.nix (webServer, failing, hanging, slow, …)."""
        return replace(self, services={**self.services, name: {"kind": kind, **arguments}})

    def with_unit(self, name: str, text: str, *, wanted: bool = True) -> System:
        """Add or replace a unit by its text; ``wanted`` ones start with the system."""
        return self.with_service(name.removesuffix(".service"), "unit", text=text, wanted=wanted)

    def without_unit(self, name: str) -> System:
        """Leave a unit out. Raises KeyError when there is none of that name."""
        name = name.removesuffix(".service")
        if name not in self.services:
            raise KeyError(name)
        return replace(self, services={key: value for key, value in self.services.items() if key != name})

    def with_fault(self, name: str, value: object = "1") -> System:
        """Make something go wrong; FAULTS has the names, README.md what they do and take."""
        return replace(self, faults={**self.faults, name: str(value)})

    def with_boot_guard(self) -> System:
        """Add the service that takes up a trial in the boot that it is."""
        return self.with_service("fleetd-boot", "bootGuard")

    def with_web(self, text: str, *, status: int = 200, port: int = WEB_PORT, life_s: float | None = None) -> System:
        """Add a web server that answers everything with ``status`` and ``text``, and may die after a while."""
        life = {} if life_s is None else {"lifeS": life_s}
        return self.with_service("web", "webServer", text=text, status=status, port=port, **life)

    def with_network(self, gateway: str, *, up: bool = True) -> System:
        """Configure the network with this default gateway, or take it down."""
        return self.with_service("network", "network", up=up, gateway=gateway)


def service(command: str, *, unit: str = "", **keys: str) -> str:
    """Return the text of a service unit."""
    lines = [f"[Unit]\n{unit}" if unit else "[Unit]", "[Service]", f"ExecStart={command}"]
    lines += [f"{key}={value}" for key, value in keys.items()]
    return "\n".join(lines) + "\n"


def base(host: str, gateway: str, label: str = "v1") -> System:
    """Return a system with sshd and a network, and nothing else."""
    return System(host=host, label=label).with_service("sshd", "sshd").with_network(gateway)


def good(host: str, gateway: str, greeting: str) -> System:
    """Return a system whose web server greets."""
    return base(host, gateway, greeting.replace(" ", "-")).with_web(f"greeting {greeting}")


def answers_500(host: str, gateway: str, greeting: str) -> System:
    """Return a system whose web server answers 500."""
    return good(host, gateway, greeting).with_web(f"greeting {greeting}", status=500)


def web_dies(host: str, gateway: str, greeting: str, life_s: float = 3) -> System:
    """Return a system whose web server dies with exit 3 after a while."""
    return good(host, gateway, greeting).with_web(f"greeting {greeting}", life_s=life_s)


def network_down(host: str, gateway: str, greeting: str) -> System:
    """Return a system that takes its network down."""
    return good(host, gateway, greeting).with_network(gateway, up=False)


def sshd_off(host: str, gateway: str, greeting: str) -> System:
    """Return a system without sshd."""
    return good(host, gateway, greeting).without_unit("sshd")


def sshd_when_needed(host: str, gateway: str, greeting: str) -> System:
    """Return a system whose sshd is started by its socket, one for each connection, as with ``startWhenNeeded``."""
    system = sshd_off(host, gateway, greeting)
    instance = f"[Unit]\nDescription=sshd of {greeting}\n[Service]\nEnvironment=GREETING={greeting}\n{_SSHD_INSTANCE}"
    return system.with_unit("sshd.socket", _SSHD_SOCKET).with_unit("sshd@.service", instance, wanted=False)


_SSHD_SOCKET = "[Unit]\n[Socket]\nListenStream=22\nAccept=yes\n"
_SSHD_INSTANCE = """\
ExecStartPre=/usr/bin/mkdir -p /run/sshd
ExecStart=-/usr/sbin/sshd -i
StandardInput=socket
StandardError=journal
KillMode=process
X-StopIfChanged=false
"""


def memory_eaten(host: str, gateway: str, greeting: str) -> System:
    """Return a system with a service that takes all the memory there is, again and again."""
    eats = """/usr/bin/python3 -c 'a = []; exec("while True: a.append(bytearray(1 << 20))")'"""
    unit = service(eats, unit="StartLimitIntervalSec=0\n", Type="exec", Restart="always", RestartSec="0.2")
    return good(host, gateway, greeting).with_unit("eater", unit)


def unit_fails(host: str, gateway: str, greeting: str) -> System:
    """Return a system with a unit that fails to start; as the first system, it is a failure from before."""
    return good(host, gateway, greeting).with_service("broken", "failing")


def unit_hangs(host: str, gateway: str, greeting: str) -> System:
    """Return a system with a unit whose start never ends."""
    return good(host, gateway, greeting).with_service("hanging", "hanging")


def unit_flaps(host: str, gateway: str, greeting: str) -> System:
    """Return a system with a unit that fails and waits to be started again."""
    return good(host, gateway, greeting).with_service("flapping", "flapping")


def slow_start(host: str, gateway: str, greeting: str, seconds: int) -> System:
    """Return a system with a unit that takes long to start: going back to it takes as long."""
    return good(host, gateway, greeting).with_service("slow", "slow", seconds=seconds)


slow_revert = slow_start


def activation_fails(host: str, gateway: str, greeting: str) -> System:
    """Return a system whose activation script fails."""
    return good(host, gateway, greeting).with_fault("activation")


def kernel_changed(host: str, gateway: str, greeting: str) -> System:
    """Return a system with another kernel: it needs a reboot to be what it says."""
    return replace(good(host, gateway, greeting), kernel="6.12.99")


def inhibited(host: str, gateway: str, greeting: str) -> System:
    """Return a system with another D-Bus implementation, which no live switch may cross."""
    return replace(good(host, gateway, greeting), inhibitors={"dbus-implementation": "broker"})


def init_changed(host: str, gateway: str, greeting: str) -> System:
    """Return a system with another init interface: a switch to it ends with 100."""
    return replace(good(host, gateway, greeting), init_interface="systemd 2")


def systemd_changed(host: str, gateway: str, greeting: str) -> System:
    """Return a system with another systemd: a switch re-executes PID 1."""
    return replace(good(host, gateway, greeting), systemd="258")


def options_json(system: System) -> str:
    """Return what from-json.nix takes."""
    return json.dumps(
        {
            "hostName": system.host,
            "label": system.label,
            "services": {name: dict(arguments) for name, arguments in system.services.items()},
            "faults": dict(system.faults),
            "bootKind": system.boot_kind,
            "bootLimit": system.boot_limit,
            "kernelVersion": system.kernel,
            "kernelKiB": system.kernel_kib,
            "kernelParams": system.kernel_params,
            "initInterface": system.init_interface,
            "inhibitors": dict(system.inhibitors),
            "systemdVersion": system.systemd,
            "system": system.system,
        },
        sort_keys=True,
    )


@lru_cache(maxsize=512)
def _build(options: str) -> str:
    argv = ("nix-build", "--no-out-link", *NIX_OPTIONS, str(DIRECTORY / "from-json.nix"))
    done = run(*argv, "--argstr", "optionsJson", options, timeout_s=120)
    return done.stdout.strip()


def build(system: System) -> str:
    """Build a system on the control node and return its toplevel. Raises LabError with Nix's own words."""
    return _build(options_json(system))
