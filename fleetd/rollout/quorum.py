"""Groups: hosts that need each other, of which only so many may be unproven or unwell at once, whoever caused it.

Before a host of a group starts, fleetd knows of each other member that it is well: it was looked at a moment ago. What
is not known is asked first. A host that is sick itself makes nothing worse by starting: a fix, or the way back, may
always go to it. That it does not answer is no such reason: it may be well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fleetd.rollout.decision import Draft, LookAt
from fleetd.rollout.spec import HostGroup, RolloutSpec
from fleetd.rollout.world import Rollout, World

LOOK_FRESH_S = 20.0
"""How long a look holds: longer than all members of a large group take to be asked, short against a trial."""

LOOK_AGAIN_S = 10.0
"""How soon a member that was unwell is looked at again, while somebody waits for it."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How a group is: who is unavailable and why, who of those is known to be sick, and of whom it is not known."""

    unavailable: Mapping[str, str]
    sick: frozenset[str]
    unknown: tuple[str, ...]


def groups_of(spec: RolloutSpec, host: str) -> list[HostGroup]:
    """Return the groups that a host belongs to; more than one of them is an *and*."""
    return [group for group in spec.groups if any(member.name == host for member in group.members)]


def standing(world: World, group: HostGroup, now: float, started: Mapping[str, str] | None = None) -> Standing:
    """Return how a group is; ``started`` are hosts whose trials are being decided just now."""
    unavailable: dict[str, str] = {}
    unknown, sick = [], []
    for member in group.members:
        host, look = member.name, world.looks.get(member.name)
        holder = (started or {}).get(host) or world.holder(host)
        if holder is not None:
            unavailable[host] = f"unproven in {holder}"
        elif drained := world.hooks.drained_by(host):
            unavailable[host] = f"drained by {drained}"
        elif host in world.fleetwide.blamed:
            unavailable[host] = world.fleetwide.blamed[host]
            sick.append(host)
        elif look is not None and look.why and now < look.at + LOOK_FRESH_S:
            unavailable[host] = look.why
            sick += [host] if look.is_sick else []
        elif look is None or now >= look.at + LOOK_FRESH_S:
            unknown.append(host)
    return Standing(unavailable, frozenset(sick), tuple(unknown))


def is_full(found: Standing, group: HostGroup, host: str) -> bool:
    """Whether one more host, if it is well now, would be more than may be unavailable."""
    others = len(found.unavailable) - (host in found.unavailable)
    return host not in found.sick and others >= group.max_unavailable


def keeps_quorum(draft: Draft, name: str, rollout: Rollout, host: str) -> bool:
    """Whether a host may start as far as its groups go; asks the members of whom too little is known."""
    keeps = True
    for group in groups_of(rollout.header.spec, host):
        found = draft.standings.get(group)
        if found is None:
            found = draft.standings[group] = standing(draft.world, group, draft.now, draft.started)
        if host in found.sick:
            continue
        for member in group.members:
            if _is_to_ask(draft, found, member.name) and draft.take("probe"):
                draft.ask(LookAt(name, member.name, member.checks))
        unknown = [member for member in found.unknown if member != host]
        keeps = keeps and not unknown and not is_full(found, group, host)
    return keeps


def _is_to_ask(draft: Draft, found: Standing, member: str) -> bool:
    """Whether a member is looked at now: not known, or unwell a while ago, and not asked already."""
    world, look = draft.world, draft.world.looks.get(member)
    if member in world.looking or draft.has_looked_at(member):
        return False
    if member in found.unknown:
        return True
    if look is None or not look.why or world.holder(member) is not None:
        return False
    draft.wake(look.at + LOOK_AGAIN_S)
    return draft.now >= look.at + LOOK_AGAIN_S


def waits_for_group(world: World, rollout: Rollout, host: str, now: float) -> tuple[HostGroup, Standing] | None:
    """Return the group that keeps a host from starting, with how it is; None when none does."""
    for group in groups_of(rollout.header.spec, host):
        found = standing(world, group, now)
        if is_full(found, group, host):
            return group, found
    return None
