"""Retention: what ended long ago leaves the journal, and a baseline takes its place. What hosts are known to run stays.

A run reads a bounded part of the journal's beginning, folds it into a world of its own, and writes one transaction: it
happened or it did not, whenever the controller dies. Only a beginning in which every rollout has ended can go, so one
that goes on, or of which a person still has to say something, keeps what is after its first record.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from fleetd.controller.folding import fold, record_of_baseline
from fleetd.ports import Journal, Record
from fleetd.rollout.baseline import baseline_of, cut_of, forget, is_needed
from fleetd.rollout.world import World

RECORDS_A_RUN = 20_000
"""How many records go in one run; more only where a single rollout, or some that overlap, have more."""

PAGE = 1000
"""Records that are read and folded at a time, beside what else the controller does."""


async def shorten(world: World, journal: Journal, keys: dict[str, str], before: float) -> int:
    """Put a baseline in the place of the oldest records; returns how many went. Raises JournalError.

    Args:
        world: the controller's own, which forgets the rollouts that go.
        journal: which it owns.
        keys: of requests, to their rollouts; those of rollouts that go are taken out.
        before: rollouts of which anything was written later stay.
    """
    oldest = await journal.read(after=0, limit=1)
    if not oldest:
        return 0
    needed = [name for name in world.rollouts if is_needed(world, name)]
    cut = cut_of(await journal.spans(), needed, before, oldest[0].seq + RECORDS_A_RUN)
    if cut <= oldest[0].seq:
        return 0
    earlier = World()
    while earlier.seq < cut:
        page = await journal.read(after=earlier.seq, limit=min(PAGE, cut - earlier.seq) if earlier.seq else 1)
        await asyncio.to_thread(_fold_all, earlier, page)
    gone = tuple(earlier.rollouts)
    record = await asyncio.to_thread(lambda: record_of_baseline(baseline_of(earlier)))
    # From here on nobody can say anything to them; what fails now ends the process, and the next one reads what is so.
    forget(world, gone)
    for key in [key for key, name in keys.items() if name in gone]:
        del keys[key]
    await journal.shorten(record, gone)
    return cut - oldest[0].seq


def _fold_all(world: World, records: Sequence[Record]) -> None:
    for record in records:
        fold(world, record)
