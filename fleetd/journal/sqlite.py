"""``SqliteJournal``: ports ``Journal`` and ``History`` over one SQLite file.

One thread writes, another reads committed state only. ``synchronous=FULL`` on a write-ahead log: a transaction that
was acknowledged survives a power cut; with NORMAL, the usual recipe, it would not (sqlite.org/wal.html).
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, Engine, Select, create_engine, delete, event, func, insert, select, update
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.exc import SQLAlchemyError

from fleetd.errors import CorruptJournal, JournalError
from fleetd.journal import tables
from fleetd.ports import ReadModels, Record
from fleetd.rollout.stored import Span, first_seq

Result = TypeVar("Result")
Document = Mapping[str, object]

FILE = "journal.sqlite"
LOCK = "lock"

_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class SqliteJournal:
    """Opened once by the process that owns the state directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lock: int | None = None
        self._term = 0
        self._engine: Engine | None = None
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="journal-writer")
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="journal-reader")

    async def open(self, *, only_look: bool = False) -> int:
        """Take ownership and raise the term. Raises JournalError when another process owns the directory."""
        return await self._on(self._writer, lambda: self._open(0 if only_look else 1))

    def _open(self, terms: int) -> int:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = _own(self._directory / LOCK)
        engine = create_engine(URL.create("sqlite", database=str(self._directory / FILE)))
        event.listen(engine, "connect", _pragmas)
        self._engine = engine
        with engine.begin() as connection:
            tables.metadata.create_all(connection)
            if connection.execute(select(tables.head.c.seq)).first() is None:
                connection.execute(insert(tables.head).values(one=1, seq=0, term=0))
            connection.execute(update(tables.head).values(term=tables.head.c.term + terms))
            self._term = connection.execute(select(tables.head.c.term)).scalar_one()
        return self._term

    async def raise_term(self, least: int) -> int:
        """Raise the term to at least this one."""

        def raise_it() -> int:
            with self._engine_or_fail().begin() as connection:
                mine = update(tables.head).where(tables.head.c.term == self._term)
                if connection.execute(mine.values(term=max(self._term, least))).rowcount != 1:
                    raise JournalError(f"{self._place()}: another controller wrote here; this one has lost the journal")
            self._term = max(self._term, least)
            return self._term

        return await self._on(self._writer, raise_it)

    async def replay(self) -> Sequence[Record]:
        """Return every record. Raises JournalError naming the first that cannot be read."""
        return await self._on(self._writer, self._replay)

    def _replay(self) -> list[Record]:
        records: list[Record] = []
        with self._connect() as connection:
            try:
                records.extend(map(_record, connection.execute(select(tables.journal).order_by(tables.journal.c.seq))))
            except SQLAlchemyError as error:
                after = f"what follows record {records[-1].seq}" if records else "the first record"
                raise CorruptJournal(f"{self._place()}: {after} cannot be read: {_words(error)}") from error
            head = connection.execute(select(tables.head.c.seq)).scalar_one()
        for expected, record in enumerate(records, first_seq(records)):
            if record.seq != expected:
                raise CorruptJournal(f"{self._place()}: record {expected} is missing (the next one is {record.seq})")
        newest = records[-1].seq if records else 0
        if newest != head:
            raise CorruptJournal(f"{self._place()}: the head says {head}, and the newest record is {newest}")
        return records

    async def read(self, *, after: int, limit: int) -> Sequence[Record]:
        """Return committed records with a larger seq."""
        return await self.events(after=after, limit=limit)

    async def spans(self) -> Sequence[Span]:
        """Return where the records of each rollout lie."""
        column = tables.journal.c
        of_each = select(column.rollout, func.min(column.seq), func.max(column.seq), func.max(column.at))
        query = of_each.where(column.rollout != "").group_by(column.rollout).order_by(func.min(column.seq))

        def read() -> list[Span]:
            with self._connect() as connection:
                return [Span(*row) for row in connection.execute(query)]

        return await self._on(self._reader, read)

    async def shorten(self, baseline: Record, gone: Sequence[str]) -> None:
        """Put a baseline in the place of all records up to its own, whole or not at all."""
        await self._on(self._writer, lambda: self._shorten(baseline, gone))

    def _shorten(self, baseline: Record, gone: Sequence[str]) -> None:
        column = tables.journal.c
        with self._engine_or_fail().begin() as connection:
            # Written first, so that nobody else can write before the end of it.
            mine = update(tables.head).where(tables.head.c.term == self._term, tables.head.c.seq >= baseline.seq)
            if connection.execute(mine.values(term=self._term)).rowcount != 1:
                raise JournalError(f"{self._place()}: another controller wrote here; this one has lost the journal")
            for name in gone:
                later = select(column.seq).where(column.seq > baseline.seq, column.rollout == name).limit(1)
                if connection.execute(later).first() is not None:
                    raise JournalError(f"{self._place()}: {name} goes on after record {baseline.seq}")
                connection.execute(delete(tables.rollouts).where(tables.rollouts.c.id == name))
                connection.execute(delete(tables.rollout_hosts).where(tables.rollout_hosts.c.rollout == name))
            connection.execute(delete(tables.journal).where(column.seq <= baseline.seq))
            connection.execute(insert(tables.journal), [_row(baseline)])

    async def append(self, records: Sequence[Record], models: ReadModels) -> None:
        """Write one transaction. Raises JournalError for anything that goes wrong: the caller must end."""
        await self._on(self._writer, lambda: self._append(records, models))

    def _append(self, records: Sequence[Record], models: ReadModels) -> None:
        with self._engine_or_fail().begin() as connection:
            if records:
                self._advance(connection, records)
                connection.execute(insert(tables.journal), [_row(record) for record in records])
            _write_models(connection, models)

    def _advance(self, connection: Connection, records: Sequence[Record]) -> None:
        before = records[0].seq - 1
        if [record.seq for record in records] != list(range(before + 1, before + 1 + len(records))):
            raise JournalError(f"{self._place()}: records are not in one unbroken row")
        moved = connection.execute(
            update(tables.head)
            .where(tables.head.c.seq == before, tables.head.c.term == self._term)
            .values(seq=before + len(records))
        )
        if moved.rowcount != 1:
            raise JournalError(f"{self._place()}: another controller wrote here; this one has lost the journal")

    async def close(self) -> None:
        """Let go of the ownership."""

        def close() -> None:
            if self._engine is not None:
                self._engine.dispose()
            if self._lock is not None:
                os.close(self._lock)
                self._lock = None

        await self._on(self._writer, close)
        self._writer.shutdown()
        self._reader.shutdown()

    # -- History ------------------------------------------------------------------------------------------------

    async def rollouts(self, *, before: str | None, limit: int) -> Sequence[Document]:
        """Return rollouts, newest first."""
        table = tables.rollouts
        query = select(table.c.document).order_by(table.c.number.desc()).limit(limit)
        if before is not None:
            edge = select(table.c.number).where(table.c.id == before).scalar_subquery()
            query = query.where(table.c.number < edge)
        return await self._documents(query)

    async def rollout(self, rollout: str) -> Document | None:
        """Return one rollout."""
        return await self._one(select(tables.rollouts.c.document).where(tables.rollouts.c.id == rollout))

    async def rollout_hosts(
        self, rollout: str, *, state: str | None, wave: str | None, after: str | None, limit: int
    ) -> Sequence[Document]:
        """Return hosts of a rollout, by name."""
        table = tables.rollout_hosts
        query = select(table.c.document).where(table.c.rollout == rollout).order_by(table.c.host).limit(limit)
        if state is not None:
            query = query.where(table.c.state == state)
        if wave is not None:
            query = query.where(table.c.wave == wave)
        if after is not None:
            query = query.where(table.c.host > after)
        return await self._documents(query)

    async def hosts(self) -> Mapping[str, Document]:
        """Return what is recorded of each host."""

        def read() -> dict[str, Document]:
            with self._connect() as connection:
                rows = connection.execute(select(tables.hosts.c.name, tables.hosts.c.document)).all()
            return {name: json.loads(document) for name, document in rows}

        return await self._on(self._reader, read)

    async def request(self, key: str) -> Document | None:
        """Return what a request with this key was answered."""
        return await self._one(select(tables.requests.c.document).where(tables.requests.c.key == key))

    async def events(self, *, after: int, limit: int, rollout: str = "", host: str = "") -> Sequence[Record]:
        """Return records with a larger seq; of one rollout, of one host, where they are named."""
        query = select(tables.journal).where(tables.journal.c.seq > after).order_by(tables.journal.c.seq).limit(limit)
        if rollout:
            query = query.where(tables.journal.c.rollout == rollout)
        if host:
            query = query.where(tables.journal.c.host == host)

        def read() -> list[Record]:
            with self._connect() as connection:
                return [_record(row) for row in connection.execute(query)]

        return await self._on(self._reader, read)

    async def oldest(self) -> int:
        """Return the seq of the oldest record that is kept; 1 when there is none yet."""

        def read() -> int:
            with self._connect() as connection:
                return int(connection.execute(select(func.min(tables.journal.c.seq))).scalar() or 1)

        return await self._on(self._reader, read)

    async def head(self) -> int:
        """Return the newest seq."""

        def read() -> int:
            with self._connect() as connection:
                return int(connection.execute(select(func.max(tables.head.c.seq))).scalar_one())

        return await self._on(self._reader, read)

    async def _documents(self, query: Select[Any]) -> list[Document]:
        def read() -> list[Document]:
            with self._connect() as connection:
                return [json.loads(document) for document in connection.execute(query).scalars()]

        return await self._on(self._reader, read)

    async def _one(self, query: Select[Any]) -> Document | None:
        found = await self._documents(query.limit(1))
        return found[0] if found else None

    # -- plumbing -----------------------------------------------------------------------------------------------

    async def _on(self, pool: ThreadPoolExecutor, work: Callable[[], Result]) -> Result:
        try:
            return await asyncio.get_running_loop().run_in_executor(pool, work)
        except SQLAlchemyError as error:
            told = f"{self._place()}: {_words(error)}"
            code = getattr(getattr(error, "orig", None), "sqlite_errorcode", None)
            raise (CorruptJournal(told) if code in _DAMAGED else JournalError(told)) from error
        except OSError as error:
            raise JournalError(f"{error.filename or self._place()}: {error.strerror}") from error
        except ValueError as error:
            raise JournalError(f"{self._place()}: {error}") from error

    def _connect(self) -> Connection:
        return self._engine_or_fail().connect()

    def _engine_or_fail(self) -> Engine:
        if self._engine is None:
            raise JournalError(f"{self._place()} is not open")
        return self._engine

    def _place(self) -> str:
        return str(self._directory / FILE)


