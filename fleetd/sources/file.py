"""The fleet from a file: TOML, or JSON."""

from __future__ import annotations

import asyncio
import json
import tomllib
from dataclasses import replace
from pathlib import Path

from fleetd.errors import ConfigError
from fleetd.model.fleet import FileAttribute, Fleet, Host, Installable, Prebuilt
from fleetd.schema.fleet_file import parse_fleet

LIMIT_BYTES = 16 * 1024 * 1024


class FileFleetSource:
    """The port ``FleetSource``. ``contact_s`` is one fresh contact; ``flake`` serves hosts without a source."""

    def __init__(self, path: Path, *, contact_s: float, flake: str | None = None) -> None:
        self._path = path
        self._contact_s = contact_s
        self._flake = flake

    async def load(self) -> Fleet:
        """Read the file anew. Raises ConfigError."""
        return await asyncio.to_thread(self.read)

    def read(self) -> Fleet:
        """Read the file anew. Raises ConfigError."""
        try:
            data = self._path.read_bytes()
        except OSError as error:
            raise ConfigError(f"{self._path}: cannot be read: {error.strerror}") from error
        if len(data) > LIMIT_BYTES:
            raise ConfigError(f"{self._path}: larger than {LIMIT_BYTES} bytes")
        try:
            table = json.loads(data) if self._path.suffix == ".json" else tomllib.loads(data.decode())
        except ValueError as error:
            raise ConfigError(f"{self._path}: {error}") from error
        if not isinstance(table, dict):
            raise ConfigError(f"{self._path}: expected a table")
        fleet = parse_fleet(table, file=str(self._path), flake=self._flake, contact_s=self._contact_s)
        return anchored(fleet, self._path.absolute().parent)


def anchored(fleet: Fleet, directory: Path) -> Fleet:
    """Return the fleet with Nix files found from the directory of its own file, wherever the daemon was started."""

    def anchor(host: Host) -> Host:
        match host.source:
            case FileAttribute(file, attribute):
                return replace(host, source=FileAttribute(str(directory / file), attribute))
            case Installable() | Prebuilt() | None:
                return host

    return replace(fleet, hosts={name: anchor(host) for name, host in fleet.hosts.items()})
