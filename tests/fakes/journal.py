"""A journal in memory that keeps the journal's contract (``tests/contract/test_journal.py``), and can be made to fail.

``Disk`` is what survives a crash; ``MemoryJournal`` is one process's hold on it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from fleetd.errors import JournalError
from fleetd.ports import ReadModels, Record
from fleetd.rollout.stored import Span, first_seq


@dataclass(slots=True)
class Disk:
    """What is durable. ``owner`` is the process that holds the lock."""

    records: list[Record] = field(default_factory=list)
    term: int = 0
    owner: object | None = None


class MemoryJournal:
    """The port ``Journal``.

    ``before`` and ``after`` are called round each append with its number, counted over the life of the disk's user,
    and may raise: before, nothing of the transaction is durable; after, all of it is.
    """

    def __init__(
        self,
        disk: Disk,
        *,
        before: Callable[[Sequence[Record]], None] = lambda _records: None,
        after: Callable[[Sequence[Record]], None] = lambda _records: None,
    ) -> None:
        self._disk = disk
        self._before = before
        self._after = after
        self._term = 0

    async def open(self, *, only_look: bool = False) -> int:
        """Take ownership and raise the term."""
        if self._disk.owner not in (None, self):
            raise JournalError("another fleetd (in this process) owns the journal")
        self._disk.owner = self
        self._disk.term += 0 if only_look else 1
        self._term = self._disk.term
        return self._term

    async def raise_term(self, least: int) -> int:
        """Raise the term to at least this one."""
        if self._disk.owner is not self or self._term != self._disk.term:
            raise JournalError("another controller wrote here; this one has lost the journal")
        self._term = self._disk.term = max(self._term, least)
        return self._term

    async def replay(self) -> Sequence[Record]:
        """Return every record."""
        for expected, record in enumerate(self._disk.records, first_seq(self._disk.records)):
            if record.seq != expected:
                raise JournalError(f"record {expected} is missing (the next one is {record.seq})")
        return list(self._disk.records)

    async def read(self, *, after: int, limit: int) -> Sequence[Record]:
        """Return committed records with a larger seq."""
        return [record for record in self._disk.records if record.seq > after][:limit]

    async def spans(self) -> Sequence[Span]:
        """Return where the records of each rollout lie."""
        found: dict[str, Span] = {}
        for record in self._disk.records:
            if record.rollout:
                before = found.get(record.rollout, Span(record.rollout, record.seq, record.seq, record.at))
                found[record.rollout] = replace(before, last=record.seq, last_at=max(before.last_at, record.at))
        return list(found.values())

    async def shorten(self, baseline: Record, gone: Sequence[str]) -> None:
        """Put a baseline in the place of all records up to its own, whole or not at all."""
        self._before([baseline])
        if self._disk.owner is not self or self._term != self._disk.term:
            raise JournalError("another controller wrote here; this one has lost the journal")
        rest = [record for record in self._disk.records if record.seq > baseline.seq]
        if any(record.rollout in gone for record in rest):
            raise JournalError("a rollout goes on after its baseline")
        json.dumps(baseline.data)
        self._disk.records[:] = [baseline, *rest]
        self._after([baseline])

    async def append(self, records: Sequence[Record], models: ReadModels) -> None:
        """Make one transaction durable, or nothing of it."""
        self._before(records)
        if self._disk.owner is not self:
            raise JournalError("the journal is not open")
        head = self._disk.records[-1].seq if self._disk.records else 0
        if [record.seq for record in records] != list(range(records[0].seq, records[0].seq + len(records))):
            raise JournalError("records are not in one unbroken row")
        if records[0].seq != head + 1 or self._term != self._disk.term:
            raise JournalError("another controller wrote here; this one has lost the journal")
        # What cannot be written as JSON would not survive on a real disk either.
        json.dumps([record.data for record in records])
        self._disk.records.extend(records)
        self._after(records)

    async def close(self) -> None:
        """Let go of the ownership."""
        if self._disk.owner is self:
            self._disk.owner = None
