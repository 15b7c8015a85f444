"""When a host has failed, and what has to be compared for its people. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from fleetd.model.facts import Verdict
from fleetd.model.store_path import StorePath
from fleetd.rollout import events as e
from fleetd.rollout.states import Committed, Direction, LiveState, Reverted, Stranded, TrialKept
from fleetd.rollout.world import World

_UNIT = re.compile(r"[A-Za-z0-9][\w@.:\\-]*\.(?:service|socket|timer|target|mount|automount|path|slice|swap)")


@dataclass(frozen=True, slots=True)
class TellChanges:
    """Compare what failed on a host with what it ran before; ``units`` are those that the reason names."""

    rollout: str
    host: str
    old: StorePath
    new: StorePath
    units: tuple[str, ...]


def to_tell(world: World, event: e.Event) -> TellChanges | None:
    """Return what to compare after an event that was applied; None where no host failed by it, or it was told."""
    if not isinstance(event, e.HostReported | e.RevertIntended | e.HostUnhealthy):
        return None
    rollout = world.rollouts[event.rollout]
    header, state = rollout.header, rollout.hosts[event.host]
    person = header.aborted is not None or header.failing is not None
    if event.host in rollout.changed or person or state.task.direction is Direction.ROLLBACK or state.task.to is None:
        return None
    match state:
        case Committed(old=old) | TrialKept(old=old) if isinstance(event, e.HostUnhealthy):
            pass
        case Reverted() | Stranded() if isinstance(event, e.HostReported):
            record = world.record(event.host)
            if event.verdict is Verdict.NONE or record.left is None:
                return None
            old = record.left
        case _ if isinstance(state, LiveState) and isinstance(event, e.RevertIntended):
            old = state.live.old
        case _:
            return None
    return TellChanges(event.rollout, event.host, old, state.task.to, tuple(dict.fromkeys(_UNIT.findall(event.reason))))
