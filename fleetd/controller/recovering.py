"""What a recovered journal is told, from what it says and what hosts show once they stand still. Pure.

What a lost part of the journal began is ended, or taken as it is where it was finished. No rollout goes on: nobody
knows what was said to it in the part that is lost, so a person decides anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from fleetd.executor.orders import REASON_CHARACTERS, activation_id
from fleetd.model.facts import HelperState, HostFacts, HostStatus
from fleetd.model.store_path import StorePath, is_store_path
from fleetd.rollout import events as e
from fleetd.rollout.record import HostRecord, record_recovered
from fleetd.rollout.spec import number_of
from fleetd.rollout.states import Copied, Copying, Lost, Pending
from fleetd.rollout.world import World

TERMS_LOST = 1000
"""How many starts of a controller the lost part of the journal may hold of which only hosts know that are silent now.

A term costs nothing; with one that is too low, an order of before could still arrive at such a host and be obeyed.
"""

ROLLOUTS_LOST = 100
"""The number of the next rollout is the first after the next multiple of this: people see where the gap is."""

BY = "fleetd recover"

UNSURE = "the part of the journal that is lost may say that it is to have another system, or none"

ENDED = "ended by `fleetd recover`: nobody knows what was said to it in the part of the journal that is lost"


@dataclass(frozen=True, slots=True)
class Shown:
    """What a host shows: the facts, and the status of its newest activation."""

    facts: HostFacts
    status: HostStatus

    @property
    def must_be_ended(self) -> bool:
        """Whether an order can take back what is under way; what is only moving comes to its end by itself."""
        return self.status.state in (HelperState.TRIAL, HelperState.SWITCHING)

    @property
    def stands_still(self) -> bool:
        """Whether nothing is under way on it."""
        return not self.status.state.is_moving and self.status.state is not HelperState.TRIAL


def term_above(world: World, opened: int, shown: Mapping[str, Shown]) -> int:
    """Return the term to go on with: above all that anybody holds, also of those that are silent now."""
    held = [found.facts.fence.term for found in shown.values()]
    return max(opened, world.term, *held) + TERMS_LOST


def numbered_beyond(world: World, shown: Mapping[str, Shown]) -> int:
    """Return the number after which rollouts go on, so that no host has seen an activation of their ids."""
    seen = [number_of(found.status.id.partition(".")[0]) for found in shown.values()]
    highest = max([world.numbered, *seen])
    return (highest // ROLLOUTS_LOST + 1) * ROLLOUTS_LOST


def closing(world: World, resting: Mapping[str, Shown], silent: Mapping[str, str], at: float) -> Iterator[e.Event]:
    """Yield what ends the recovery. Each event is to be applied before the next one is asked for."""
    for name, host in tuple(world.unproven()):
        state = world.rollouts[name].hosts[host]
        found = resting.get(host)
        if found is not None:
            status = found.status
            ours = status.id == activation_id(name, host, state.task)
            reason = status.message[:REASON_CHARACTERS]
            yield e.ActivationRecovered(at, name, host, status.state, ours, status.by, reason)
        elif not isinstance(state, Lost):
            # It keeps its slot until it answers: the daemon goes on asking it.
            yield e.HostGivenUp(at, name, host, f"out of reach when the journal was recovered: {silent.get(host, '')}")
    for name, rollout in tuple(world.active()):
        for host, state in tuple(rollout.hosts.items()):
            if isinstance(state, Pending | Copying | Copied):
                yield e.HostSkipped(at, name, host, ENDED)
        yield e.RolloutFinished(at, name, e.Phase.NEEDS_OPERATOR, ENDED)
    for host in tuple(world.owing):
        yield e.HostNotOwed(at, host, BY, UNSURE)
    for host, found in resting.items():
        record, event = world.record(host), recovered(world.record(host), host, found, at)
        if event is not None and record_recovered(record, event) != record:
            yield event
    yield e.RecoveryEnded(at, tuple(silent))


def recovered(record: HostRecord, host: str, found: Shown, at: float) -> e.HostRecovered | None:
    """Return what fleetd is known to have left on a host; None for what is not fleetd's, or is another machine."""
    facts, status = found.facts, found.status
    if record.machine_id and facts.machine_id != record.machine_id:
        return None
    id_, machine = status.id, facts.machine_id
    if status.state is HelperState.STRANDED:
        return e.HostRecovered(at, host, id_, machine, None, stranded=status.message or "going back failed there")
    old, new = _path(status.old), _path(status.new)
    if old is None or new is None or facts.profile != facts.boots:
        return None
    runs = (facts.current, facts.profile)
    match status.state:
        case HelperState.COMMITTED | HelperState.STAGED if runs == (new, new):
            return e.HostRecovered(at, host, id_, machine, new, came_from=old)
        case HelperState.REVERTED | HelperState.RELEASED if runs == (old, old):
            return e.HostRecovered(at, host, id_, machine, old)
        case HelperState.RELEASED if runs == (new, old):
            return e.HostRecovered(at, host, id_, machine, old, kept=new)
        case HelperState.STAGED if runs == (old, new):
            return e.HostRecovered(at, host, id_, machine, old, staged=new)
        case _:
            return None


def _path(text: str) -> StorePath | None:
    return StorePath(text) if is_store_path(text) else None


def told(world: World, host: str, found: Shown) -> str:
    """Return what a host shows beside what this journal says of it, in a line for people."""
    facts, status, record = found.facts, found.status, world.record(host)
    parts = []
    if not world.gave(facts.fence):
        parts.append(f"holds fence {facts.fence}, which this journal never gave")
    known = {activation_id(name, host, world.rollouts[name].hosts[host].task) for name, _host in world.places_of(host)}
    if found.must_be_ended or not found.stands_still:
        whose = "of this journal" if status.id in known else "that this journal does not know"
        parts.append(f"activation {status.id} {whose} is {status.state.value}")
    if record.machine_id and facts.machine_id != record.machine_id:
        parts.append(f"is another machine: its machine-id is {facts.machine_id}, and was {record.machine_id}")
    event = recovered(record, host, found, 0.0) if found.stands_still else None
    if event is not None and event.stranded:
        parts.append(f"is stranded: {event.stranded}")
    elif event is not None and event.left != record.left:
        parts.append(f"was left with {event.left} by {status.id}; the journal says {record.left or 'nothing'}")
    elif found.stands_still and record.left not in (None, facts.current):
        parts.append(f"runs {facts.current}, and fleetd left {record.left} there")
    return "; ".join(parts) or "is as the journal says"
