"""What the control node keeps alive, as a pure function of the world."""

from __future__ import annotations

from dataclasses import dataclass

from fleetd.model.store_path import StorePath
from fleetd.rollout.record import HostRecord
from fleetd.rollout.states import LiveState, Pending, Placed
from fleetd.rollout.world import World


@dataclass(frozen=True, slots=True)
class WantedRoots:
    """What must not be collected.

    ``paths`` are store paths, derivations among them, each once; ``rollouts`` are those that are not final: what was
    evaluated or built for them has roots of its own from the moment it exists, before the world knows of it.
    """

    paths: tuple[str, ...]
    rollouts: frozenset[str]


def kept_on(record: HostRecord) -> tuple[StorePath, ...]:
    """Return what a host has, is owed, and may go back to."""
    good = (record.last_good, record.good_before)
    known = (record.left, record.wanted, *good, record.tried, record.kept, record.staged)
    return tuple(dict.fromkeys(path for path in known if path is not None))


def wanted_roots(world: World) -> WantedRoots:
    """Return what is wanted now: for every host what it has and may go back to, and all that live rollouts work on."""
    paths: dict[str, None] = {}
    for record in world.records.values():
        paths |= dict.fromkeys(kept_on(record))
        if record.owed is not None:
            paths[record.owed.to] = None
            if record.owed.derivation:
                paths[record.owed.derivation] = None
    live: list[str] = []
    for name, rollout in world.active():
        live.append(name)
        for state in rollout.hosts.values():
            if state.task.to is not None:
                paths[state.task.to] = None
            if isinstance(state, Pending) and state.derivation is not None:
                paths[state.derivation] = None
            if isinstance(state, Placed):
                paths[state.old] = None
    for name, host in world.unproven():
        # Also the lost ones of rollouts that have ended: they may turn up on either system.
        state = world.rollouts[name].hosts[host]
        if isinstance(state, LiveState):
            paths[state.live.old] = None
        if state.task.to is not None:
            paths[state.task.to] = None
    return WantedRoots(tuple(paths), frozenset(live))
