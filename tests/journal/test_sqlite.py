"""The journal: one owner, a term that rises, and nothing between whole and not at all."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from fleetd.errors import CorruptJournal, JournalError
from fleetd.journal.sqlite import SqliteJournal
from fleetd.ports import ReadModels, Record
from fleetd.rollout.stored import BASELINE

NOTHING = ReadModels({}, {}, {}, {})


def record(seq: int) -> Record:
    return Record(seq, 1, float(seq), "r-1", "web1", "Something", 1, {"n": seq})


def files_in(directory: Path) -> set[str]:
    return {entry.name for entry in directory.iterdir()}


@pytest.mark.asyncio
async def test_what_was_appended_is_replayed_and_the_term_rises(tmp_path: Path) -> None:
    journal = SqliteJournal(tmp_path)
    assert await journal.open() == 1
    await journal.append([record(1), record(2)], NOTHING)
    await journal.close()
    again = SqliteJournal(tmp_path)
    assert await again.open() == 2
    assert [entry.seq for entry in await again.replay()] == [1, 2]
    await again.close()


@pytest.mark.asyncio
async def test_a_second_owner_is_refused_by_name(tmp_path: Path) -> None:
    journal = SqliteJournal(tmp_path)
    await journal.open()
    other = SqliteJournal(tmp_path)
    with pytest.raises(JournalError, match=r"another fleetd \(pid"):
        await other.open()
    await other.close()
    await journal.close()


@pytest.mark.asyncio
async def test_a_wrong_head_changes_nothing(tmp_path: Path) -> None:
    journal = SqliteJournal(tmp_path)
    await journal.open()
    await journal.append([record(1)], NOTHING)
    with pytest.raises(JournalError, match="lost the journal"):
        await journal.append([record(3)], NOTHING)
    assert [entry.seq for entry in await journal.replay()] == [1]
    await journal.close()


@pytest.mark.asyncio
async def test_events_are_found_by_number_rollout_and_host(tmp_path: Path) -> None:
    journal = SqliteJournal(tmp_path)
    await journal.open()
    assert (await journal.oldest(), await journal.head()) == (1, 0)
    other = [Record(seq, 1, 1.0, "r-2", f"db{seq}", "Something", 1, {}) for seq in (3, 4)]
    await journal.append([record(1), record(2), *other], NOTHING)
    found = [
        await journal.events(after=0, limit=9),
        await journal.events(after=1, limit=2),
        await journal.events(after=0, limit=9, rollout="r-2"),
        await journal.events(after=0, limit=9, rollout="r-2", host="db4"),
        await journal.events(after=0, limit=9, host="web1"),
        await journal.events(after=4, limit=9),
    ]
    assert [[entry.seq for entry in page] for page in found] == [[1, 2, 3, 4], [2, 3], [3, 4], [4], [1, 2], []]
    assert (await journal.oldest(), await journal.head()) == (1, 4)
    await journal.close()


@pytest.mark.asyncio
async def test_records_that_are_gone_are_told_by_number(tmp_path: Path) -> None:
    journal = SqliteJournal(tmp_path)
    await journal.open()
    await journal.append([record(1), record(2), record(3)], NOTHING)
    await journal.close()
    for gone, told in ((1, "record 1 is missing"), (2, "record 1 is missing"), (3, "the head says 3")):
        with closing(sqlite3.connect(tmp_path / "journal.sqlite")) as file, file:
            file.execute("DELETE FROM journal WHERE seq = ?", (gone,))
        again = SqliteJournal(tmp_path)
        await again.open()
        with pytest.raises(JournalError, match=told):
            await again.replay()
        await again.close()


@pytest.mark.asyncio
async def test_a_page_that_is_lost_is_told_with_the_last_record_before_it(tmp_path: Path) -> None:
    journal = SqliteJournal(tmp_path)
    await journal.open()
    await journal.append([replace(record(seq), data={"text": "x" * 1000}) for seq in range(1, 200)], NOTHING)
    await journal.close()
    with closing(sqlite3.connect(tmp_path / "journal.sqlite")) as file:
        file.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    whole = bytearray((tmp_path / "journal.sqlite").read_bytes())
    page = len(whole) // 2 // 4096 * 4096
    whole[page : page + 4096] = b"\xff" * 4096
    (tmp_path / "journal.sqlite").write_bytes(whole)
    again = SqliteJournal(tmp_path)
    await again.open()
    with pytest.raises(CorruptJournal, match=r"what follows record [1-9]\d* cannot be read: .*malformed.*backup"):
        await again.replay()
    await again.close()


@pytest.mark.asyncio
async def test_a_backup_that_is_taken_while_it_is_written_to_is_whole(tmp_path: Path) -> None:
    """As ``sqlite3 journal.sqlite '.backup FILE'`` takes it: by pages, with writes between them."""
    journal = SqliteJournal(tmp_path / "state")
    await journal.open()
    await journal.append([record(seq) for seq in range(1, 2000)], NOTHING)
    (tmp_path / "restored").mkdir()
    written = 2000

    def copy() -> None:
        source = sqlite3.connect(tmp_path / "state" / "journal.sqlite")
        target = sqlite3.connect(tmp_path / "restored" / "journal.sqlite")
        with closing(source), closing(target):
            source.backup(target, pages=2, sleep=0.002)

    copying = asyncio.create_task(asyncio.to_thread(copy))
    while not copying.done():
        await journal.append([record(written)], NOTHING)
        written += 1
        await asyncio.sleep(0.02)
    await copying
    restored = SqliteJournal(tmp_path / "restored")
    assert await restored.open() == 2
    kept = [entry.seq for entry in await restored.replay()]
    assert kept == list(range(1, len(kept) + 1))
    assert 2000 <= len(kept) + 1 <= written
    await restored.close()
    await journal.close()


@pytest.mark.asyncio
async def test_a_baseline_is_the_beginning_and_what_is_missing_after_it_is_told(tmp_path: Path) -> None:
    journal = SqliteJournal(tmp_path)
    await journal.open()
    await journal.append([record(seq) for seq in range(1, 6)], NOTHING)
    baseline = replace(record(5), rollout="", kind=BASELINE)
    await journal.shorten(baseline, ["r-1"])
    await journal.append([record(6), record(7)], NOTHING)
    assert list(await journal.replay()) == [baseline, record(6), record(7)]
    assert (await journal.oldest(), await journal.head()) == (5, 7)
    for gone, told in ((6, "record 6 is missing"), (5, "record 1 is missing")):
        with closing(sqlite3.connect(tmp_path / "journal.sqlite")) as file, file:
            file.execute("DELETE FROM journal WHERE seq = ?", (gone,))
        with pytest.raises(CorruptJournal, match=told):
            await journal.replay()
    await journal.close()


@pytest.mark.asyncio
async def test_documents_of_what_has_gone_are_gone_with_it(tmp_path: Path) -> None:
    journal = SqliteJournal(tmp_path)
    await journal.open()
    host = {"state": "committed", "wave": "all"}
    models = [ReadModels({name: {"id": name}}, {(name, "web1"): host}, {}, {}) for name in ("r-1", "r-2")]
    await journal.append([record(1)], models[0])
    await journal.append([replace(record(2), rollout="r-2")], models[1])
    await journal.shorten(replace(record(1), rollout="", kind=BASELINE), ["r-1"])
    assert await journal.rollout("r-1") is None
    assert [document["id"] for document in await journal.rollouts(before=None, limit=9)] == ["r-2"]
    found = [await journal.rollout_hosts(n, state=None, wave=None, after=None, limit=9) for n in ("r-1", "r-2")]
    assert list(map(len, found)) == [0, 1]
    await journal.close()


@pytest.mark.asyncio
async def test_the_journal_is_in_its_directory_whatever_that_is_called(tmp_path: Path) -> None:
    directory = tmp_path / "a?mode=memory#b%20c"
    journal = SqliteJournal(directory)
    await journal.open()
    await journal.append([record(1)], NOTHING)
    await journal.close()
    assert files_in(directory) >= {"journal.sqlite"}
    assert files_in(tmp_path) == {directory.name}
