"""What a rollout was accepted with. It is frozen then: later edits of the fleet file change addresses, users and keys,
never the policy, the checks, the waves, or what goes where.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from fleetd.model.check import Check
from fleetd.model.fleet import ToplevelSource
from fleetd.model.goal import Goal
from fleetd.model.hook import Hook
from fleetd.model.policy import Policy


class Kind(StrEnum):
    """Whether a rollout brings a revision, takes hosts back by a person's word, boots what they run, brings hosts
    what an earlier one passed them over with, or what was left there and runs there no more."""

    DEPLOY = "deploy"
    ROLLBACK = "rollback"
    REBOOT = "reboot"
    CATCH_UP = "catch-up"
    RESTORE = "restore"

    @property
    def brings(self) -> bool:
        """Whether hosts are to run what the control node has for them, and not what they have already."""
        return self in (Kind.DEPLOY, Kind.CATCH_UP)

    @property
    def pays(self) -> bool:
        """Whether hosts are brought to what they are owed: it gives way to whatever else people ask for."""
        return self in (Kind.CATCH_UP, Kind.RESTORE)


@dataclass(frozen=True, slots=True)
class HostPlan:
    """One host of a rollout: where its toplevel comes from, and which checks and hooks are its own, by name."""

    name: str
    source: ToplevelSource
    domain: str = "default"
    depends_on: tuple[str, ...] = ()
    checks: tuple[str, ...] = ()
    hooks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Member:
    """One host of a group, which need not be one of the rollout's, and the checks that tell how it is, by name."""

    name: str
    checks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class HostGroup:
    """Hosts of which no more than ``max_unavailable`` may be unproven or unwell at once, whoever caused it."""

    name: str
    members: tuple[Member, ...]
    max_unavailable: int


@dataclass(frozen=True, slots=True)
class Wave:
    """Hosts released together; the first wave is the canary.

    ``approval_s``: a person must let the wave start, and has this long to do so; None when nobody is asked.
    ``apart``: its hosts never fill a gap in an earlier wave.
    """

    name: str
    hosts: tuple[str, ...]
    soak_s: float = 0.0
    approval_s: float | None = None
    apart: bool = False


@dataclass(frozen=True, slots=True)
class RolloutSpec:
    """One accepted request.

    ``flake`` is the reference to lock before evaluating; None when nothing in it comes from the configured flake.
    ``contact_s`` is n, one fresh contact, in seconds. ``key`` and ``request`` tell a repeat of the same request from
    another one: its key, and a digest of what was sent ("" in journals from before it was kept).
    """

    id: str
    kind: Kind
    revision: str
    flake: str | None
    on: str
    goal: Goal
    policy: Policy
    checks: tuple[Check, ...]
    hosts: tuple[HostPlan, ...]
    waves: tuple[Wave, ...]
    requested_by: str
    reason: str
    contact_s: float
    key: str | None = None
    request: str = ""
    supersede: bool = False
    """Whether earlier rollouts all of whose hosts are this one's end in its favour."""
    force: bool = False
    """Whether the revision need not contain the one that was deployed last."""
    groups: tuple[HostGroup, ...] = ()
    """Those groups of the fleet that any of its hosts belongs to."""
    brake: int = 0
    """How many hosts of the whole fleet may be unwell while this rollout starts well ones; 0: any number."""
    hooks: tuple[Hook, ...] = ()
    """Those of the fleet that any of its hosts has."""

    def checks_of(self, host: HostPlan) -> tuple[Check, ...]:
        """Return the host's checks, in the fleet file's order."""
        return tuple(check for check in self.checks if check.name in host.checks)

    def hooks_of(self, host: HostPlan) -> tuple[Hook, ...]:
        """Return the host's hooks, in the fleet file's order."""
        return tuple(hook for hook in self.hooks if hook.name in host.hooks)


def rollout_name(number: int) -> str:
    """Return the id of a rollout."""
    return f"r-{number}"


def number_of(rollout: str) -> int:
    """Return the number in a rollout's id; 0 where it has none."""
    number = rollout.rpartition("-")[2]
    return int(number) if number.isdecimal() else 0


def dependents_of(spec: RolloutSpec) -> dict[str, tuple[str, ...]]:
    """Return who depends on a host, by its name."""
    found: dict[str, tuple[str, ...]] = {}
    for plan in spec.hosts:
        for host in plan.depends_on:
            found[host] = (*found.get(host, ()), plan.name)
    return found
