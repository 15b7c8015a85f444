"""What can follow what for a host that went down for its trial and does not come back; ``power`` says when."""

from __future__ import annotations

from dataclasses import replace

from fleetd.rollout import events as e
from fleetd.rollout.states import HostState, LiveState, Lost, Rebooting, Reverting
from fleetd.rollout.task import Effect, Flight, IllegalTransition, Live


def goes_down(state: LiveState, live: Live, at: float) -> Rebooting | Reverting:
    """Return a host that was seen on its way through a reboot; from when on, is noted the first time."""
    if isinstance(state, Reverting):
        return replace(state, live=live)
    live = replace(live, rebooting_since=live.rebooting_since or at)
    return Rebooting(state.task, live, state.since if isinstance(state, Rebooting) else at)


def given_up(state: LiveState, event: e.HostGivenUp) -> Lost:
    """Return a host that the rollout goes on without; only one that was not seen to come up may be cycled."""
    down_since = state.live.rebooting_since if isinstance(state, Rebooting) else None
    return Lost(state.task, state.live, event.reason, event.at, down_since)


def cycle(state: HostState, event: e.PowerCycleIntended | e.PowerCycled) -> Lost:
    """Return the state after a step of a power cycle, which an activation gets once. Raises IllegalTransition."""
    match state, event:
        case Lost(cycled_at=None), e.PowerCycleIntended():
            flight = Flight(Effect.POWER_CYCLE, event.fence, event.deadline)
            return replace(state, live=replace(state.live, flight=flight), cycled_at=event.at)
        case Lost(live=Live(flight=Flight(fence=fence)) as live), e.PowerCycled() if fence == event.fence:
            landed = replace(live, flight=None, retry_at=event.at)
            return replace(state, live=landed, reason=f"{state.reason}; {event.reason}")
        case _:
            raise IllegalTransition(state, event)
