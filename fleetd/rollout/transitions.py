"""The one table of what can follow what: ``evolve(state, event)`` for live events and replay alike.

An event that a state does not allow raises ``IllegalTransition`` and changes nothing. Outcomes must carry the fence of
the flight they end, so a late or doubled one is illegal here and is rejected where outcomes are admitted.
"""

from __future__ import annotations

from dataclasses import replace

from fleetd.model.facts import HelperState, Verdict
from fleetd.model.order import Verb
from fleetd.rollout import events as e
from fleetd.rollout.cycling import cycle, given_up, goes_down
from fleetd.rollout.going_back import gone_back, is_unjudged, why_back
from fleetd.rollout.preparing import COPIES, RETRY_LOST_S, copy, prepare
from fleetd.rollout.preparing import RETRIED_COPY_CODES as RETRIED_COPY_CODES  # noqa: PLC0414 - imported from here as well
from fleetd.rollout.states import (
    Committed,
    Committing,
    Copied,
    Copying,
    Current,
    Deferred,
    Direction,
    DryRun,
    DryRunning,
    Failed,
    Flight,
    HostState,
    Live,
    LiveState,
    Lost,
    Pending,
    Rebooting,
    Reverted,
    Reverting,
    RolledBack,
    Skipped,
    Staged,
    Staging,
    Stranded,
    Switching,
    Task,
    Trial,
    TrialKept,
    is_final,
)
from fleetd.rollout.task import IllegalTransition as IllegalTransition  # noqa: PLC0414 - imported from here as well

RETRY_UNSENT_S = 300.0
"""The longest wait for another try after orders that did not leave, each of which is two records in the journal."""

DOUBLINGS = 7
"""From the one to the other; a power without a limit would be no number any more after some days."""

RETRY_MOVING_S = 2.0
"""How soon a host that is still moving by itself is looked at again."""

BLOCKING_CODES = (
    "not-valid",
    "drifted",
    "unsettled",
    "wrong-host",
    "busy",
    "needs-reboot",
    "needs-boot-guard",
    "stale-fence",
    "volatile-state",
    "boot-unreadable",
)
"""Refusals that leave the host as it was and wait for a person: blocked, not failed."""


def evolve(state: HostState, event: e.HostEvent) -> HostState:
    """Return the state after the event. Raises IllegalTransition, and then nothing has changed."""
    match event:
        case e.EvaluateIntended() | e.Evaluated() | e.BuildIntended() | e.Built() | e.SourceRefused():
            return prepare(state, event)
        case e.CopyIntended() | e.CopyDone() | e.CopyRefused():
            return copy(state, event)
        case e.TrialIntended() | e.StageIntended() | e.DryRunIntended():
            return _begin(state, event)
        case e.DryRunDone() if isinstance(state, DryRunning) and state.flight.fence == event.fence:
            if event.reason:
                return Failed(state.task, "dry-activate", event.reason, event.at)
            return DryRun(state.task, event.at)
        case e.OrderRejected() if isinstance(state, DryRunning) and state.flight.fence == event.fence:
            return _begin_rejected(state.task, event)
        case e.OrderNotSent() | e.ContactLost() if isinstance(state, DryRunning) and state.flight.fence == event.fence:
            # It has no effect, so there is nothing to settle.
            return _again_later(state.task, event.at)
        case e.CommitIntended() | e.ReleaseIntended() | e.RevertIntended() | e.SettleIntended():
            return _intend(state, event)
        case e.HostReported() if isinstance(state, LiveState) and _flies(state.live, event.fence):
            return _reported(state, event)
        case e.OrderRejected() if isinstance(state, LiveState) and _flies(state.live, event.fence):
            return _rejected(state, event)
        case e.OrderNotSent() if isinstance(state, LiveState) and _flies(state.live, event.fence):
            return _not_sent(state, event)
        case e.ContactLost() if isinstance(state, LiveState) and _flies(state.live, event.fence):
            return replace(state, live=_lost(state.live, event.at))
        case e.HostReported() | e.OrderRejected() | e.OrderNotSent() | e.ContactLost() | e.DryRunDone():
            raise IllegalTransition(state, event)
        case e.ActivationRecovered():
            return _recovered(state, event)
        case e.PowerCycleIntended() | e.PowerCycled():
            return cycle(state, event)
        case _:
            return _decide(state, event)


