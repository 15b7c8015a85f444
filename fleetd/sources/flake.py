"""A flake's ``fleet`` output as a table: plain data, so that reading it evaluates no NixOS system."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path

from fleetd.errors import ConfigError

OUTPUT = "fleet"


class FlakeFleet:
    """A table source (see ``sources.reader``).

    ``evaluate`` takes an installable, returns its value as JSON text, and raises SourceError in Nix's words.
    """

    def __init__(self, flake: str, evaluate: Callable[[str], Awaitable[str]]) -> None:
        self._evaluate = evaluate
        self.place = f"{flake}#{OUTPUT}"
        self.base: Path | None = None

    async def read(self) -> object:
        """Return the output as it is now. Raises SourceError, ConfigError."""
        text = await self._evaluate(self.place)
        try:
            table: object = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"{self.place}: Nix printed no JSON: {error}") from error
        return table
