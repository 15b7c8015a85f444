"""Records into events and the world, and back: the one place where a journal that cannot be read is told of."""

from __future__ import annotations

from collections.abc import Sequence

from fleetd.errors import CorruptJournal, NewerJournal
from fleetd.ports import Record
from fleetd.rollout import events as e
from fleetd.rollout.baseline import Baseline, take_up
from fleetd.rollout.codec import decode_event, decode_value, encode_event, encode_value
from fleetd.rollout.stored import BASELINE
from fleetd.rollout.transitions import IllegalTransition
from fleetd.rollout.versions import TooNew, upcast, version_of
from fleetd.rollout.world import World


def fold(world: World, record: Record) -> e.Event | None:
    """Take a record into account. Raises CorruptJournal or NewerJournal with its place; the world is no use after that.

    The order of records is the journal's to check. Whatever a damaged record makes of the code that reads it is its
    own fault: no exception of any kind may leave here as anything else. Returns the event; None for a baseline.
    """
    try:
        if record.kind == BASELINE:
            data = upcast(BASELINE, record.version, record.data)
            take_up(world, decode_value(Baseline, data, BASELINE))
            return None
        event = decode_event(record.kind, record.at, record.rollout, record.host, record.data, record.version)
        world.apply(event)
    except TooNew as error:
        raise NewerJournal(place_of(record), str(error)) from error
    except Exception as error:
        told = str(error) if isinstance(error, ValueError | IllegalTransition) else repr(error)
        raise CorruptJournal(f"{place_of(record)} of the journal is corrupt: {told}") from error
    return event


def place_of(record: Record) -> str:
    """Return where a record is, in words: its number, kind, rollout and host."""
    about = [record.kind, *(f"{word} {name}" for word, name in (("of", record.rollout), ("host", record.host)) if name)]
    return f"record {record.seq} ({' '.join(about)})"


def records_of(events: Sequence[e.Event], first: int, term: int) -> list[Record]:
    """Return events as the records that they are in the journal, numbered from ``first``."""
    records = []
    for seq, event in enumerate(events, first):
        kind, rollout, host, data = encode_event(event)
        records.append(Record(seq, term, event.at, rollout, host, kind, version_of(kind), data))
    return records


def record_of_baseline(baseline: Baseline) -> Record:
    """Return a baseline as the record that it is in the journal."""
    data = encode_value(baseline)
    return Record(baseline.seq, baseline.terms.now, baseline.last_at, "", "", BASELINE, version_of(BASELINE), data)
