"""What may be asked of the controller from outside, and how it answers.

The API, the webhooks and ``fleetctl --local`` all speak through ``Control``; nothing else reaches the loop.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from fleetd.errors import NotFoundError
from fleetd.model.facts import HostFacts
from fleetd.model.goal import Goal

Document = Mapping[str, object]
"""A JSON object exactly as the API shows it."""


@dataclass(frozen=True, slots=True)
class RequestKey:
    """What makes a repeat harmless: the same name and digest give the same rollout, another digest is refused.

    The digest is of the request *as it was sent*. What a request resolves to changes with the fleet file and the
    configuration; what was asked does not.
    """

    name: str
    digest: str


def digest_of(verb: str, asked: Mapping[str, object]) -> str:
    """Return the digest of a request from the fields that its sender filled in: how they were spelt plays no part."""
    text = json.dumps([verb, asked], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class SubmitRollout:
    """Bring selected hosts to a revision.

    ``key`` makes a repeat harmless. ``revision`` is a flake reference (None: the configured flake as it is now);
    ``toplevels`` are prebuilt, by host. ``on`` is a selector (empty: every host, or with ``toplevels`` just those named
    there). With ``force`` a branch need not contain the commit that was deployed last; with ``supersede`` earlier
    rollouts all of whose hosts are among these end in favour of this one.
    """

    requested_by: str
    key: RequestKey | None = None
    revision: str | None = None
    toplevels: Mapping[str, str] = field(default_factory=dict)
    on: str = ""
    policy: str = "default"
    goal: Goal | None = None
    reason: str = ""
    force: bool = False
    supersede: bool = False


@dataclass(frozen=True, slots=True)
class AbortRollout:
    """Start nothing more, take back what is in trial, keep what is committed."""

    rollout: str
    requested_by: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class RollBackRollout:
    """Take every host of a rollout back to what it ran before."""

    rollout: str
    requested_by: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class RollBackHosts:
    """Take hosts back to their last good toplevel, or to what a named earlier rollout left on them (``to``)."""

    requested_by: str
    key: RequestKey | None = None
    on: str = ""
    to: str | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class RebootHosts:
    """Reboot hosts into what they run: a rollout without a revision. ``when_needed``: only those that need it."""

    requested_by: str
    key: RequestKey | None = None
    on: str = ""
    policy: str = "default"
    when_needed: bool = False
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ClearHost:
    """A person looked: a lost or stranded host is gone, or in order, and nothing waits for it any longer."""

    host: str
    requested_by: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class AdoptHost:
    """Take what a host runs, and the machine that it is, for what fleetd left there.

    ``facts`` are what it has just said of itself; whoever asks leaves them out.
    """

    host: str
    requested_by: str
    reason: str = ""
    facts: HostFacts | None = None


@dataclass(frozen=True, slots=True)
class RestoreHost:
    """Bring a host that has drifted back to what fleetd last left there, by a rollout of its own kind."""

    host: str
    requested_by: str
    key: RequestKey | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class LockHost:
    """Start nothing on a host until it is unlocked, or for ``for_s``. ``owner``: for whom (empty: who says it)."""

    host: str
    requested_by: str
    reason: str = ""
    owner: str = ""
    for_s: float | None = None


@dataclass(frozen=True, slots=True)
class UnlockHost:
    """Let a host be started again."""

    host: str
    requested_by: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class FreezeFleet:
    """Let no deploy start anything until it is lifted, or for ``for_s``. ``owner``: for whom (empty: who says it)."""

    requested_by: str
    reason: str = ""
    owner: str = ""
    for_s: float | None = None


@dataclass(frozen=True, slots=True)
class UnfreezeFleet:
    """Let deploys start again."""

    requested_by: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class PauseRollout:
    """Start nothing more for now; what is under way goes on to its end."""

    rollout: str
    requested_by: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ResumeRollout:
    """Go on. Failures until now count no more, since a person goes on in spite of them."""

    rollout: str
    requested_by: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class PromoteRollout:
    """End the soak of the present wave; nothing else is skipped."""

    rollout: str
    requested_by: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ApproveWave:
    """Let the wave start that waits for a person."""

    rollout: str
    requested_by: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class DenyWave:
    """Do not let it start: the rollout ends with what it has."""

    rollout: str
    requested_by: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class RetryHost:
    """Try a host of the rollout once more that went back, failed, was deferred or skipped."""

    rollout: str
    host: str
    requested_by: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class SkipHost:
    """Leave a host out on which nothing was done yet."""

    rollout: str
    host: str
    requested_by: str
    reason: str = ""


RolloutVerb = PauseRollout | ResumeRollout | PromoteRollout | ApproveWave | DenyWave | RetryHost | SkipHost
"""What is said to a rollout that runs; ``verbs`` has the rules."""

HoldCommand = LockHost | UnlockHost | FreezeFleet | UnfreezeFleet
"""What holds hosts back whatever rollouts there are; ``holds`` has the rules."""

Command = (
    SubmitRollout
    | AbortRollout
    | RollBackRollout
    | RollBackHosts
    | RebootHosts
    | AdoptHost
    | RestoreHost
    | ClearHost
    | HoldCommand
    | RolloutVerb
)


@dataclass(frozen=True, slots=True)
class Accepted:
    """A command is on disk. ``repeated``: this key had been accepted before, and nothing new was started.

    ``rollout`` and ``document`` are empty for what is about no rollout.
    """

    rollout: str
    document: Document
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class Figures:
    """What can be counted: (word, count) pairs, and hosts and numbers."""

    rollouts: tuple[tuple[str, int], ...]
    hosts: tuple[tuple[str, int], ...]
    unproven: int
    lost: int
    stranded: int
    seq: int
    term: int
    broken: bool
    unwell: int = 0
    isolated: bool = False
    found: tuple[tuple[str, int], ...] = ()
    """Hosts in no rollout with which something is wrong, by what it is."""
    owed: int = 0
    drained: int = 0


class Control(Protocol):
    """The controller as seen from outside."""

    async def submit(self, command: Command) -> Accepted:
        """Return once the command is durable.

        Raises UsageError and its kinds, RefusedError, NotFoundError, or OverloadedError when the inbox is full.
        """
        ...

    async def repeat(self, key: RequestKey) -> Accepted | None:
        """Return what the request of this key was answered, once that is durable; None when the key is new.

        Nothing else is looked at: not the fleet file, not the policies. Raises UsageError when the key belongs to
        another request, OverloadedError.
        """
        ...

    async def plan(self, request: SubmitRollout) -> Document:
        """Evaluate and show what a rollout would do: waves, per host from → to, times. Nothing is done."""
        ...

    async def difference(self, request: SubmitRollout) -> Document:
        """Build what the one selected host would get, and say how it differs from what runs there.

        No host is touched. Raises FleetdError.
        """
        ...

    async def fleet(self) -> Document:
        """Return the fleet as read: hosts with tags and domains, policies by name, checks."""
        ...

    async def hosts(
        self, on: str, *, state: str | None = None, after: str | None = None, limit: int | None = None
    ) -> Sequence[Document]:
        """Return what is known of the selected hosts (empty: all), by name: what was observed and when, what is owed.

        ``after`` is the name at which the last page ended; only the hosts of the page are asked.
        """
        ...

    def freeze(self) -> Document:
        """Return whether the fleet is frozen: for whom, why, since when and until when."""
        ...

    def missing(self, rollout: str) -> NotFoundError:
        """Return what to tell of a rollout that is not there: it never was, or is kept no more."""
        ...

    async def explain(self, rollout: str) -> str:
        """Return a whole rollout as text: where it stands, what everything in it waits for. Raises NotFoundError."""
        ...

    async def progress(self, rollout: str) -> Document:
        """Return how far builds and copies of a rollout are just now; volatile. Raises NotFoundError."""
        ...

    async def changed(self, after: int, timeout_s: float) -> bool:
        """Wait until a record with a larger number is on disk; False when the time is up before."""
        ...

    def figures(self) -> Figures:
        """Count what there is."""
        ...

    def problems(self) -> Sequence[str]:
        """Return why the controller is not ready; empty when it is."""
        ...
