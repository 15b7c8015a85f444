"""What a host can be within a rollout. Each state carries exactly what is true in it.

::

    pending → copying → copied → switching → (rebooting →) trial → committing → committed
                                     └────────────┴─────────┴──────────┴→ reverting → reverted
    ends without a trial: current, deferred, skipped, failed     going back failed too: stranded
    out of reach until long after its guard fired: lost, which the rollout counts as failed and ends without, and
    which is still unproven until the host is seen again or a person clears it

A rollback is the same walk in the other direction of ``Task.direction``, and ends in ``rolled-back``.
*Unknown* is not a state but a mark: ``Live.lost_since``.
"""

from __future__ import annotations

from dataclasses import dataclass

from fleetd.model.store_path import StorePath
from fleetd.rollout.task import Direction as Direction  # noqa: PLC0414 - imported from here as well
from fleetd.rollout.task import Effect as Effect  # noqa: PLC0414 - imported from here as well
from fleetd.rollout.task import Flight as Flight  # noqa: PLC0414 - imported from here as well
from fleetd.rollout.task import Live as Live  # noqa: PLC0414 - imported from here as well
from fleetd.rollout.task import Task as Task  # noqa: PLC0414 - imported from here as well


@dataclass(frozen=True, slots=True)
class Pending:
    """Nothing was done on the host yet; ``flight`` is an evaluation or a build."""

    task: Task
    derivation: str | None = None
    flight: Flight | None = None
    copies_failed: int = 0
    retry_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Copying:
    """The closure is on its way."""

    task: Task
    flight: Flight
    copies_failed: int = 0


@dataclass(frozen=True, slots=True)
class Copied:
    """The closure is valid and rooted on the host."""

    task: Task
    at: float
    retry_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Switching:
    """The trial was ordered; the switch has not been seen to end."""

    task: Task
    live: Live


@dataclass(frozen=True, slots=True)
class Rebooting:
    """The host boots the new system for its trial, once; its boot default is the old one.

    ``since`` is when it was seen to go down: it has the policy's ``reboot_timeout`` from then on to answer again.
    """

    task: Task
    live: Live
    since: float


@dataclass(frozen=True, slots=True)
class Staging:
    """The next boot is being moved to the new system; ``live.old`` is what it was."""

    task: Task
    live: Live


@dataclass(frozen=True, slots=True)
class Trial:
    """The new system runs, the boot default is the old one, and the guard is armed.

    ``since`` is when the switch was seen to have ended; ``failed`` is why it was judged bad, empty while it is not.
    ``unjudged`` as for ``Reverting``.
    """

    task: Task
    live: Live
    since: float
    failed: str = ""
    unjudged: bool = False


@dataclass(frozen=True, slots=True)
class Committing:
    """The commit was ordered, or in a test the release; only ``settle`` may follow until its outcome is known."""

    task: Task
    live: Live
    since: float
    releases: bool = False


@dataclass(frozen=True, slots=True)
class Reverting:
    """The host was told to go back, or was seen to be going back.

    ``unjudged``: only because its checks could not be asked, which says nothing of what it tried.
    """

    task: Task
    live: Live
    reason: str
    unjudged: bool = False


@dataclass(frozen=True, slots=True)
class Lost:
    """Out of reach until long after its guard must have fired: failed as far as the rollout goes.

    Nobody has seen how the host ended, so it stays unproven and keeps its slot until it answers a settle, or until a
    person says that it is gone. ``down_since`` is when it went down for a trial
    by reboot, where it was not seen to come up; ``cycled_at`` is when its power was meant to be cycled: that is done
    once.
    """

    task: Task
    live: Live
    reason: str
    at: float
    down_since: float | None = None
    cycled_at: float | None = None


@dataclass(frozen=True, slots=True)
class Committed:
    """Running, profile and boot default are the new system, seen over a fresh connection.

    ``unhealthy`` is why it stopped being well in the soak; empty while it is well.
    """

    task: Task
    old: StorePath
    passed_before: tuple[str, ...]
    at: float
    unhealthy: str = ""


@dataclass(frozen=True, slots=True)
class TrialKept:
    """The end of a test: the new system runs, unguarded; profile and boot default are the old one, so a reboot ends it.

    ``unhealthy`` as for ``Committed``.
    """

    task: Task
    old: StorePath
    passed_before: tuple[str, ...]
    at: float
    unhealthy: str = ""


@dataclass(frozen=True, slots=True)
class Staged:
    """The end of goal ``boot``: profile and boot default are the new system, read back; nothing was switched."""

    task: Task
    old: StorePath
    at: float


@dataclass(frozen=True, slots=True)
class DryRunning:
    """The host says what a switch would change. It has no effect, so the host is neither unproven nor ever unknown."""

    task: Task
    flight: Flight


@dataclass(frozen=True, slots=True)
class DryRun:
    """The host has said what a switch would change; its words are kept with the rollout."""

    task: Task
    at: float


@dataclass(frozen=True, slots=True)
class Current:
    """The host already ran its toplevel, as profile and boot default too: nothing to do."""

    task: Task
    at: float
    passed_before: tuple[str, ...] = ()
    unhealthy: str = ""


