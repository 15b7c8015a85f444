"""What can follow what before anything is done to a host: its system is evaluated, built, and copied there."""

from __future__ import annotations

from dataclasses import replace

from fleetd.rollout import events as e
from fleetd.rollout.states import SOURCE_FAILED, Copied, Copying, Failed, HostState, Pending
from fleetd.rollout.task import Effect, Flight, IllegalTransition, Task

RETRY_LOST_S = 3.0
"""How soon a host of unknown outcome is asked again: short against every guard, long against a handshake."""

COPIES = 3
"""A copy that was cut goes on where it stopped; after three cuts the host is as good as out of reach. So it is after
three copies that were gone when they were needed."""

RETRIED_COPY_CODES = ("unreachable", "lost", "stalled")
"""Ways for a copy to end that say nothing about the closure or the host's disk."""


def prepare(
    state: HostState, event: e.EvaluateIntended | e.Evaluated | e.BuildIntended | e.Built | e.SourceRefused
) -> HostState:
    """Return the state after a step of evaluating or building. Raises IllegalTransition."""
    match state, event:
        case Pending(flight=None, derivation=None), e.EvaluateIntended():
            return replace(state, flight=Flight(Effect.EVALUATE, event.fence, event.deadline))
        case Pending(flight=Flight(verb=Effect.EVALUATE, fence=fence)), e.Evaluated() if fence == event.fence:
            return replace(state, flight=None, derivation=event.derivation)
        case Pending(flight=None, derivation=str()), e.BuildIntended():
            return replace(state, flight=Flight(Effect.BUILD, event.fence, event.deadline))
        case Pending(flight=Flight(verb=Effect.BUILD, fence=fence)), e.Built() if fence == event.fence:
            return replace(state, flight=None, task=_built(state.task, event))
        case Pending(flight=Flight(fence=fence)), e.SourceRefused() if fence == event.fence:
            return Failed(state.task, SOURCE_FAILED, event.reason, event.at)
        case _:
            raise IllegalTransition(state, event)


def _built(task: Task, event: e.Built) -> Task:
    return replace(task, to=event.toplevel, derivation=event.derivation)


def copy(state: HostState, event: e.CopyIntended | e.CopyDone | e.CopyRefused) -> HostState:
    """Return the state after a step of copying. Raises IllegalTransition."""
    match state, event:
        case Pending(flight=None, task=Task(to=str())), e.CopyIntended():
            return Copying(state.task, Flight(Effect.COPY, event.fence, event.deadline), state.copies_failed)
        case Copying(flight=Flight(fence=fence)), e.CopyDone() if fence == event.fence:
            return Copied(state.task, event.at)
        case Copying(flight=Flight(fence=fence)), e.CopyRefused() if fence == event.fence:
            if event.kind in RETRIED_COPY_CODES:
                return Pending(state.task, copies_failed=state.copies_failed + 1, retry_at=event.at + RETRY_LOST_S)
            return Failed(state.task, event.kind, event.reason, event.at)
        case _:
            raise IllegalTransition(state, event)
