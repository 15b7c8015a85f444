"""The read models: which documents of the API some events change, and how they are then."""

from __future__ import annotations

from collections.abc import Sequence

from fleetd.ports import ReadModels
from fleetd.rollout import events as e
from fleetd.rollout.documents import host_document, record_document, rollout_document
from fleetd.rollout.world import World


def models_of(world: World, events: Sequence[e.Event]) -> ReadModels:
    """Return the documents that these events, which the world has taken, change."""
    sweeping = e.ControllerStarted | e.ControllerIsolated | e.ContactRestored | e.HoldEvent | e.RolloutFinished
    everything = any(isinstance(event, sweeping) for event in events)
    names = dict.fromkeys(getattr(event, "rollout", "") for event in events)
    touched = {(getattr(event, "rollout", ""), getattr(event, "host", "")): None for event in events}
    if everything:
        names |= dict.fromkeys(name for name, _rollout in world.active())
    rollouts = {name: world.rollouts[name] for name in names if name in world.rollouts}
    hosts: dict[tuple[str, str], None] = {key: None for key in touched if key[1]}
    for name, rollout in rollouts.items():
        fresh = any(isinstance(event, e.RolloutRequested) and event.rollout == name for event in events)
        if everything or fresh:
            hosts |= {(name, host): None for host in rollout.hosts}
    now = world.last_at
    return ReadModels(
        rollouts={name: rollout_document(world, rollout, now) for name, rollout in rollouts.items()},
        rollout_hosts={
            (name, host): host_document(world.rollouts[name], host)
            for name, host in hosts
            if name in world.rollouts and host in world.rollouts[name].hosts
        },
        hosts={host: record_document(world.record(host)) for _name, host in hosts if host in world.records},
        requests={},
    )