def after_restart(state: HostState, at: float, away_s: float) -> HostState:
    """Return what a new controller may assume: effects of its predecessor are over or unknown.

    Controller-side deadlines move by the time nobody was there; the host's own deadlines never do.
    """
    match state:
        case Pending():
            return replace(state, flight=None)
        case Copying():
            return Pending(state.task, copies_failed=state.copies_failed)
        case Switching():
            return replace(state, live=replace(_unheard(state.live, at, away_s), absent=True))
        case Staging():
            return replace(state, live=_unheard(state.live, at, away_s))
        case DryRunning():
            return Copied(state.task, at, retry_at=at)
        case Rebooting() | Trial() | Committing():
            live = replace(_unheard(state.live, at, away_s), absent=True)
            return replace(state, live=live, since=state.since + away_s)
        case Reverting() | Lost():
            return replace(state, live=_unheard(state.live, at, away_s))
        case _:
            return state


def after_isolation(state: HostState, away_s: float) -> HostState:
    """Return what a controller that heard nobody may assume: as if it had been away, but that its effects go on."""
    match state:
        case Pending():
            return replace(state, copies_failed=0)
        case Switching() | Staging() | Reverting() | Lost():
            return replace(state, live=_unrenewed(state.live, away_s))
        case Rebooting() | Trial() | Committing():
            return replace(state, live=_unrenewed(state.live, away_s), since=state.since + away_s)
        case _:
            return state


def _begin(state: HostState, event: e.TrialIntended | e.StageIntended | e.DryRunIntended) -> HostState:
    match state, event:
        case Copied(), e.TrialIntended():
            flight = Flight(Verb.TRIAL, event.fence, event.deadline)
            return Switching(state.task, Live(event.old, event.passed_before, event.fence, event.at, flight))
        case Copied(), e.StageIntended():
            flight = Flight(Verb.STAGE, event.fence, event.deadline)
            return Staging(state.task, Live(event.old, (), event.fence, event.at, flight))
        case Copied(), e.DryRunIntended():
            return DryRunning(state.task, Flight(Verb.DRY_ACTIVATE, event.fence, event.deadline))
        case _:
            raise IllegalTransition(state, event)


def _intend(
    state: HostState, event: e.CommitIntended | e.ReleaseIntended | e.RevertIntended | e.SettleIntended
) -> HostState:
    match state, event:
        case Trial(live=Live(flight=None)), e.CommitIntended():
            return Committing(state.task, _take_off(state.live, Verb.COMMIT, event), state.since)
        case Trial(live=Live(flight=None)), e.ReleaseIntended():
            return Committing(state.task, _take_off(state.live, Verb.RELEASE, event), state.since, releases=True)
        case Switching() | Trial(), e.RevertIntended() if state.live.flight is None:
            return Reverting(state.task, _take_off(state.live, Verb.REVERT, event), event.reason, event.unjudged)
        case Switching() | Rebooting() | Staging() | Trial() | Committing() | Reverting() | Lost(), e.SettleIntended():
            return replace(state, live=_take_off(state.live, Verb.SETTLE, event))
        case _:
            raise IllegalTransition(state, event)


def _reported(state: LiveState, event: e.HostReported) -> HostState:
    if not event.ours or event.state is HelperState.IDLE:
        return _never_started(state, event)
    landed = replace(state.live, flight=None, lost_since=None, retry_at=event.at)
    moving = replace(landed, retry_at=event.at + RETRY_MOVING_S)
    if isinstance(state, Lost) and event.state.is_moving:
        return replace(state, live=moving)
    match event.state:
        case HelperState.SWITCHING:
            return Switching(state.task, moving)
        case HelperState.TRIAL:
            return _in_trial(state, event, landed)
        case HelperState.COMMITTING:
            since = state.since if isinstance(state, Trial | Committing) else event.at
            return Committing(state.task, moving, since)
        case HelperState.COMMITTED:
            if state.task.direction is Direction.ROLLBACK:
                return RolledBack(state.task, event.at)
            return Committed(state.task, state.live.old, state.live.passed_before, event.at)
        case HelperState.REBOOTING:
            return goes_down(state, moving, event.at)
        case HelperState.STAGING:
            return Staging(state.task, moving)
        case HelperState.STAGED:
            if state.task.direction is Direction.ROLLBACK:
                return RolledBack(state.task, event.at)
            return Staged(state.task, state.live.old, event.at)
        case HelperState.RELEASED:
            return TrialKept(state.task, state.live.old, state.live.passed_before, event.at)
        case HelperState.UNDOING | HelperState.REVERTING:
            return Reverting(state.task, moving, why_back(state, event), is_unjudged(state))
        case HelperState.REVERTED:
            return gone_back(state, event)
        case HelperState.INTERFERED:
            return Failed(state.task, "interfered", event.reason or "another actor switched the host", event.at)
        case HelperState.STRANDED:
            return Stranded(state.task, why_back(state, event), event.at)


