"""What can happen to the fleet as a whole, or to a host whatever rollouts it is in."""

from __future__ import annotations

from dataclasses import dataclass


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
