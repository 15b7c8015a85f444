"""The fleet as written down: hosts, checks and policies. What was *observed* of a host is ``facts``, not here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from fleetd.model.check import Check
from fleetd.model.hook import Hook
from fleetd.model.order import KeptGenerations
from fleetd.model.policy import Policy, Size
from fleetd.model.program import ControlCommand
from fleetd.model.store_path import StorePath


class Privilege(StrEnum):
    """How the deploy user becomes root."""

    NONE = "none"
    SUDO = "sudo"
    RUN0 = "run0"
    DOAS = "doas"


class BootKind(StrEnum):
    """Whether the host's boot default can be read; ``external`` hosts are outside the promise of a safe reboot."""

    AUTO = "auto"
    EXTERNAL = "external"


@dataclass(frozen=True, slots=True)
class Installable:
    """A flake installable that evaluates to the host's toplevel."""

    text: str


@dataclass(frozen=True, slots=True)
class FileAttribute:
    """A Nix file and the attribute in it that is the host's toplevel."""

    file: str
    attribute: str


@dataclass(frozen=True, slots=True)
class Prebuilt:
    """A toplevel that is already in the control node's store."""

    toplevel: StorePath


@dataclass(frozen=True, slots=True)
class HiveNode:
    """A file that is a colmena hive, and the node in it."""

    file: str
    node: str


ToplevelSource = Installable | FileAttribute | HiveNode | Prebuilt

SOCKET = "unix:"
"""Begins an address that is a socket on the control node: a host that nobody can reach keeps it open from its side."""


def socket_path(address: str) -> str | None:
    """Return the path of an address that is a socket of the control node; None for an address of the network."""
    return address.removeprefix(SOCKET) if address.startswith(SOCKET) else None


@dataclass(frozen=True, slots=True)
class Host:
    """One host of the fleet file, with every default filled in."""

    name: str
    addresses: tuple[str, ...]
    port: int = 22
    user: str = "root"
    tags: tuple[str, ...] = ()
    domain: str = "default"
    jump: str | None = None
    depends_on: tuple[str, ...] = ()
    privilege: Privilege = Privilege.NONE
    host_key: str | None = None
    system: str = "x86_64-linux"
    boot: BootKind = BootKind.AUTO
    unattended_boot: bool = True
    unlock: ControlCommand | None = None
    power_cycle: ControlCommand | None = None
    ignore_units: tuple[str, ...] = ()
    keep_generations: KeptGenerations | None = None
    """What is kept of old generations after a commit; None: all of them."""

    substitute: bool = False
    compress: bool = False
    """Whether what is pushed there is compressed (zstd)."""

    builds_itself: bool = False
    """Whether it builds its own systems; the control node sends it derivations."""

    source: ToplevelSource | None = None

    @property
    def network_addresses(self) -> tuple[str, ...]:
        """Where others than fleetd can reach it as well: the addresses that are no sockets of the control node."""
        return tuple(address for address in self.addresses if socket_path(address) is None)


@dataclass(frozen=True, slots=True)
class Group:
    """Hosts that need each other: never more than ``max_unavailable`` of them at once unproven or unwell."""

    name: str
    on: str
    max_unavailable: int


@dataclass(frozen=True, slots=True)
class Fleet:
    """Everything a fleet source says. ``hosts`` keeps the order in which they were written."""

    hosts: Mapping[str, Host]
    checks: tuple[Check, ...] = ()
    policies: Mapping[str, Policy] = field(default_factory=dict)
    groups: tuple[Group, ...] = ()
    hooks: tuple[Hook, ...] = ()
    brake: Size = field(default_factory=lambda: Size(percent=25))
    """How much of the fleet may be unwell before no rollout starts a well host any more."""
    flake: str | None = None
    """The configured flake: where a host without a source of its own is looked up, and what a revision overrides."""


NOBODY = Fleet({})
"""A fleet without hosts."""
