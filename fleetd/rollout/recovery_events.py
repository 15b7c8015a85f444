"""What ``fleetd recover`` makes of a journal of which a part was lost: facts that only the hosts still knew."""

from __future__ import annotations

from dataclasses import dataclass

from fleetd.model.facts import HelperState
from fleetd.model.store_path import StorePath


@dataclass(frozen=True, slots=True)
class RecoveryBegan:
    """Hosts are about to be asked, under a term above all that they hold. Until ``RecoveryEnded`` no daemon starts.

    ``numbered``: rollouts are numbered on from here, beyond those that the lost part may have had.
    """

    at: float
    numbered: int


@dataclass(frozen=True, slots=True)
class ActivationRecovered:
    """A host stands still, and this is what became of an activation that the journal takes for one under way.

    ``ours``: whether it is the newest one that the host knows; if not, nobody knows how it ended.
    """

    at: float
    rollout: str
    host: str
    state: HelperState
    ours: bool
    by: str
    reason: str


@dataclass(frozen=True, slots=True)
class HostRecovered:
    """What fleetd is known to have left on a host, by the host's own record of its newest activation.

    ``activation`` is that one's id. ``left`` boots, ``kept`` runs beside it after a test, ``staged`` is what boots next
    instead; ``came_from`` is what ran before. ``stranded`` is why going back failed there.
    """

    at: float
    host: str
    activation: str
    machine_id: str
    left: StorePath | None
    kept: StorePath | None = None
    staged: StorePath | None = None
    came_from: StorePath | None = None
    stranded: str = ""


@dataclass(frozen=True, slots=True)
class RecoveryEnded:
    """Every host was asked. Those that were ``silent`` may still hold what the journal does not know."""

    at: float
    silent: tuple[str, ...]


RecoveryEvent = RecoveryBegan | HostRecovered | RecoveryEnded
