"""A baseline: one record that stands for all before it, once the rollouts in those have ended long ago.

It is the fold of the records that it takes the place of, without the rollouts: what hosts are known to run and are
owed, who is unwell, what is locked, and what the next rollout must know of those that are gone. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from copy import deepcopy
from dataclasses import dataclass, field

from fleetd.errors import GoneError, NotFoundError
from fleetd.rollout.fleetwide import Fleetwide
from fleetd.rollout.record import HostRecord
from fleetd.rollout.spec import number_of
from fleetd.rollout.stored import Span
from fleetd.rollout.tally import Mark
from fleetd.rollout.terms import Terms
from fleetd.rollout.world import World


@dataclass(frozen=True, slots=True)
class Baseline:
    """What is so after record ``seq``, at which it stands; see ``World`` for the words."""

    seq: int
    last_at: float
    freed_at: float
    terms: Terms
    numbered: int
    gone: int
    fleetwide: Fleetwide
    deployed: dict[str, str] = field(default_factory=dict)
    records: dict[str, HostRecord] = field(default_factory=dict)


def baseline_of(world: World) -> Baseline:
    """Return the baseline that takes the place of every record of a world. None of its rollouts may be kept."""
    return deepcopy(
        Baseline(
            seq=world.seq,
            last_at=world.last_at,
            freed_at=world.freed_at,
            terms=world.terms,
            numbered=world.numbered,
            gone=max((world.gone, *map(number_of, world.rollouts))),
            fleetwide=world.fleetwide,
            deployed=deployed_by(world, tuple(world.rollouts)),
            records=world.records,
        )
    )


def take_up(world: World, baseline: Baseline) -> None:
    """Begin an empty world with a baseline. Raises ValueError where it is not empty."""
    if world.seq:
        raise ValueError("a baseline stands at the beginning of a journal, and nowhere else")
    kept = deepcopy(baseline)
    world.seq, world.last_at, world.freed_at = kept.seq, kept.last_at, kept.freed_at
    world.terms, world.numbered, world.gone = kept.terms, kept.numbered, kept.gone
    world.fleetwide, world.deployed = kept.fleetwide, kept.deployed
    for host, record in kept.records.items():
        world.remember(host, record)


def forget(world: World, names: Collection[str]) -> None:
    """Take rollouts out of a world that goes on, as a replay of the shortened journal would find it."""
    world.deployed = deployed_by(world, tuple(names))
    world.gone = max((world.gone, *map(number_of, names)))
    for name in names:
        del world.rollouts[name]


def deployed_by(world: World, names: Sequence[str]) -> dict[str, str]:
    """Return, by repository, the commit that was deployed last by rollouts that are gone, or are among these."""
    found = dict(world.deployed)
    for name in names:
        rollout = world.rollouts[name]
        header = rollout.header
        if header.locked is not None and rollout.tally.count(Mark.EVIDENCE):
            found[(header.spec.flake or "").partition("?")[0]] = header.locked
    return found


def is_needed(world: World, name: str) -> bool:
    """Whether a rollout must stay: it goes on, or a person still has to say something about one of its hosts in it."""
    rollout = world.rollouts[name]
    if not rollout.header.phase.is_final:
        return True
    waits = dict.fromkeys((*world.fleetwide.blamed, *(host for host, it in world.records.items() if it.stranded)))
    return (
        rollout.tally.count(Mark.UNPROVEN) > 0
        or bool(world.hooks.of_rollout(name))
        or any(host in rollout.hosts for host in waits)
    )


def cut_of(spans: Sequence[Span], keep: Collection[str], before: float, most: int) -> int:
    """Return up to which record a baseline may take the place of all; 0 where there is none.

    Args:
        spans: of all rollouts of the journal, by their first record.
        keep: rollouts that must stay.
        before: what was written later stays.
        most: the highest number that is asked for; where no cut lies below it, the first one beyond is returned.
    """
    reach = cut = 0
    for index, span in enumerate(spans):
        if span.rollout in keep or span.last_at >= before:
            break
        reach = max(reach, span.last)
        is_clear = index + 1 == len(spans) or spans[index + 1].first > reach
        if is_clear and (reach <= most or not cut):
            cut = reach
    return cut


def missing(world: World, rollout: str) -> NotFoundError:
    """Return what to raise where there is no such rollout: it never was, or is kept no more."""
    if re.fullmatch(r"r-\d{1,18}", rollout) and 0 < number_of(rollout) <= world.gone:
        return GoneError(f"{rollout} ended so long ago that it is kept no more (state.keep); what it left on hosts is")
    return NotFoundError(f"there is no rollout {rollout!r}")
