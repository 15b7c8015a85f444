"""What fleetd owes hosts: a rollout that went well passed them over, and they are to have its system when they can.

A debt outlives its rollout. It is paid by a rollout of a kind of its own, ``catch-up``, with the same trial and checks;
it ends when the host has the system, when a newer rollout has begun there, or when a person says so. What failed on a
host once is never tried there again by itself, and nothing is tried for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from fleetd.model.goal import Goal
from fleetd.rollout import events as e
from fleetd.rollout.reasons import Blocked, Reason, instant
from fleetd.rollout.record import HostRecord, Owed
from fleetd.rollout.spec import Kind, RolloutSpec
from fleetd.rollout.states import (
    Committed,
    Current,
    Deferred,
    Direction,
    Failed,
    HostState,
    LiveState,
    Reverted,
    RolledBack,
    Stranded,
    Switching,
    reason_of,
    shown,
)

TRIES = 10
"""How often a host is brought to what it is owed: with the waits between them it is three days."""

FIRST_WAIT_S = 300.0
LONGEST_WAIT_S = 86400.0
"""How long a host is left alone after a try that came to nothing: twice as long each time."""

LASTING = ("needs-reboot", "needs-boot-guard", "volatile-state", "boot-unreadable", "stale-fence")
"""Why hosts refuse a system and would refuse it again: waiting mends none of it, another policy or a person does."""

OWN_AGAIN_S = 5.0
"""How soon a rollout that owes something is looked at again while that may not be written."""

FAILED_KEPT = 8
"""How many systems that failed on a host are remembered: debts are of the newest revisions."""


def debt_of(spec: RolloutSpec, host: str, state: HostState, record: HostRecord, at: float) -> e.HostOwed | None:
    """Return what a rollout that ends well owes a host; None where it owes it nothing."""
    if spec.kind is not Kind.DEPLOY or spec.goal is not Goal.SWITCH or not isinstance(state, Deferred):
        return None
    to = state.task.to
    if to is None or to in record.failed or state.task.direction is not Direction.DEPLOY:
        return None
    return e.HostOwed(at, spec.id, host, to, spec.policy.name, state.task.derivation)


def debts_of(
    end: e.RolloutFinished, spec: RolloutSpec, hosts: Mapping[str, HostState], record_of: Callable[[str], HostRecord]
) -> list[e.Event]:
    """Return what a rollout owes its hosts by the way in which it ends."""
    if end.phase is not e.Phase.INCOMPLETE:
        return []
    debts = (debt_of(spec, host, state, record_of(host), end.at) for host, state in hosts.items())
    return [debt for debt in debts if debt is not None]


def owed_from(record: HostRecord, event: e.HostOwed, state: HostState | None) -> HostRecord:
    """Return the record with a debt, which takes the place of an older one; ``state`` is how it was passed over."""
    owed = Owed(event.to, event.rollout, event.policy, event.at, event.derivation)
    if state is not None and _is_lasting(state):
        owed = replace(owed, given_up=True, reason=reason_of(state))
    return replace(record, wanted=event.to, owed=owed)


def without_debt(record: HostRecord) -> HostRecord:
    """Return the record once nothing is owed: what is wanted is what is there."""
    return record if record.owed is None else replace(record, owed=None, wanted=record.left)


def after_event(
    record: HostRecord, spec: RolloutSpec, before: HostState, state: HostState, event: e.HostEvent
) -> HostRecord:
    """Return the record with what an event of a rollout means for the debt, and for what failed on the host."""
    to, owed = state.task.to, record.owed
    if isinstance(event, e.HostReported):
        # Whatever it says of the activation, it has obeyed the order.
        lost = isinstance(state, Failed) and state.kind == "host-state-lost"
        record = replace(record, fence=event.fence, state_lost=record.state_lost or lost)
    match state, event:
        case ((Committed() | Current() | RolledBack()), _) if not isinstance(event, e.HostUnhealthy):
            failed = tuple(path for path in record.failed if path != to)
            return replace(record, owed=None, failed=failed, policy=spec.policy.name)
        case Switching(), e.TrialIntended() if owed is not None and owed.to != to:
            # A newer rollout has begun there: however it ends, nobody wants the older one any more.
            return record if spec.goal is not Goal.SWITCH else replace(record, owed=None)
        case Reverted(), _ if to is not None and state.task.direction is Direction.DEPLOY:
            return _failed_there(record, state, event.at)
        case ((Failed() | Stranded()), _) if isinstance(before, LiveState) and to is not None:
            return _failed_there(record, state, event.at) if state.task.direction is Direction.DEPLOY else record
        case _:
            return record


def _failed_there(record: HostRecord, state: HostState, at: float) -> HostRecord:
    to, owed = state.task.to, record.owed
    if to is None:
        return record
    failed = (*(path for path in record.failed if path != to), to)[-FAILED_KEPT:]
    if owed is not None and owed.to == to:
        owed = replace(owed, reason=f"it failed there: {reason_of(state)}", given_up=True, retry_at=at)
    return replace(record, failed=failed, owed=owed)


def _is_lasting(state: HostState) -> bool:
    return isinstance(state, Deferred) and state.kind in LASTING


def after_try(record: HostRecord, state: HostState, event: e.RolloutFinished) -> HostRecord:
    """Return the record after a catch-up has ended in which the host did not come to what it is owed."""
    owed = record.owed
    if owed is None or owed.given_up or state.task.to != owed.to or event.phase is e.Phase.SUPERSEDED:
        return record
    tries, why = owed.tries + 1, f"{shown(state)}: {reason_of(state)}".rstrip(": ")
    wait_s = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0**owed.tries)
    given_up = tries >= TRIES or _is_lasting(state)
    reason = f"tried {tries} times; {why}" if given_up else why
    return replace(
        record, owed=replace(owed, tries=tries, retry_at=event.at + wait_s, reason=reason, given_up=given_up)
    )


def owed_waits(record: HostRecord, host: str) -> Blocked | None:
    """Return that a host is owed a system, for people; None where it is owed none."""
    owed = record.owed
    if owed is None:
        return None
    why = f"{owed.rollout} passed it over" if owed.rollout else "it does not run what fleetd left there"
    text = f"owed {owed.to} since {instant(owed.since)}: {why}"
    if owed.given_up:
        return Blocked(
            Reason.OWED,
            f"{text}, and it is tried no more: {owed.reason}",
            None,
            f"fleetctl deploy --toplevel {host}={owed.to}",
            (host,),
        )
    last = f"; last try: {owed.reason}" if owed.reason else ""
    return Blocked(
        Reason.OWED, f"{text}; caught up when it answers and may start{last}", owed.retry_at or None, "", (host,)
    )
