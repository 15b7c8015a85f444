"""What can happen to the fleet as a whole, or to a host whatever rollouts it is in."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class ControllerIsolated:
    """More than half of the hosts that were observed fell silent together: it is the controller that hears nobody.

    ``since`` is when the first of them did; ``hosts`` are some of them, ``lost`` and ``heard`` how many there are.
    """

    at: float
    since: float
    lost: int
    heard: int
    hosts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ContactRestored:
    """Hosts answer again. ``away_s``: how long nobody was heard; it counts as if no controller had been there."""

    at: float
    away_s: float


@dataclass(frozen=True, slots=True)
class HostLocked:
    """A person wants nothing started on a host. ``until``: when that ends by itself; None: when somebody unlocks it.

    ``by`` is who said so, ``owner`` for whom.
    """

    at: float
    host: str
    by: str
    owner: str
    reason: str
    until: float | None


@dataclass(frozen=True, slots=True)
class HostUnlocked:
    """A host may be started again. ``by`` is empty where the lock's own time was over."""

    at: float
    host: str
    by: str
    reason: str


@dataclass(frozen=True, slots=True)
class FreezeSet:
    """A person wants no deploy to start anything. ``until``: when that ends by itself; None: when somebody says so."""

    at: float
    by: str
    owner: str
    reason: str
    until: float | None


@dataclass(frozen=True, slots=True)
class FreezeLifted:
    """Deploys may start again. ``by`` is empty where the freeze's own time was over."""

    at: float
    by: str
    reason: str


class Ailment(StrEnum):
    """What can be wrong with a host that is in no rollout; the first two count for the brake."""

    UNREACHABLE = "unreachable"
    UNHEALTHY = "unhealthy"
    DRIFTED = "drifted"


@dataclass(frozen=True, slots=True)
class HostFoundUnwell:
    """A host that is in no rollout was looked at, and something is wrong that was not, or something else than was."""

    at: float
    host: str
    kind: Ailment
    reason: str


@dataclass(frozen=True, slots=True)
class HostFoundWell:
    """What was found to be wrong with a host is wrong no more; ``reason`` where that is not what it shows itself."""

    at: float
    host: str
    reason: str


@dataclass(frozen=True, slots=True)
class HostExcused:
    """A person knows what is wrong with a host: it counts no more, until it is well and falls ill anew."""

    at: float
    host: str
    by: str
    reason: str
