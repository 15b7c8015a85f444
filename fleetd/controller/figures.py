"""What can be counted of the world, for dashboards and alarms. Pure."""

from __future__ import annotations

from collections import Counter

from fleetd.controller.commands import Figures
from fleetd.model.fleet import Fleet
from fleetd.rollout.documents import shown_phase
from fleetd.rollout.events import Ailment, Phase
from fleetd.rollout.states import LiveState, Lost, Stranded, shown
from fleetd.rollout.world import World


def figures_of(world: World, fleet: Fleet, broken: bool) -> Figures:
    """Count. Every phase is there, also with 0: an alarm on a series that does not exist yet never rings."""
    phases = Counter(shown_phase(rollout).value for rollout in world.rollouts.values())
    live = [(host, state) for _name, rollout in world.active() for host, state in rollout.hosts.items()]
    owned = {host: shown(state) for host, state in reversed(live)}
    found = Counter(each.kind for each in world.fleetwide.found.values())
    states = Counter(owned.get(host, "idle") for host in fleet.hosts)
    return Figures(
        rollouts=tuple((phase.value, phases[phase.value]) for phase in Phase),
        hosts=tuple(sorted(states.items())),
        unproven=sum(1 for _each in world.unproven()),
        # Also in rollouts that have ended: such a host holds its slot until it answers, or a person clears it.
        lost=sum(
            isinstance(state, Lost) or (isinstance(state, LiveState) and state.live.lost_since is not None)
            for rollout in world.rollouts.values()
            for state in rollout.hosts.values()
        ),
        stranded=sum(
            isinstance(state, Stranded) for rollout in world.rollouts.values() for state in rollout.hosts.values()
        ),
        seq=world.seq,
        term=world.term,
        broken=broken,
        unwell=len(world.fleetwide.unwell),
        drained=len({host for (_name, host), work in world.hooks.items() if work.is_drained}),
        isolated=world.fleetwide.isolated is not None,
        owed=len(world.owing),
        found=tuple((kind.value, found[kind]) for kind in Ailment),
    )
