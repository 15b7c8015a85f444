"""What keeps hosts from starting that is no rollout's own doing: a controller that hears nobody, a fleet of which too
much is unwell, a freeze, locks, and maintenance windows.

None of it touches what is under way, and none of it but a controller that hears nobody stands in the way of taking a
host back. A rollback by a person's word passes the brake, a freeze and windows, but not a lock: whoever locked the
host works on it.
"""

from __future__ import annotations

from fleetd.rollout import events as e
from fleetd.rollout.contact import ASK_AGAIN_S
from fleetd.rollout.decision import Draft, Witness
from fleetd.rollout.fleetwide import Hold
from fleetd.rollout.quorum import waits_for_group
from fleetd.rollout.spec import Kind
from fleetd.rollout.states import Direction, HostState
from fleetd.rollout.tally import Mark
from fleetd.rollout.world import Rollout, World

TOLD_HOSTS = 20
"""How many of the hosts that fell silent the journal names; their number tells the rest."""


def plan_contact(draft: Draft) -> None:
    """Ask others where a host fell silent; say that the controller is cut off, or that it hears its hosts again."""
    contacts, isolated = draft.world.contacts, draft.world.fleetwide.isolated
    doubt, now = contacts.doubt, draft.now
    if isolated is not None and contacts.hears_again(now):
        draft.add(e.ContactRestored(now, max(0.0, now - isolated.since)))
        return
    for host in contacts.to_ask(now, again=isolated is not None):
        if draft.take("reach"):
            draft.ask(Witness(host))
    if isolated is not None:
        draft.wake(now + ASK_AGAIN_S)
    elif doubt is not None and doubt.is_decided and doubt.is_cut_off:
        hosts = tuple(doubt.lost)[:TOLD_HOSTS]
        draft.add(e.ControllerIsolated(now, doubt.since, len(doubt.lost), len(doubt.heard), hosts))
        draft.is_isolated = True
        draft.wake(now + ASK_AGAIN_S)


def is_braked(world: World, rollout: Rollout) -> bool:
    """Whether so much of the fleet is unwell, whoever caused it, that only the unwell may start: a fix may go there."""
    spec = rollout.header.spec
    return spec.kind is not Kind.ROLLBACK and 0 < spec.brake < len(world.fleetwide.unwell)


def freeze_of(world: World, rollout: Rollout) -> Hold | None:
    """Return the freeze that keeps a rollout from starting anything; None where there is none, or it passes."""
    return world.fleetwide.freeze if rollout.header.spec.kind is not Kind.ROLLBACK else None


def lock_of(world: World, host: str, state: HostState) -> Hold | None:
    """Return the lock that keeps a host from being started; one that goes back by itself passes."""
    return world.fleetwide.locks.get(host) if state.task.direction is Direction.DEPLOY else None


def end_holds(draft: Draft) -> None:
    """End the locks and the freeze whose time is over."""
    fleetwide, now = draft.world.fleetwide, draft.now
    if fleetwide.expires_at is None:
        return
    if now < fleetwide.expires_at:
        draft.wake(fleetwide.expires_at)
        return
    for host, lock in fleetwide.locks.items():
        if lock.until is not None and now >= lock.until:
            draft.add(e.HostUnlocked(now, host, "", "its time is over"))
    freeze = fleetwide.freeze
    if freeze is not None and freeze.until is not None and now >= freeze.until:
        draft.add(e.FreezeLifted(now, "", "its time is over"))


def is_in_window(draft: Draft, name: str, rollout: Rollout) -> bool:
    """Whether a window of the rollout is open; wakes the planner when the next one opens."""
    opening = draft.world.openings.of(rollout.header.spec, draft.now)
    if opening.next_at is not None:
        draft.place = (name, "")
        draft.wake(opening.next_at)
        draft.place = ("", "")
    return opening.is_open


def is_held(world: World, rollout: Rollout, now: float) -> bool:
    """Whether something beyond the rollout keeps it from starting hosts that it could start: its clock stands still."""
    if is_braked(world, rollout) or freeze_of(world, rollout) is not None:
        return True
    if not world.openings.of(rollout.header.spec, now).is_open:
        return True
    waiting = rollout.tally.hosts[Mark.STARTABLE]
    if any(host in waiting for host in world.fleetwide.locks):
        return True
    grouped = waiting if rollout.header.spec.groups else ()
    return any(waits_for_group(world, rollout, host, now) is not None for host in grouped)
