"""A fleet that another tool's files describe, and the fleet file that adds to it what only fleetd knows.

Hosts come from the other tool. The fleet file, where there is one, adds checks, policies and defaults, and what it says
of a host wins. A host that only the fleet file names is a mistake: it would be deployed by nobody.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleetd.errors import ConfigError
from fleetd.sources.file import FleetFile
from fleetd.sources.ssh_options import read_ssh_options

PRIVILEGES = ("sudo", "run0", "doas")

HostTable = dict[str, object]
Read = Callable[[object, str, "LeftOut"], dict[str, HostTable]]
"""From the other tool's data, its place in messages and what may be left out, to hosts. Raises ConfigError."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What of the other tool's files fleetd does not carry, and the user knows that it does not."""

    words: frozenset[str]

    def problem(self, word: str, what: str) -> list[str]:
        """Return the line that tells of it, unless the user has said so."""
        if word in self.words:
            return []
        return [f'{what}: not carried by fleetd; fleet.leave_out = ["{word}"] says that something else sees to it']


class ImportedFleet:
    """A table source (see ``sources.reader``).

    Args:
        place: the other tool's output or file, for messages.
        evaluate: returns that as JSON text. Raises SourceError in Nix's words.
        read: makes tables of hosts of it.
        left_out: see ``LeftOut``.
        additions: the fleet file that adds to it; None for none.
    """

    def __init__(
        self,
        place: str,
        evaluate: Callable[[], Awaitable[str]],
        read: Read,
        left_out: LeftOut,
        additions: FleetFile | None = None,
    ) -> None:
        self._from = place
        self._evaluate = evaluate
        self._read = read
        self._left_out = left_out
        self._additions = additions
        self.place = f"{place} with {additions.place}" if additions else place
        self.base: Path | None = additions.base if additions else None

    async def read(self) -> object:
        """Return the table as it is now. Raises ConfigError, SourceError."""
        added = await self._additions.read() if self._additions else {}
        text = await self._evaluate()
        try:
            data: object = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"{self._from}: Nix printed no JSON: {error}") from error
        return together(self._read(data, self._from, self._left_out), added, self.place)


def together(hosts: Mapping[str, HostTable], added: object, place: str) -> dict[str, Any]:
    """Return one table of both. Raises ConfigError."""
    if not isinstance(added, dict):
        raise ConfigError(f"{place}: expected a table with checks, policies and more of hosts")
    more = added.get("hosts", {})
    if not isinstance(more, dict):
        raise ConfigError(f"{place}: hosts: expected a table")
    unknown = sorted(set(more) - set(hosts))
    if unknown:
        lines = [f"{place}: hosts.{name}: there is no such host (there are: {', '.join(hosts)})" for name in unknown]
        raise ConfigError("\n".join(lines))
    merged: dict[str, object] = {}
    for name, host in hosts.items():
        extra = more.get(name, {})
        if not isinstance(extra, dict):
            # Left for the schema to complain of.
            merged[name] = extra
            continue
        # Another source of the toplevel takes the place of the imported one.
        replaced = ("installable", "hive") if {"installable", "file", "hive", "toplevel"} & set(extra) else ()
        merged[name] = {**{key: value for key, value in host.items() if key not in replaced}, **extra}
    return {**added, "hosts": merged}


def login(user: str | None, privilege: str | None) -> tuple[HostTable, str]:
    """Return how to log in and become root, and what is wrong with it (empty: nothing)."""
    if user is None:
        return {}, ""
    if user == "root":
        return {"user": user, "privilege": "none"}, ""
    word = (privilege or "sudo").rsplit("/", 1)[-1]
    if word in PRIVILEGES:
        return {"user": user, "privilege": word}, ""
    return {}, f"{privilege!r} is no way to become root that fleetd knows (there are: {', '.join(PRIVILEGES)})"


def connection(options: list[str], names: set[str], where: str, left_out: LeftOut) -> tuple[HostTable, list[str]]:
    """Return port and jump from options of ``ssh``, and what of them cannot be followed."""
    read = read_ssh_options(options)
    others = list(read.others)
    table: HostTable = {}
    if read.port is not None:
        table["port"] = read.port
    if read.jump is not None and read.jump in names:
        table["jump"] = read.jump
    elif read.jump is not None:
        others.append(f"-J {read.jump}, which is no host of this fleet")
    return table, left_out.problem("ssh-options", f"{where} {' '.join(others)!r}") if others else []
