"""What every journal keeps: SQLite's, and the one in memory that simulations use."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from fleetd.errors import JournalError
from fleetd.journal.sqlite import SqliteJournal
from fleetd.ports import Journal, ReadModels, Record
from fleetd.rollout.stored import BASELINE
from tests.fakes.journal import Disk, MemoryJournal

NOTHING = ReadModels({}, {}, {}, {})
Make = Callable[[], Journal]


@pytest.fixture(params=["sqlite", "memory"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """Return a maker of journals over one and the same storage."""
    if request.param == "sqlite":
        return lambda: SqliteJournal(tmp_path)
    disk = Disk()
    return lambda: MemoryJournal(disk)


def rows(*seqs: int) -> list[Record]:
    return [Record(seq, 1, float(seq), "r-1", "web1", "Something", 1, {"n": seq, "list": [1, "two"]}) for seq in seqs]


async def seqs(journal: Journal) -> list[int]:
    return [record.seq for record in await journal.replay()]


@pytest.mark.asyncio
async def test_what_was_appended_comes_back_as_it_was(make: Make) -> None:
    journal = make()
    await journal.open()
    await journal.append(rows(1, 2), NOTHING)
    await journal.append(rows(3), NOTHING)
    await journal.close()
    again = make()
    await again.open()
    assert list(await again.replay()) == rows(1, 2, 3)
    await again.close()


@pytest.mark.asyncio
async def test_the_term_rises_with_each_start(make: Make) -> None:
    terms = []
    for _ in range(3):
        journal = make()
        terms.append(await journal.open())
        await journal.close()
    assert terms == [1, 2, 3]


@pytest.mark.asyncio
async def test_a_look_leaves_the_term_as_it_is(make: Make) -> None:
    journal = make()
    await journal.open()
    await journal.append(rows(1), NOTHING)
    await journal.close()
    looking = make()
    assert await looking.open(only_look=True) == 1
    assert await seqs(looking) == [1]
    with pytest.raises(JournalError, match="another fleetd"):
        await make().open()
    await looking.close()
    last = make()
    assert await last.open() == 2
    await last.close()


@pytest.mark.asyncio
async def test_a_term_is_raised_and_never_lowered(make: Make) -> None:
    journal = make()
    await journal.open()
    assert await journal.raise_term(40) == 40
    assert await journal.raise_term(7) == 40
    await journal.append(rows(1), NOTHING)
    await journal.close()
    again = make()
    assert await again.open() == 41
    await again.close()


@pytest.mark.asyncio
async def test_a_second_owner_is_refused_and_raises_no_term(make: Make) -> None:
    first, second = make(), make()
    assert await first.open() == 1
    with pytest.raises(JournalError, match="another fleetd"):
        await second.open()
    await second.close()
    await first.append(rows(1), NOTHING)
    await first.close()
    third = make()
    assert await third.open() == 2
    await third.close()


@pytest.mark.parametrize("wrong", [(3,), (1,), (2, 4), (2, 2), (3, 2)])
@pytest.mark.asyncio
async def test_records_that_do_not_follow_the_head_change_nothing(make: Make, wrong: Sequence[int]) -> None:
    journal = make()
    await journal.open()
    await journal.append(rows(1), NOTHING)
    with pytest.raises(JournalError):
        await journal.append(rows(*wrong), NOTHING)
    assert await seqs(journal) == [1]
    await journal.append(rows(2), NOTHING)
    await journal.close()


@pytest.mark.asyncio
async def test_a_record_that_is_no_json_changes_nothing(make: Make) -> None:
    journal = make()
    await journal.open()
    bad = Record(2, 1, 2.0, "", "", "Something", 1, {"what": object()})
    with pytest.raises((JournalError, TypeError)):
        await journal.append([*rows(1), bad], NOTHING)
    assert await seqs(journal) == []
    await journal.close()


@pytest.mark.asyncio
async def test_a_journal_that_is_not_open_takes_nothing(make: Make) -> None:
    with pytest.raises(JournalError):
        await make().append(rows(1), NOTHING)


BASE = replace(rows(3)[0], rollout="", host="", kind=BASELINE)


@pytest.mark.asyncio
async def test_a_baseline_takes_the_place_of_all_before_it_and_the_rest_goes_on(make: Make) -> None:
    journal = make()
    await journal.open()
    later = [replace(record, rollout="r-2") for record in rows(4, 5)]
    await journal.append([*rows(1, 2, 3), *later], NOTHING)
    assert [(span.rollout, span.first, span.last, span.last_at) for span in await journal.spans()] == [
        ("r-1", 1, 3, 3.0),
        ("r-2", 4, 5, 5.0),
    ]
    await journal.shorten(BASE, ["r-1"])
    assert list(await journal.replay()) == [BASE, *later]
    assert list(await journal.read(after=0, limit=2)) == [BASE, later[0]]
    await journal.append(rows(6), NOTHING)
    assert await seqs(journal) == [3, 4, 5, 6]
    await journal.close()


@pytest.mark.asyncio
async def test_a_rollout_that_goes_on_after_it_lets_no_baseline_be_written(make: Make) -> None:
    journal = make()
    await journal.open()
    await journal.append(rows(1, 2, 3, 4), NOTHING)
    with pytest.raises(JournalError, match="goes on after"):
        await journal.shorten(BASE, ["r-1"])
    assert await seqs(journal) == [1, 2, 3, 4]
    await journal.close()