def _recovered(state: HostState, event: e.ActivationRecovered) -> HostState:
    """How an activation ended by what its host says, which stands still; never a state in which more is to be done."""
    if not isinstance(state, LiveState):
        raise IllegalTransition(state, event)
    place = (event.at, event.rollout, event.host, state.live.fence)
    said = e.HostReported(*place, event.state, event.ours, Verdict.NONE, event.by, event.reason)
    after = _reported(state, said)
    if event.ours and is_final(after):
        return after
    reason = event.reason if event.ours else "the host has done other things since, which the journal does not know"
    return Failed(state.task, "recovered", reason, event.at)


def _never_started(state: LiveState, event: e.HostReported) -> HostState:
    if isinstance(state, Switching):
        return Copied(state.task, event.at, retry_at=event.at)
    if isinstance(state, Staging):
        return _again_later(state.task, event.at)  # where a host lets nobody stage, nothing of it ever starts
    if isinstance(state, Lost):
        return Failed(state.task, "lost", f"{state.reason}; seen again, and it knows of no such activation", event.at)
    return Failed(state.task, "host-state-lost", "the host no longer knows of this activation", event.at)


def _in_trial(state: LiveState, event: e.HostReported, live: Live) -> HostState:
    failed = event.reason if event.verdict is Verdict.FAILED else ""
    match state:
        case Switching() | Rebooting():
            return Trial(state.task, live, event.at, failed)
        case Trial():
            return replace(state, live=live, failed=failed or state.failed)
        case Committing(since=since):
            return Trial(state.task, live, since, failed)
        case Reverting(reason=reason) | Lost(reason=reason):
            return Trial(state.task, live, event.at, reason, is_unjudged(state))
        case Staging():
            raise IllegalTransition(state, event)


def _rejected(state: LiveState, event: e.OrderRejected) -> HostState:
    flight = state.live.flight
    if flight is not None and flight.verb in (Verb.TRIAL, Verb.STAGE):
        return _begin_rejected(state.task, event)
    if event.code == "unknown-verb" and isinstance(state, Committing):
        # A helper that the host pins, of a release that knows no tests.
        return Trial(state.task, replace(state.live, flight=None), state.since, failed=event.reason)
    if event.code == "stale-fence":
        return Failed(state.task, "newer-controller", event.reason, event.at)
    return replace(state, live=replace(state.live, flight=None, retry_at=event.at + RETRY_MOVING_S))


def _begin_rejected(task: Task, event: e.OrderRejected) -> HostState:
    if event.code == "expired":
        return Copied(task, event.at, retry_at=event.at + RETRY_MOVING_S)
    if task.direction is Direction.ROLLBACK:
        reason = f"the host refused the rollback ({event.code}): {event.reason}"
        return Stranded(task, reason, event.at, untouched=True)
    if event.code == "not-valid" and task.copies_gone + 1 < COPIES:
        # Somebody's collector, or a store that was put back: it says nothing of the system.
        return Pending(replace(task, copies_gone=task.copies_gone + 1), retry_at=event.at + RETRY_LOST_S)
    if event.code in BLOCKING_CODES:
        return Deferred(task, event.code, event.reason, event.at)
    return Failed(task, event.code, event.reason, event.at)


def _again_later(task: Task, at: float) -> Copied:
    """Begin once more, ever more rarely."""
    wait_s = min(RETRY_UNSENT_S, RETRY_LOST_S * 2 ** min(task.unsent, DOUBLINGS))
    return Copied(replace(task, unsent=task.unsent + 1), at, retry_at=at + wait_s)


