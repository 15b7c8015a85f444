"""From a table to a fleet, whatever the table came from; and the last good table, kept for a bad day.

A fleet file that somebody broke must not keep a restarted daemon from the hosts that it has in trial. So the last table
that was good is kept in the state directory, and a start falls back to it; new rollouts wait for the file to be mended.
"""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Protocol

from fleetd.errors import ConfigError
from fleetd.model.fleet import Fleet
from fleetd.schema.fleet_file import parse_fleet


class TableSource(Protocol):
    """Where a table comes from: a file, a flake."""

    place: str
    """Its name in messages."""

    base: Path | None
    """What relative paths in it are relative to; None where they make no sense."""

    async def read(self) -> object:
        """Return the table as it is now. Raises ConfigError, SourceError."""
        ...


class FleetReader:
    """The port ``FleetSource``.

    Args:
        table: where the table comes from.
        contact_s: n of the timing inequalities, one fresh contact.
        flake: serves hosts without a source of their own.
        keep: the file that keeps the last good table; None keeps none.
    """

    def __init__(
        self, table: TableSource, *, contact_s: float, flake: str | None = None, keep: Path | None = None
    ) -> None:
        self._table = table
        self._contact_s = contact_s
        self._flake = flake
        self._keep = keep
        self._kept = ""
        self._keeping = asyncio.Lock()

    async def load(self) -> Fleet:
        """Read it anew, and keep it when it is good. Raises ConfigError, SourceError."""
        table = await self._table.read()
        fleet = await asyncio.to_thread(self._parse, table, self._table.place)
        async with self._keeping:
            await asyncio.to_thread(self._keep_table, table)
        return fleet

    async def last_good(self) -> Fleet | None:
        """Return the last fleet that was good, or None when none is kept. Raises ConfigError, if it is none now."""
        if self._keep is None:
            return None
        try:
            text = await asyncio.to_thread(self._keep.read_text)
            return await asyncio.to_thread(self._parse, json.loads(text), str(self._keep))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise ConfigError(f"{self._keep}: {error}") from error

    def _parse(self, table: object, place: str) -> Fleet:
        if not isinstance(table, dict):
            raise ConfigError(f"{place}: expected a table with hosts, checks, policies")
        base = self._table.base
        return parse_fleet(table, file=place, flake=self._flake, contact_s=self._contact_s, base=base)

    def _keep_table(self, table: object) -> None:
        # A value that JSON does not know (a date of TOML) passes no check of the schema, so none comes this far.
        text = json.dumps(table)
        if self._keep is None or text == self._kept:
            return
        try:
            _replace(self._keep, text)
        except OSError as error:
            raise ConfigError(f"{self._keep}: cannot be written: {error.strerror}") from error
        self._kept = text


def _replace(path: Path, text: str) -> None:
    """Write a file whole or not at all, also through a power cut."""
    scratch = path.with_suffix(".tmp")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with scratch.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    scratch.replace(path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
