"""The control node's store: metadata of closures, what is a toplevel, and roots."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Mapping
from graphlib import CycleError
from pathlib import Path

from fleetd.errors import SourceError, ToplevelError
from fleetd.model.fleet import Host
from fleetd.model.store_path import StorePath, path_name, toplevel_belongs_to
from fleetd.nix import commands
from fleetd.nix.path_info import NotValid, ordered, parse_path_infos
from fleetd.nix.roots import KeptRoots
from fleetd.ports import PathInfo
from fleetd.process import nix
from fleetd.rollout.roots import WantedRoots

METADATA_TIMEOUT_S = 300.0
CLOSURES_KEPT = 64
"""A closure's metadata is about 1 MB; the same toplevels are asked for again within a rollout."""


class NixStore:
    """The port ``Store``.

    ``roots`` is the directory of the links that keep paths alive, ``env`` is added to Nix's environment, and
    ``real_root`` is where ``/nix/store`` really is when that environment says elsewhere.
    """

    def __init__(self, roots: Path, env: Mapping[str, str] | None = None, real_root: Path = Path("/")) -> None:
        self._env = dict(env or {})
        self._kept = KeptRoots(roots, self._env)
        self._real_root = real_root
        # Many hosts may ask for one toplevel at once: the first reads it.
        self._reading: dict[StorePath, asyncio.Lock] = {}
        self._closures: dict[StorePath, tuple[PathInfo, ...]] = {}

    async def closure(self, toplevel: StorePath) -> tuple[PathInfo, ...]:
        """Return the closure, references first.

        Raises ToplevelError when it is not in the store, SourceError when Nix cannot say.
        """
        async with self._reading.setdefault(toplevel, asyncio.Lock()):
            try:
                return await self._closure(toplevel)
            finally:
                self._reading.pop(toplevel, None)

    async def _closure(self, toplevel: StorePath) -> tuple[PathInfo, ...]:
        kept = self._closures.get(toplevel)
        # What was collected meanwhile is not in the store, whatever we remember of it.
        if kept is not None and await asyncio.to_thread(os.path.lexists, self._real(toplevel)):
            return kept
        what, argv = f"{toplevel} is not in the store", commands.path_info(toplevel)
        try:
            printed = await nix(argv, "Nix", SourceError, timeout_s=METADATA_TIMEOUT_S, env=self._env)
        except SourceError as error:
            # A Nix in trouble, as while its daemon is restarted, says nothing about a path that is there to be seen.
            is_there = await asyncio.to_thread(os.path.lexists, self._real(toplevel))
            if is_there and "is not valid" not in str(error):
                raise SourceError(f"{toplevel}: its metadata cannot be read: {error}") from error
            raise ToplevelError(f"{what}: {error}") from error
        try:
            closure = ordered(parse_path_infos(json.loads(printed)))
        except NotValid as error:
            raise ToplevelError(what) from error
        except (ValueError, KeyError, TypeError, CycleError, ToplevelError) as error:
            raise ToplevelError(f"{toplevel}: its metadata cannot be understood: {error!r}") from error
        while len(self._closures) >= CLOSURES_KEPT:
            del self._closures[next(iter(self._closures))]
        self._closures[toplevel] = closure
        return closure

    async def check_toplevel(self, toplevel: StorePath, host: Host) -> None:
        """Raise ToplevelError unless it is a toplevel of this host."""
        await self.closure(toplevel)
        await asyncio.to_thread(_check, toplevel, self._real(toplevel), host)

    async def keep_only(self, wanted: Callable[[], WantedRoots]) -> None:
        """Keep alive what is wanted and in the store; forget other roots. Raises FleetdError."""
        await self._kept.keep_only(wanted)

    def _real(self, path: StorePath) -> Path:
        return self._real_root / path.removeprefix("/")


def _check(toplevel: StorePath, place: Path, host: Host) -> None:
    for part in ("nixos-version", "init"):
        # Not followed: a part may be a link into the store, wherever that really is.
        if not os.path.lexists(place / part):
            raise ToplevelError(f"{toplevel} is not the toplevel of a NixOS system: it has no {part}")
    if not toplevel_belongs_to(toplevel, host.name):
        expected = f"its name would begin with nixos-system-{host.name}-"
        raise ToplevelError(f"{path_name(toplevel)} belongs to another host than {host.name} ({expected})")
    try:
        system = (place / "system").read_text(encoding="utf-8", errors="replace").strip()
    except FileNotFoundError as error:
        raise ToplevelError(f"{toplevel} is not the toplevel of a NixOS system: it has no system") from error
    except OSError as error:
        raise ToplevelError(f"{toplevel}: it cannot be read for which system it is built: {error}") from error
    if system != host.system:
        raise ToplevelError(f"{path_name(toplevel)} is built for {system}, and {host.name} is {host.system}")
