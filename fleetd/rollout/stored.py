"""What the journal stores, as it stores it: records, documents to show, and where the records of a rollout lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

BASELINE = "Baseline"
"""The kind of the record that stands at the beginning of a shortened journal, for all that were before it."""


@dataclass(frozen=True, slots=True)
class Record:
    """One line of the journal. ``data`` is JSON of version ``version`` of its kind."""

    seq: int
    term: int
    at: float
    rollout: str
    host: str
    kind: str
    version: int
    data: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Span:
    """Where the records of one rollout lie, and when the last of them was written."""

    rollout: str
    first: int
    last: int
    last_at: float


@dataclass(frozen=True, slots=True)
class ReadModels:
    """Documents to replace in the read models within the same transaction, keyed as the API shows them."""

    rollouts: Mapping[str, Mapping[str, object]]
    rollout_hosts: Mapping[tuple[str, str], Mapping[str, object]]
    hosts: Mapping[str, Mapping[str, object]]
    requests: Mapping[str, Mapping[str, object]]
    """Idempotency keys and webhook deliveries: key → what was answered."""


def first_seq(records: Sequence[Record]) -> int:
    """Return with which number these, all records of a journal, have to begin."""
    return records[0].seq if records and records[0].kind == BASELINE else 1
