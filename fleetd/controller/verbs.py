"""What a person says to a rollout that runs, as the event that it becomes. Pure; the table is in ``docs/verbs.md``.

Each is idempotent: what is so already is answered as a repeat, and leaves no second record.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from fleetd.controller.commands import (
    AbortRollout,
    AdoptHost,
    ApproveWave,
    ClearHost,
    DenyWave,
    PauseRollout,
    PromoteRollout,
    ResumeRollout,
    RetryHost,
    RollBackRollout,
    RolloutVerb,
    SkipHost,
)
from fleetd.errors import NotFoundError, RefusedError
from fleetd.model.store_path import parse_store_path
from fleetd.rollout import events as e
from fleetd.rollout.baseline import missing
from fleetd.rollout.hooking import waits_for_person
from fleetd.rollout.preflight import adoptable, stranger_of
from fleetd.rollout.states import (
    SOURCE_FAILED,
    Committed,
    Copied,
    Copying,
    Current,
    Deferred,
    Failed,
    HostState,
    Lost,
    Pending,
    Reverted,
    Skipped,
    Stranded,
    is_final,
    shown,
)
from fleetd.rollout.tally import Mark
from fleetd.rollout.world import Rollout, World


@dataclass(frozen=True, slots=True)
class Said:
    """What a verb becomes: events, or none because it is so already."""

    events: tuple[e.Event, ...]


REPEATED = Said(())


def said(world: World, verb: RolloutVerb, now: float) -> Said:
    """Return what a verb becomes.

    Raises NotFoundError for a rollout or host that is not there, RefusedError where the verb makes no sense now; the
    text says why, and what to do instead.
    """
    rollout = world.rollouts.get(verb.rollout)
    if rollout is None:
        raise missing(world, verb.rollout)
    if rollout.header.phase.is_final:
        raise RefusedError(f"{verb.rollout} is {rollout.header.phase.value} already")
    match verb:
        case PauseRollout() | ResumeRollout():
            return _pause_or_resume(rollout, verb, now)
        case PromoteRollout():
            return _promote(rollout, verb, now)
        case ApproveWave() | DenyWave():
            return _approve_or_deny(rollout, verb, now)
        case RetryHost():
            return _retry(rollout, verb, now)
        case SkipHost():
            return _skip(rollout, verb, now)
        case _:
            assert_never(verb)


def ending(world: World, verb: AbortRollout | RollBackRollout, now: float) -> Said:
    """Return what a verb becomes that ends a rollout. Raises NotFoundError, RefusedError for one that is over."""
    rollout = world.rollouts.get(verb.rollout)
    if rollout is None:
        raise missing(world, verb.rollout)
    header = rollout.header
    is_abort = isinstance(verb, AbortRollout)
    is_so = header.aborted is not None if is_abort else header.failing is not None and header.failing.whole
    if is_so:
        return REPEATED
    if header.phase.is_final:
        raise RefusedError(f"{header.spec.id} is {header.phase.value} already")
    kind = e.AbortRequested if is_abort else e.RollbackRequested
    return Said((kind(now, verb.rollout, verb.requested_by, verb.reason),))


def _pause_or_resume(rollout: Rollout, verb: PauseRollout | ResumeRollout, now: float) -> Said:
    header = rollout.header
    match verb:
        case PauseRollout():
            if header.paused is not None:
                return REPEATED
            _refuse_ending(rollout)
            return Said((e.PauseRequested(now, verb.rollout, verb.requested_by, verb.reason),))
        case ResumeRollout():
            if header.paused is None:
                return REPEATED
            failed = tuple(sorted(rollout.tally.hosts[Mark.FAILED], key=rollout.tally.position.__getitem__))
            return Said((e.ResumeRequested(now, verb.rollout, verb.requested_by, verb.reason, failed),))


def _promote(rollout: Rollout, verb: PromoteRollout, now: float) -> Said:
    header = rollout.header
    _refuse_ending(rollout)
    if header.phase is not e.Phase.SOAKING:
        raise RefusedError(f"{verb.rollout} is {header.phase.value}: there is no soak to end")
    if header.promoted == header.wave:
        return REPEATED
    return Said((e.PromoteRequested(now, verb.rollout, header.wave, verb.requested_by, verb.reason),))


def _approve_or_deny(rollout: Rollout, verb: ApproveWave | DenyWave, now: float) -> Said:
    header = rollout.header
    if isinstance(verb, DenyWave) and header.aborted is not None:
        return REPEATED
    _refuse_ending(rollout)
    if header.phase is not e.Phase.AWAITING_APPROVAL:
        if isinstance(verb, ApproveWave) and header.wave in header.approved:
            return REPEATED
        raise RefusedError(f"{verb.rollout} is {header.phase.value}: no wave waits for approval")
    kind = e.ApprovalGiven if isinstance(verb, ApproveWave) else e.ApprovalDenied
    return Said((kind(now, verb.rollout, header.wave, verb.requested_by, verb.reason),))


def _retry(rollout: Rollout, verb: RetryHost, now: float) -> Said:
    state = _state(rollout, verb.host)
    _refuse_ending(rollout)
    if not is_final(state):
        return REPEATED
    match state:
        case Failed(kind=kind) if kind == SOURCE_FAILED or state.task.to is None:
            raise RefusedError(f"{verb.host} has nothing to try: its system was not built. Begin a new rollout")
        case Reverted() | Failed() | Deferred() | Skipped() if state.task.to is not None:
            return Said((e.HostRetried(now, verb.rollout, verb.host, verb.requested_by, verb.reason),))
        case _:
            raise RefusedError(f"{verb.host} is {shown(state)}: there is nothing to try again{_first_clear(state)}")


def _skip(rollout: Rollout, verb: SkipHost, now: float) -> Said:
    state = _state(rollout, verb.host)
    if isinstance(state, Skipped):
        return REPEATED
    _refuse_ending(rollout)
    if not isinstance(state, Pending | Copying | Copied):
        raise RefusedError(f"{verb.host} is {shown(state)}: only a host on which nothing was done can be skipped")
    reason = f"skipped by {verb.requested_by}: {verb.reason}".rstrip(": ")
    return Said((e.HostSkipped(now, verb.rollout, verb.host, reason),))


def _state(rollout: Rollout, host: str) -> HostState:
    state = rollout.hosts.get(host)
    if state is None:
        raise NotFoundError(f"{rollout.header.spec.id} has no host {host!r}")
    return state


def _refuse_ending(rollout: Rollout) -> None:
    if rollout.header.starts_nothing:
        raise RefusedError(f"{rollout.header.spec.id} is on its way to its end: nothing more starts in it")


def _first_clear(state: HostState) -> str:
    unknown = shown(state) in ("failed", "stranded")
    return ". A person must look at it first: fleetctl clear" if unknown else ""


def adopting(world: World, command: AdoptHost, now: float) -> tuple[e.HostAdopted, ...]:
    """Return what taking a host as it is becomes; nothing where it is so already. Raises RefusedError."""
    host, facts, record = command.host, command.facts, world.record(command.host)
    owner = world.holder(host) or world.owner(host)
    if owner is not None:
        raise RefusedError(f"{host} is in {owner}: wait for its end, or fleetctl abort {owner}")
    if facts is None:
        raise RefusedError(f"{host} has just been in a rollout, and was not asked what it runs: say it again")
    if why := adoptable(record, host, facts):
        raise RefusedError(f"{host} cannot be taken as it is: {why}")
    if record.left == facts.current and stranger_of(record, host, facts) is None:
        return ()
    current = parse_store_path(facts.current)
    return (e.HostAdopted(now, host, current, facts.machine_id, command.requested_by, command.reason),)


def clearing(
    world: World, command: ClearHost, now: float
) -> tuple[e.HostCleared | e.HooksCleared | e.HostExcused, ...]:
    """Return what ends all waiting for a host: wherever it is lost, stranded or not back from its hooks, or unwell.

    Raises RefusedError when nothing waits for it.
    """
    host = command.host
    rollouts = [(name, rollout.hosts.get(host)) for name, rollout in reversed(world.rollouts.items())]
    found = [name for name, state in rollouts if isinstance(state, Lost | Stranded)]
    if not found and host in world.fleetwide.blamed:
        unwell = (name for name, state in rollouts if isinstance(state, Committed | Current) and state.unhealthy)
        found = [next(unwell)]
    about = (host, command.requested_by, command.reason)
    excused: list[e.HostExcused] = []
    if host in world.fleetwide.unwell and host in world.fleetwide.found:
        excused.append(e.HostExcused(now, *about))
    stuck = [name for name, _work in world.hooks.of_host(host) if host in waits_for_person(world, name)]
    if not found and not stuck and not excused:
        raise RefusedError(f"{host} is neither lost, stranded, drained for good nor unwell: nothing waits for it")
    cleared = (e.HostCleared(now, name, *about) for name in found)
    return (*cleared, *(e.HooksCleared(now, name, *about) for name in stuck), *excused)