def _not_sent(state: LiveState, event: e.OrderNotSent) -> HostState:
    match state:
        case Switching(live=Live(flight=Flight(verb=Verb.TRIAL))) | Staging(live=Live(flight=Flight(verb=Verb.STAGE))):
            return _again_later(state.task, event.at)
        case Committing(live=Live(flight=Flight(verb=Verb.COMMIT | Verb.RELEASE))):
            # The host has not seen the commit's fence, and a renewal must carry the one it holds: a settle makes
            # both the same again.
            return Trial(state.task, _lost(state.live, event.at), state.since)
        case _:
            return replace(state, live=_lost(state.live, event.at))


def _decide(
    state: HostState,
    event: e.FoundCurrent
    | e.HostDeferred
    | e.HostFailed
    | e.HostSkipped
    | e.HostRetried
    | e.HostGivenUp
    | e.HostCleared
    | e.HostUnhealthy
    | e.RollbackDecided,
) -> HostState:
    match state, event:
        case Pending(task=Task(to=str())) | Copied(), e.FoundCurrent():
            if state.task.direction is Direction.ROLLBACK:
                return RolledBack(state.task, event.at)
            return Current(state.task, event.at, event.passed_before)
        case Pending() | Copied(), e.HostDeferred():
            return Deferred(state.task, event.kind, event.reason, event.at)
        case Pending() | Copied(), e.HostFailed():
            if state.task.direction is Direction.ROLLBACK:
                return Stranded(state.task, event.reason, event.at, untouched=True)
            return Failed(state.task, event.kind, event.reason, event.at)
        case Pending() | Copying() | Copied(), e.HostSkipped():
            return Skipped(state.task, event.reason, event.at)
        case Reverted() | Failed() | Deferred() | Skipped(), e.HostRetried() if _may_be_retried(state.task):
            return Pending(replace(state.task, attempt=state.task.attempt + 1), retry_at=event.at)
        case Switching() | Rebooting() | Staging() | Trial() | Committing() | Reverting(), e.HostGivenUp():
            return given_up(state, event)
        case Lost(), e.HostCleared():
            reason = f"{state.reason}; cleared by {event.by}"
            return Failed(state.task, "lost", reason, event.at)
        case Stranded(), e.HostCleared():
            return Failed(state.task, "stranded", f"{state.reason}; cleared by {event.by}", event.at)
        case Committed(unhealthy=why) | Current(unhealthy=why), e.HostCleared() if why:
            return state  # it failed in this rollout all the same; that it is unwell is known of the host
        # In journals of a release to which a host that its guard took back in an absence was reverted, or stranded.
        case Pending(task=Task(attempt=attempt)), e.HostRetried() if attempt > 1 and _may_be_retried(state.task):
            return replace(state, task=replace(state.task, attempt=attempt + 1), retry_at=event.at)
        case Copied(task=Task(direction=Direction.ROLLBACK, attempt=attempt)), e.HostCleared() if attempt > 1:
            return Failed(state.task, "stranded", f"cleared by {event.by}", event.at)
        case Committed() | TrialKept() | Current(), e.HostUnhealthy():
            return replace(state, unhealthy=event.reason)
        case Committed() | TrialKept(), e.RollbackDecided():
            task = Task(event.to, Direction.ROLLBACK, baseline=state.passed_before)
            return Copied(task, event.at)
        case Staged(), e.RollbackDecided():
            return Copied(Task(event.to, Direction.ROLLBACK, baseline=()), event.at)
        case _:
            raise IllegalTransition(state, event)


def _may_be_retried(task: Task) -> bool:
    return task.to is not None and task.direction is Direction.DEPLOY


def _flies(live: Live, fence: object) -> bool:
    return live.flight is not None and live.flight.fence == fence


def _take_off(live: Live, verb: Verb, event: e.OrderIntent) -> Live:
    return replace(live, flight=Flight(verb, event.fence, event.deadline), fence=event.fence)


def _lost(live: Live, at: float) -> Live:
    since = at if live.lost_since is None else live.lost_since
    return replace(live, flight=None, lost_since=since, retry_at=at + RETRY_LOST_S)


def _unheard(live: Live, at: float, away_s: float) -> Live:
    """Nobody listened for a while. When to give the host up moves with it: it has to be asked before."""
    return replace(_lost(live, at), retry_at=at, armed_at=live.armed_at + away_s)


def _unrenewed(live: Live, away_s: float) -> Live:
    return replace(live, absent=True, armed_at=live.armed_at + away_s)
