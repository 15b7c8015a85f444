"""What a host is owed, or was left with, apart from any rollout."""

from __future__ import annotations

from dataclasses import dataclass

from fleetd.model.store_path import StorePath


@dataclass(frozen=True, slots=True)
class HostOwed:
    """A rollout that went well on others passed the host over: it is to have this system when it can.

    ``policy`` is the rollout's, by name; ``derivation`` what the host builds the system from, if it builds itself.
    Without a rollout it is what fleetd left there, and what the host does not run any more.
    """

    at: float
    rollout: str
    host: str
    to: StorePath
    policy: str
    derivation: str = ""


@dataclass(frozen=True, slots=True)
class HostNotOwed:
    """A person wants nothing of what a host was owed."""

    at: float
    host: str
    by: str
    reason: str


@dataclass(frozen=True, slots=True)
class HostAdopted:
    """What a host runs, and the machine that it is, are taken for what fleetd left there; ``by``: a person or a policy.

    Also a host that lost what it knew of earlier orders is believed from here on.
    """

    at: float
    host: str
    current: StorePath
    machine_id: str
    by: str
    reason: str


RecordEvent = HostOwed | HostNotOwed | HostAdopted
