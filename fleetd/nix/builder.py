"""Evaluates and builds on the control node, with Nix as it is configured there."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from fleetd.errors import SourceError, ToplevelError
from fleetd.model.fleet import FileAttribute, Installable, Prebuilt, ToplevelSource
from fleetd.model.store_path import StorePath, parse_store_path
from fleetd.nix import commands
from fleetd.nix.process import ChildOutputTooLong, ChildTimeout, Done, run


class NixBuilder:
    """The port ``Builder``."""

    def __init__(self, roots: Path) -> None:
        self._roots = roots

    async def evaluate(self, name: str, source: ToplevelSource, *, timeout_s: float) -> str:
        """Return the derivation of a host's toplevel, or the toplevel itself. Raises SourceError."""
        match source:
            case Prebuilt(toplevel):
                return toplevel
            case Installable(text):
                argv = commands.evaluate_flake(text)
            case FileAttribute(file, attribute):
                argv = commands.evaluate_file(file, attribute)
        done = await _nix(argv, f"{name} does not evaluate", timeout_s)
        derivation = done.stdout.decode().strip().split("!")[0]
        if not derivation.endswith(".drv"):
            raise SourceError(f"{name}: {' '.join(argv[:4])}… gave {derivation[:200]!r}, which is no derivation")
        return derivation

    async def build(self, derivation: str, root: str, *, timeout_s: float) -> StorePath:
        """Build and keep alive. Raises SourceError in Nix's words."""
        link = self._roots / root
        await asyncio.to_thread(link.parent.mkdir, parents=True, exist_ok=True)
        argv = commands.build(derivation, str(link))
        done = await _nix(argv, f"{derivation} does not build", timeout_s)
        # It prints the root for each output; the toplevel has one.
        line = done.stdout.decode().strip().splitlines()
        target = await asyncio.to_thread(_resolve, line[0] if line else str(link))
        try:
            return parse_store_path(target)
        except ToplevelError as error:
            raise SourceError(f"{derivation}: Nix built {target!r}, which is not a store path") from error

    async def lock(self, flake: str, *, timeout_s: float) -> str:
        """Return the locked reference. Raises SourceError."""
        done = await _nix(commands.lock(flake), f"the flake {flake} cannot be locked", timeout_s)
        try:
            locked = json.loads(done.stdout)["url"]
        except (ValueError, KeyError, TypeError) as error:
            raise SourceError(f"the flake {flake}: its metadata has no locked url") from error
        return str(locked)


def _resolve(link: str) -> str:
    return str(Path(link).resolve())


async def _nix(argv: list[str], what: str, timeout_s: float) -> Done:
    try:
        done = await run(argv, timeout_s=timeout_s)
    except (ChildTimeout, ChildOutputTooLong) as error:
        raise SourceError(f"{what}: {error}") from error
    except OSError as error:
        raise SourceError(f"{what}: {argv[0]} cannot be started: {error}") from error
    if done.status != 0:
        raise SourceError(f"{what}: {done.stderr.strip() or f'exit {done.status}'}")
    return done
