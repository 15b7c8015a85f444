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
from enum import StrEnum

from fleetd.model.fence import Fence
from fleetd.model.order import Verb
from fleetd.model.store_path import StorePath


class Direction(StrEnum):
    """Whether an activation brings the new revision or takes it back."""

    DEPLOY = "deploy"
    ROLLBACK = "rollback"


class Effect(StrEnum):
    """What an intent sets in motion besides orders."""

    EVALUATE = "evaluate"
    BUILD = "build"
    COPY = "copy"


@dataclass(frozen=True, slots=True)
class Flight:
    """An effect is under way. Until its deadline nothing else may be planned for the host.

    ``fence`` names the intent (its journal sequence, and the term of the controller that started it), so an outcome
    of another flight can be told from this one's.
    """

    verb: Verb | Effect
    fence: Fence
    deadline: float


@dataclass(frozen=True, slots=True)
class Task:
    """What is to be done with a host: ``to`` is unknown until it is built."""

    to: StorePath | None
    direction: Direction = Direction.DEPLOY
    attempt: int = 1
    baseline: tuple[str, ...] | None = None
    """For a rollback: the checks that passed before the deploy, which must pass again. None: found by asking."""
    absences: int = 0
    """How many of the attempts ended because no controller was there."""
    unsent: int = 0
    """How many times the order of a trial did not leave."""
    derivation: str = ""
    """What the host builds ``to`` from, itself; empty where the control node has it and sends it."""


@dataclass(frozen=True, slots=True)
class Live:
    """What is true while an activation holds the host.

    ``fence`` is that of the last order; ``flight`` the order under way. ``lost_since`` marks an outcome nobody knows;
    ``retry_at`` is when to ask again. ``passed_before`` are the checks that passed before the switch: only they can
    count against it. ``absent`` means that no controller was there for a while, so a guard that fires says nothing
    about the system: there may have been too little time left to keep it from that.
    """

    old: StorePath
    passed_before: tuple[str, ...]
    fence: Fence
    armed_at: float
    flight: Flight | None = None
    lost_since: float | None = None
    retry_at: float = 0.0
    absent: bool = False


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
class Trial:
    """The new system runs, the boot default is the old one, and the guard is armed.

    ``since`` is when the switch was seen to have ended; ``failed`` is why it was judged bad, empty while it is not.
    """

    task: Task
    live: Live
    since: float
    failed: str = ""


@dataclass(frozen=True, slots=True)
class Committing:
    """The commit was ordered; only ``settle`` may follow until its outcome is known."""

    task: Task
    live: Live
    since: float


@dataclass(frozen=True, slots=True)
class Reverting:
    """The host was told to go back, or was seen to be going back."""

    task: Task
    live: Live
    reason: str


@dataclass(frozen=True, slots=True)
class Lost:
    """Out of reach until long after its guard must have fired: failed as far as the rollout goes.

    Nobody has seen how the host ended, so it stays unproven and keeps its slot until it answers a settle, or until a
    person says that it is gone.
    """

    task: Task
    live: Live
    reason: str
    at: float


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
    | Switching
    | Rebooting
    | Trial
    | Committing
    | Reverting
    | Lost
    | Committed
    | Current
    | Reverted
    | RolledBack
    | Failed
    | Deferred
    | Skipped
    | Stranded
)

LiveState = Switching | Rebooting | Trial | Committing | Reverting | Lost
"""The unproven states: something of ours is under way on the host, or nobody knows."""

FinalState = Lost | Committed | Current | Reverted | RolledBack | Failed | Deferred | Skipped | Stranded


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
        case Committed(unhealthy=why) | Current(unhealthy=why):
            return bool(why)
        case _:
            return False


def is_evidence(state: HostState) -> bool:
    """Whether the host shows that the revision works: positive evidence that a wave may pass on."""
    return isinstance(state, Committed | Current) and not state.unhealthy


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
    Trial: "trial",
    Committing: "committing",
    Reverting: "reverting",
    Lost: "failed",
    Committed: "committed",
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
    return _SHOWN[type(state)]
