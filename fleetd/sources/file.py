"""A fleet file as a table: TOML, JSON or YAML, told apart by the name's ending."""

from __future__ import annotations

import asyncio
import io
import json
import tomllib
from collections.abc import Callable
from pathlib import Path

from fleetd.errors import ConfigError

LIMIT_BYTES = 16 * 1024 * 1024
"""10,000 hosts with everything that can be said of them are about 5 MB."""


class FleetFile:
    """A table source (see ``sources.reader``): one file, read anew each time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.place = str(path)
        self.base: Path | None = path.absolute().parent

    async def read(self) -> object:
        """Return the file's content. Raises ConfigError with the file's name and, where it does not parse, the line."""
        return await asyncio.to_thread(self._read)

    def _read(self) -> object:
        parse = _PARSERS.get(self._path.suffix)
        if parse is None:
            raise ConfigError(f"{self.place}: the name must end in one of {', '.join(_PARSERS)}, which says the format")
        try:
            with self._path.open("rb") as file:
                data = file.read(LIMIT_BYTES + 1)
        except OSError as error:
            raise ConfigError(f"{self.place}: cannot be read: {error.strerror}") from error
        if len(data) > LIMIT_BYTES:
            raise ConfigError(f"{self.place}: larger than {LIMIT_BYTES} bytes")
        try:
            return parse(data.decode())
        except (ValueError, RecursionError) as error:
            text = "nested too deeply" if isinstance(error, RecursionError) else str(error)
            raise ConfigError(f"{self.place}: {text}") from error


def _yaml(text: str) -> object:
    """Read YAML 1.2. Under 1.1, which other libraries read, the key ``on`` of a check is the truth value true."""
    from ruamel.yaml import YAML  # noqa: PLC0415  # most fleets are TOML, and need not wait for it
    from ruamel.yaml.error import YAMLError  # noqa: PLC0415

    try:
        table: object = YAML(typ="safe", pure=True).load(io.StringIO(text))
        return table
    except YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error
    except (LookupError, ArithmeticError, TypeError, AttributeError) as error:
        # What Python says of `!!bool maybe` or of "\UFFFFFFFF"; the library does not tell where.
        raise ValueError(f"a value does not fit its tag, or an escape is no character: {error}") from error


def _json(text: str) -> object:
    """Read JSON in which no key comes twice: of two hosts of one name the first would be lost without a word."""
    table: object = json.loads(text, object_pairs_hook=_table)
    return table


def _table(pairs: list[tuple[str, object]]) -> dict[str, object]:
    table: dict[str, object] = {}
    for key, value in pairs:
        if key in table:
            raise ValueError(f"the key {key!r} comes twice in one table")
        table[key] = value
    return table


_PARSERS: dict[str, Callable[[str], object]] = {
    ".toml": tomllib.loads,
    ".json": _json,
    ".yaml": _yaml,
    ".yml": _yaml,
}
