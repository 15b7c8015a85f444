"""What fleetd owes a host and last left there, as the fold of what happened to it; kept longer than rollouts."""

from __future__ import annotations

from dataclasses import dataclass, replace

from fleetd.model.fence import Fence
from fleetd.model.store_path import StorePath
from fleetd.rollout import events as e
from fleetd.rollout.spec import Kind
from fleetd.rollout.states import (
    Committed,
    Current,
    Failed,
    HostState,
    Reverted,
    RolledBack,
    Staged,
    Staging,
    Stranded,
    Switching,
    TrialKept,
)


@dataclass(frozen=True, slots=True)
class Owed:
    """A system that a host is to have when it can: which rollout passed it over, and by which policy.

    ``derivation`` is what the host builds it from, where it builds itself. After ``tries`` that came to nothing it is
    left alone until ``retry_at``; ``reason`` says how the last one ended. ``given_up``: nothing more is tried.
    """

    to: StorePath
    rollout: str
    policy: str
    since: float
    derivation: str = ""
    tries: int = 0
    retry_at: float = 0.0
    reason: str = ""
    given_up: bool = False


@dataclass(frozen=True, slots=True)
class HostRecord:
    """What fleetd owes a host and last left there; kept apart from rollouts, and longer.

    ``tried`` is what it was last told to try, until it is known to run something else: a stranded host may run it.
    ``kept`` is what a test left running beside ``left``, which still boots; it says nothing once another system runs.
    ``staged`` is what was made to boot next beside it.
    ``stranded`` is why going back failed there; nothing is started on it until a person clears it. ``came_from`` is
    what it ran before its last commit, and ``passed_there`` the checks that passed on that.
    ``failed`` are systems that failed there, newest last; ``owed`` what it is to have when it can.
    ``fence`` is that of the last order that it is known to have obeyed, ``policy`` the one by which it was left;
    ``state_lost``: in the middle of an activation it knew nothing of it any more.
    """

    wanted: StorePath | None = None
    last_good: StorePath | None = None
    good_before: StorePath | None = None
    left: StorePath | None = None
    machine_id: str = ""
    tried: StorePath | None = None
    stranded: str = ""
    came_from: StorePath | None = None
    passed_there: tuple[str, ...] = ()
    kept: StorePath | None = None
    staged: StorePath | None = None
    owed: Owed | None = None
    failed: tuple[StorePath, ...] = ()
    fence: Fence | None = None
    policy: str = ""
    state_lost: bool = False

    @property
    def is_known(self) -> bool:
        """Whether the host was ever there: something was tried on it, or found on it."""
        return bool(self.machine_id)


def record_after(record: HostRecord, state: HostState, event: e.HostEvent) -> HostRecord:
    """Return what a host's record becomes with its new state."""
    to, settled = state.task.to, replace(record, kept=None, staged=None)
    match state, event:
        case Switching(), e.TrialIntended():
            return replace(
                record,
                wanted=to,
                last_good=record.last_good or event.old,
                machine_id=record.machine_id or event.machine_id,
                tried=to,
            )
        case Current(), e.FoundCurrent():
            return replace(settled, wanted=to, left=to, machine_id=record.machine_id or event.machine_id)
        case Committed(old=old, passed_before=passed), e.HostReported():
            # A reboot into what ran leaves the system before that where it was.
            before = (record.came_from, record.passed_there) if old == to else (old, passed)
            return replace(settled, wanted=to, left=to, tried=None, came_from=before[0], passed_there=before[1])
        case Committed() | RolledBack(), _ if not isinstance(event, e.HostUnhealthy):
            return replace(settled, wanted=to, left=to, tried=None)
        case Staging(), e.StageIntended():
            machine_id = record.machine_id or event.machine_id
            return replace(record, last_good=record.last_good or event.old, machine_id=machine_id, tried=to)
        case Staged(old=old), e.HostReported():
            return replace(record, wanted=record.left or old, left=record.left or old, tried=None, staged=to)
        case TrialKept(old=old), e.HostReported():
            return replace(record, wanted=record.left or old, left=record.left or old, tried=None, kept=to)
        case Stranded(reason=reason), _:
            return replace(record, stranded=reason)
        case Failed(), e.HostCleared():
            return replace(record, stranded="")
        case Reverted(), _:
            left = record.left or record.last_good
            return replace(record, wanted=left, left=left, tried=None)
        case _:
            return record


def record_recovered(record: HostRecord, event: e.HostRecovered) -> HostRecord:
    """Return a record with what the host itself knew of it; what was good there before still is the last that was."""
    known = replace(
        record, machine_id=record.machine_id or event.machine_id, stranded=event.stranded or record.stranded
    )
    if event.left is None:
        return known
    return replace(
        known,
        wanted=event.left,
        last_good=record.last_good or event.came_from or event.left,
        left=event.left,
        tried=None,
        kept=event.kept,
        staged=event.staged,
        came_from=event.came_from or record.came_from,
        passed_there=() if event.came_from not in (None, record.came_from) else record.passed_there,
    )


def adopted(record: HostRecord, event: e.HostAdopted) -> HostRecord:
    """Return the record once what the host runs is taken for what was left there; what it is owed, it is owed still."""
    good = event.current
    return replace(
        record,
        left=good,
        last_good=good,
        good_before=record.last_good if record.last_good != good else record.good_before,
        wanted=record.owed.to if record.owed is not None else good,
        machine_id=event.machine_id,
        tried=None,
        kept=None,
        staged=None,
        came_from=None,
        passed_there=(),
        fence=None,
        state_lost=False,
        failed=tuple(path for path in record.failed if path != good),
    )


def proved_good(record: HostRecord, good: StorePath, kind: Kind) -> HostRecord:
    """Return a record once a rollout that went well has left a host with a system."""
    before = record.last_good if record.last_good != good else record.good_before
    if kind is Kind.ROLLBACK:
        before = None  # what was there before is what people wanted to leave
    return replace(record, last_good=good, good_before=before, wanted=good, left=good)
