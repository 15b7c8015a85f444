"""Looking at hosts that are in no rollout: what is seen there is judged, and where it is news, put into the journal.

A look costs the same in every fleet, and there are only so many of them a second. Nothing is done to a host by it.
"""

from __future__ import annotations

from fleetd.model.check import CheckOutcome
from fleetd.rollout import events as e
from fleetd.rollout.decision import Draft, Observe
from fleetd.rollout.fleetwide import Found
from fleetd.rollout.preflight import drift_of, newer_controller, stranger_of
from fleetd.rollout.sightings import LOOKS, Sighted, Sighting
from fleetd.rollout.world import World


def is_free(world: World, host: str) -> bool:
    """Whether no rollout has a host, and nothing of ours is under way there."""
    return world.owner(host) is None and world.holder(host) is None


def plan_patrol(draft: Draft) -> None:
    """Tell who fell ill or is well again, and look at the host whose turn it is."""
    world, now = draft.world, draft.now
    patrol = world.patrol
    for host, found in patrol.changed.items():
        if found is None:
            draft.add(e.HostFoundWell(now, host, "" if host in patrol.rounds else "it is no longer in the fleet"))
        else:
            draft.add(e.HostFoundUnwell(now, host, found.kind, found.reason))
    if patrol.every_s is None or draft.is_isolated or not patrol.rounds:
        return
    if patrol.turn and is_free(world, patrol.turn):
        if draft.take("observe"):
            draft.ask(Observe(patrol.turn, patrol.rounds[patrol.turn]))
    elif now < patrol.next_at:
        draft.wake(patrol.next_at)


def take_sighting(world: World, message: Sighted) -> None:
    """Take what was seen of a host into account, unless something was begun there since it was asked."""
    patrol, host = world.patrol, message.host
    if host not in patrol.asking:
        return
    del patrol.asking[host]
    if host not in patrol.rounds or not is_free(world, host):
        return
    seen = patrol.sightings.setdefault(host, Sighting(message.at))
    seen.at = message.at
    if message.facts is None:
        seen.silent, seen.why_silent, seen.passing = seen.silent + 1, message.unreachable, 0
    else:
        seen.facts, seen.answered_at, seen.silent, seen.why_silent = message.facts, message.at, 0, ""
        _take_checks(seen, message)
        if host in world.owing:
            patrol.back[host] = None
        if drift_of(world.record(host), message.facts):
            patrol.drifted[host] = None
    judge(world, host)
    failing = any(0 < count < LOOKS for count in seen.failing.values())
    recovers = host in world.fleetwide.found and 0 < seen.passing < LOOKS
    if 0 < seen.silent < LOOKS or failing or recovers:
        patrol.look_again(host, message.at)


def _take_checks(seen: Sighting, message: Sighted) -> None:
    for result in message.results:
        match result.outcome:
            case CheckOutcome.PASS:
                seen.passed[result.check] = None
                seen.failing.pop(result.check, None)
            case CheckOutcome.FAIL:
                seen.failing[result.check] = seen.failing.get(result.check, 0) + 1
                seen.texts[result.check] = result.text
            case CheckOutcome.ERROR:
                pass  # it says nothing, either way
    passes = all(result.outcome is CheckOutcome.PASS for result in message.results)
    seen.passing = seen.passing + 1 if passes else 0


def judge(world: World, host: str) -> None:
    """Compare what was seen of a host with what the journal says of it; what is news is told by the next plan."""
    patrol, known = world.patrol, world.fleetwide.found.get(host)
    if host not in patrol.rounds:
        found = None
    else:
        seen = patrol.sightings.get(host)
        found = known if seen is None else _judged(world, host, seen, known)
    if (known and known.kind) == (found and found.kind):
        patrol.changed.pop(host, None)
    else:
        patrol.changed[host] = found


def _judged(world: World, host: str, seen: Sighting, known: Found | None) -> Found | None:
    """Return what is wrong with a host; as before, where nobody can tell."""
    if seen.silent:
        was_there = world.record(host).is_known or seen.answered_at is not None
        counts = seen.silent >= LOOKS and was_there and world.contacts.counts(host)
        return Found(e.Ailment.UNREACHABLE, seen.why_silent, seen.at) if counts else known
    was_unhealthy = known is not None and known.kind is e.Ailment.UNHEALTHY
    lasting = [
        f"{check}: {seen.texts[check]}"
        for check, count in seen.failing.items()
        if count >= LOOKS and (check in seen.passed or was_unhealthy)
    ]
    if lasting:
        return Found(e.Ailment.UNHEALTHY, "; ".join(lasting), seen.at)
    if was_unhealthy and seen.passing < LOOKS:
        return known
    if seen.facts is None:
        return known
    record = world.record(host)
    stranger = newer_controller(seen.facts, world) or stranger_of(record, host, seen.facts)
    drift = stranger[1] if stranger is not None else drift_of(record, seen.facts)
    return Found(e.Ailment.DRIFTED, drift, seen.at) if drift else None
