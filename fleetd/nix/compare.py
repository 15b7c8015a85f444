"""Two systems compared on the control node, from what its store knows of their closures."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from fleetd.errors import SourceError, ToplevelError
from fleetd.model.difference import SystemDiff
from fleetd.model.store_path import StorePath, parse_store_path
from fleetd.nix import commands
from fleetd.nix.blame import blame
from fleetd.nix.builder import wrapped_toplevel
from fleetd.nix.diff import diff
from fleetd.ports import Store
from fleetd.process import nix

QUERY_TIMEOUT_S = 60.0


class NixComparer:
    """The port ``Comparer``. ``real_root`` is where ``/nix/store`` really is when ``env`` says elsewhere."""

    def __init__(self, store: Store, env: Mapping[str, str] | None = None, real_root: Path = Path("/")) -> None:
        self._store = store
        self._env = dict(env or {})
        self._real_root = real_root

    async def built(self, target: str) -> StorePath | None:
        """Return the toplevel of a derivation, or the toplevel itself, where it is in the store; None: not built."""
        path = target
        if target.endswith(".drv"):
            what = f"the outputs of {target} cannot be asked for"
            argv = commands.outputs(target)
            printed = await nix(argv, what, SourceError, timeout_s=QUERY_TIMEOUT_S, env=self._env)
            path = (printed.decode().split() or [""])[0]
        try:
            toplevel = parse_store_path(path)
        except ToplevelError:
            return None
        if not await asyncio.to_thread(os.path.lexists, self._real_root / toplevel.removeprefix("/")):
            return None
        return await asyncio.to_thread(wrapped_toplevel, toplevel, self._real_root)

    async def compare(self, old: StorePath, new: StorePath) -> SystemDiff:
        """Compare two toplevels that are in the store. Raises ToplevelError where one is not."""
        return diff(await self._store.closure(old), await self._store.closure(new))

    async def blame(self, old: StorePath, new: StorePath, failing: Sequence[str]) -> str:
        """Say in a line what differs, what failing units use first. Raises ToplevelError where one is not there."""
        return blame(await self._store.closure(old), await self._store.closure(new), failing)