def _words(error: SQLAlchemyError) -> str:
    """Return SQLite's own words, without the link that the library adds to them."""
    return str(getattr(error, "orig", None) or error)


def _own(path: Path) -> int:
    """Hold a lock for the process's life. Raises JournalError naming the process that holds it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        owner = os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"
        os.close(descriptor)
        raise JournalError(f"another fleetd (pid {owner}) owns {path.parent}") from error
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"{os.getpid()}\n".encode())
    return descriptor


def _pragmas(connection: Any, _record: object) -> None:
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=10000", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _row(record: Record) -> dict[str, object]:
    return {
        "seq": record.seq,
        "term": record.term,
        "at": record.at,
        "rollout": record.rollout,
        "host": record.host,
        "kind": record.kind,
        "version": record.version,
        "data": json.dumps(record.data, separators=(",", ":")),
    }


def _record(row: Any) -> Record:
    try:
        data = json.loads(row.data)
    except ValueError as error:
        raise CorruptJournal(f"record {row.seq} ({row.kind}) of the journal cannot be read: {error}") from error
    return Record(row.seq, row.term, row.at, row.rollout, row.host, row.kind, row.version, data)


def _write_models(connection: Connection, models: ReadModels) -> None:
    for name, document in models.rollouts.items():
        number = int(name.rpartition("-")[2])
        _put(connection, tables.rollouts, {"id": name, "number": number}, document, ["id"])
    for (rollout, host), document in models.rollout_hosts.items():
        keys = {"rollout": rollout, "host": host, "state": document["state"], "wave": document["wave"]}
        _put(connection, tables.rollout_hosts, keys, document, ["rollout", "host"])
    for name, document in models.hosts.items():
        _put(connection, tables.hosts, {"name": name}, document, ["name"])
    for key, document in models.requests.items():
        _put(connection, tables.requests, {"key": key}, document, ["key"])


def _put(
    connection: Connection, table: Any, keys: Mapping[str, object], document: Document, primary: list[str]
) -> None:
    values = {**keys, "document": json.dumps(document, separators=(",", ":"))}
    statement = upsert(table).values(values)
    changed = {name: statement.excluded[name] for name in values if name not in primary}
    connection.execute(statement.on_conflict_do_update(index_elements=primary, set_=changed))