@dataclass(frozen=True, slots=True)
class Reverted:
    """The host is back on the system it ran before."""

    task: Task
    reason: str
    at: float


@dataclass(frozen=True, slots=True)
class RolledBack:
    """A committed host was taken back to its last good system."""

    task: Task
    at: float


@dataclass(frozen=True, slots=True)
class Failed:
    """It did not come to a trial, or a person interfered; ``kind`` is a word for machines."""

    task: Task
    kind: str
    reason: str
    at: float


@dataclass(frozen=True, slots=True)
class Deferred:
    """Out of reach or blocked before anything was done to it; not a failure, and not a success."""

    task: Task
    kind: str
    reason: str
    at: float


@dataclass(frozen=True, slots=True)
class Skipped:
    """The rollout ended before this host's turn."""

    task: Task
    reason: str
    at: float


@dataclass(frozen=True, slots=True)
class Stranded:
    """Going back failed too: a person is needed.

    ``untouched``: it was out of reach, or refused, so that nobody knows how it would be on its old system.
    """

    task: Task
    reason: str
    at: float
    untouched: bool = False


HostState = (
    Pending
    | Copying
    | Copied
    | DryRunning
    | DryRun
    | Switching
    | Rebooting
    | Staging
    | Trial
    | Committing
    | Reverting
    | Lost
    | Committed
    | TrialKept
    | Staged
    | Current
    | Reverted
    | RolledBack
    | Failed
    | Deferred
    | Skipped
    | Stranded
)

LiveState = Switching | Rebooting | Staging | Trial | Committing | Reverting | Lost
"""The unproven states: something of ours is under way on the host, or nobody knows."""

Placed = Committed | TrialKept | Staged
"""Our system is on the host, and can be taken back from there."""

FinalState = Lost | Placed | DryRun | Current | Reverted | RolledBack | Failed | Deferred | Skipped | Stranded


def is_unproven(state: HostState) -> bool:
    """Whether the host counts against ``max_parallel``: from the intent of a trial until its end is known."""
    return isinstance(state, LiveState)


def is_final(state: HostState) -> bool:
    """Whether nothing more will happen to the host in this rollout by itself."""
    return isinstance(state, FinalState)


def is_failure(state: HostState) -> bool:
    """Whether the host counts against a failure budget."""
    match state:
        case Reverted() | Stranded() | Lost():
            return True
        case Failed(kind=kind):
            return kind != SOURCE_FAILED
        case Committed(unhealthy=why) | TrialKept(unhealthy=why) | Current(unhealthy=why):
            return bool(why)
        case _:
            return False


def is_evidence(state: HostState) -> bool:
    """Whether the host shows that the revision works: positive evidence that a wave may pass on."""
    return isinstance(state, Staged | DryRun) or (
        isinstance(state, Committed | TrialKept | Current) and not state.unhealthy
    )


def reason_of(state: HostState) -> str:
    """Return the sentence a state carries, if any."""
    return str(getattr(state, "reason", "") or getattr(state, "unhealthy", ""))


SOURCE_FAILED = "source"
"""The kind of a host whose system does not evaluate or build: said of the revision, not of the host."""

_SHOWN = {
    Pending: "pending",
    Copying: "copying",
    Copied: "copied",
    Switching: "switching",
    Rebooting: "rebooting",
    Staging: "staging",
    Trial: "trial",
    Committing: "committing",
    Reverting: "reverting",
    Lost: "failed",
    Committed: "committed",
    TrialKept: "trial-kept",
    Staged: "staged",
    DryRunning: "dry-activating",
    DryRun: "dry-activated",
    Current: "current",
    Reverted: "reverted",
    RolledBack: "rolled-back",
    Failed: "failed",
    Deferred: "deferred",
    Skipped: "skipped",
    Stranded: "stranded",
}


def shown(state: HostState) -> str:
    """Return the API's word for a state; every step of a rollback is ``rolling-back`` until it ends."""
    if state.task.direction is Direction.ROLLBACK and not is_final(state):
        return "rolling-back"
    if isinstance(state, Committing) and state.releases:
        return "releasing"
    return _SHOWN[type(state)]


def is_progress(before: HostState, after: HostState) -> bool:
    """Whether a host came nearer to its end: what sets the progress clock back. Being asked again does not.

    However a copy ends, it does: a host gets only so many, and each has a limit of its own.
    """
    match before, after:
        case (Copying(), Copied() | Pending()) | (Switching(), Rebooting() | Trial()) | (Rebooting(), Trial()):
            return True
        case _:
            return is_final(after) and not is_final(before)


OUT_OF_HAND = ("lost", "interfered", "host-state-lost", "newer-controller", "stranded")
"""Kinds of failure in which a trial had begun, and nobody saw the host back on what it ran before."""


def is_out_of_hand(state: HostState) -> bool:
    """Whether nobody can say that the host is back on what it ran before."""
    return isinstance(state, Lost) or (isinstance(state, Failed) and state.kind in OUT_OF_HAND)
