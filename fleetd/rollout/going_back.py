"""What a host becomes that went back: a failure of what it tried, unless nobody was there to judge that, or could."""

from __future__ import annotations

from dataclasses import replace

from fleetd.model.facts import Verdict
from fleetd.rollout import events as e
from fleetd.rollout.states import (
    Copied,
    Direction,
    LiveState,
    Lost,
    Pending,
    Reverted,
    Reverting,
    Stranded,
    Trial,
)

ABSENCES_FORGIVEN = 1
"""A host that went back because no controller was there is tried once more, and not for ever."""


def gone_back(state: LiveState, event: e.HostReported) -> Copied | Pending | Reverted | Stranded:
    """Return the state of a host that runs again what it ran before."""
    reason, back = why_back(state, event), state.task.direction is Direction.ROLLBACK
    again = replace(state.task, attempt=state.task.attempt + 1)
    may_retry = state.live.absent and event.by == "guard" and state.task.absences < ABSENCES_FORGIVEN
    # Also of a host that was found on its way back, or whose commit never arrived: that it was lost is another matter.
    if may_retry and not isinstance(state, Lost) and event.verdict is not Verdict.FAILED:
        again = replace(again, absences=state.task.absences + 1)
        return Copied(again, event.at, retry_at=event.at) if back else Pending(again, retry_at=event.at)
    if back:
        return Stranded(state.task, f"the rollback did not hold: {reason}", event.at)
    if is_unjudged(state) and event.verdict is not Verdict.FAILED:
        # The rollout was paused when this was ordered, so that only a person brings the next try about.
        return Pending(again, retry_at=event.at)
    return Reverted(state.task, reason, event.at)


def is_unjudged(state: LiveState) -> bool:
    """Whether a host goes back only because its checks could not be asked."""
    return isinstance(state, Trial | Reverting) and state.unjudged


def why_back(state: LiveState, event: e.HostReported) -> str:
    """Return why a host went back: what it was told, or else what it says."""
    if isinstance(state, Reverting | Lost):
        return state.reason
    if isinstance(state, Trial) and state.failed:
        return state.failed
    return event.reason or f"the host went back by itself ({event.by or 'no reason given'})"
