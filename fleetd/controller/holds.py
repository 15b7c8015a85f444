"""Locks and the freeze: what a person says about them as the event that it becomes, and what they refuse. Pure.

Each is idempotent. What somebody else owns is not replaced in silence: it has to be ended first, which is journalled.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from fleetd.controller.commands import Document, FreezeFleet, HoldCommand, LockHost, UnfreezeFleet, UnlockHost
from fleetd.errors import RefusedError
from fleetd.rollout import events as e
from fleetd.rollout.codec import encode_event
from fleetd.rollout.decision import own_is_on_trial
from fleetd.rollout.fleetwide import Hold
from fleetd.rollout.held import told
from fleetd.rollout.reasons import instant
from fleetd.rollout.spec import Kind, RolloutSpec
from fleetd.rollout.versions import needs_this_release
from fleetd.rollout.world import World


class FrozenError(RefusedError):
    """The fleet is frozen: no deploy is taken until the freeze ends."""

    kind = "frozen"


class LockedError(RefusedError):
    """Every host that is asked for is locked, or somebody else holds the lock."""

    kind = "locked"


def held(world: World, command: HoldCommand, now: float) -> tuple[e.Event, ...]:
    """Return what a command becomes; nothing where it is so already. Raises RefusedError for what another one owns."""
    fleetwide = world.fleetwide
    match command:
        case LockHost():
            lock = fleetwide.locks.get(command.host)
            owner = command.owner or command.requested_by
            if lock is not None and lock.owner != owner:
                raise LockedError(f"{command.host} is locked already: {_until(lock)}; fleetctl unlock {command.host}")
            if lock is not None and _is_same(lock, command):
                return ()
            until = None if command.for_s is None else now + command.for_s
            return (e.HostLocked(now, command.host, command.requested_by, owner, command.reason, until),)
        case UnlockHost():
            if command.host not in fleetwide.locks:
                return ()
            return (e.HostUnlocked(now, command.host, command.requested_by, command.reason),)
        case FreezeFleet():
            owner = command.owner or command.requested_by
            if fleetwide.freeze is not None and fleetwide.freeze.owner != owner:
                raise FrozenError(f"the fleet is frozen already: {_until(fleetwide.freeze)}; fleetctl unfreeze")
            if fleetwide.freeze is not None and _is_same(fleetwide.freeze, command):
                return ()
            until = None if command.for_s is None else now + command.for_s
            return (e.FreezeSet(now, command.requested_by, owner, command.reason, until),)
        case UnfreezeFleet():
            if fleetwide.freeze is None:
                return ()
            return (e.FreezeLifted(now, command.requested_by, command.reason),)
        case _:
            assert_never(command)


def _is_same(hold: Hold, command: LockHost | FreezeFleet) -> bool:
    """Whether nothing would change; with a time of its own a repeat begins that time anew."""
    return hold.until is None and command.for_s is None and hold.reason == command.reason


def refuse_held(world: World, spec: RolloutSpec) -> None:
    """Refuse a rollout of which nothing may start. Raises FrozenError, LockedError.

    One of which some hosts are locked is taken: those wait, and say so.
    """
    freeze, locks = world.fleetwide.freeze, world.fleetwide.locks
    if freeze is not None and spec.kind is not Kind.ROLLBACK:
        raise FrozenError(f"the fleet is frozen, and no deploy or reboot is taken: {_until(freeze)}; fleetctl unfreeze")
    if spec.hosts and all(plan.name in locks for plan in spec.hosts):
        first = spec.hosts[0].name
        which = first if len(spec.hosts) == 1 else f"each of the {len(spec.hosts)} hosts"
        raise LockedError(f"{which} is locked: {_until(locks[first])}; fleetctl unlock {first}")


def _until(hold: Hold) -> str:
    return told(hold) + (f" (until {instant(hold.until)})" if hold.until is not None else " (until somebody ends it)")


def hold_document(hold: Hold | None) -> Document | None:
    """Return a lock or a freeze as the API shows it."""
    if hold is None:
        return None
    return {"owner": hold.owner, "reason": hold.reason, "since": instant(hold.since), "until": instant(hold.until)}


def refuse_unreadable(world: World, events: Sequence[e.Event]) -> None:
    """Refuse what the release before could not read, while the control node's own host may go back to it.

    Raises RefusedError.
    """
    if not own_is_on_trial(world):
        return
    for event in events:
        kind, _rollout, _host, data = encode_event(event)
        if needs_this_release(kind, data):
            raise RefusedError(
                "the control node's own host is on trial, and the fleetd that it would go back to could not read this:"
                " say it again when that trial has ended"
            )
