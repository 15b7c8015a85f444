"""What keeps paths alive on the control node: links that Nix follows, all in one directory.

``ROLLOUT/…`` holds what was evaluated and built for one rollout, from the moment it exists; ``kept/…`` what is wanted
whatever rollouts come and go. Nix forgets a link's root by itself once the link is gone (indirect roots).
"""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from fleetd.errors import FleetdError, UsageError
from fleetd.nix import commands
from fleetd.process import nix
from fleetd.rollout.roots import WantedRoots

KEPT = "kept"
"""No rollout has this name."""

BATCH = 500
"""Paths in one call of Nix: well below what a command line may hold, and 10,000 hosts are 40 calls."""

TIMEOUT_S = 300.0
_LINK = re.compile(r"[0-9]+(-[0-9]+)?")
"""How Nix names the links of a batch: the first as it is told, and numbers behind it."""

_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")


def root_link(roots: Path, name: str) -> Path:
    """Return the link of a root name. Raises UsageError for a name that could lead out of the directory."""
    if not all(_PART.fullmatch(part) for part in name.split("/")):
        raise UsageError(
            f"{name!r} cannot be the name of a root (parts of letters, digits, '.', '_', '-', joined by '/')"
        )
    return (roots / name).absolute()


def make_place(link: Path) -> None:
    """Make the directory that the link of a root is in. Raises OSError."""
    link.parent.mkdir(parents=True, exist_ok=True)


class KeptRoots:
    """Brings the directory of roots to what is wanted, again and again.

    The first time in a process every link is made anew: a state directory that was moved or restored has links that
    Nix does not know.
    """

    def __init__(self, roots: Path, env: Mapping[str, str]) -> None:
        self._roots = roots.absolute()
        self._env = env
        self._known: frozenset[Path] = frozenset()
        """Links in ``kept`` that this process has made."""
        self._lock = asyncio.Lock()

    async def keep_only(self, wanted: Callable[[], WantedRoots]) -> None:
        """Keep what is wanted alive, as far as it is in the store, and forget all else.

        ``wanted`` is asked after the directory was read, so that what begins meanwhile is not taken for a leftover.
        Raises FleetdError when a root cannot be made or removed; what was kept until then still is.
        """
        async with self._lock:
            try:
                links, directories = await asyncio.to_thread(_read, self._roots)
                now = wanted()
                sound = {link: target for link, target in links.items() if link in self._known}
                kept, needed = frozenset(sound.values()), frozenset(now.paths)
                await self._make([path for path in now.paths if path not in kept], links)
                # Only now: until here the old links hold what is wanted still.
                stale = [link for link in links if sound.get(link) not in needed]
                ended = [directory for directory in directories if directory.name not in now.rollouts]
                await asyncio.to_thread(_remove, stale, ended)
                self._known = frozenset((await asyncio.to_thread(_read, self._roots))[0])
            except OSError as error:
                raise FleetdError(f"the roots in {self._roots} cannot be brought up to date: {error}") from error

    async def _make(self, paths: Sequence[str], links: Iterable[Path]) -> None:
        number = 1 + max((int(link.name.partition("-")[0]) for link in links), default=0)
        for first in range(0, len(paths), BATCH):
            batch = paths[first : first + BATCH]
            here = await self._valid(batch)
            if here:
                link = self._roots / KEPT / f"{number + first // BATCH}"
                await self._nix(commands.keep(here, str(link)), "what hosts run cannot be kept alive")

    async def _valid(self, paths: Sequence[str]) -> list[str]:
        """Return those in the store: what ran on a host before fleetd came is often only there."""
        printed = await self._nix(commands.invalid(paths), "the store cannot be asked what it has")
        invalid = frozenset(printed.split())
        return [path for path in paths if path not in invalid]

    async def _nix(self, argv: list[str], what: str) -> str:
        printed = await nix(argv, what, FleetdError, timeout_s=TIMEOUT_S, env=self._env)
        return printed.decode("utf-8", errors="replace")


def _read(roots: Path) -> tuple[dict[Path, str], list[Path]]:
    """Return the links in ``kept`` with what they keep, and the directories of rollouts."""
    (roots / KEPT).mkdir(parents=True, exist_ok=True)
    links = {link: str(link.readlink()) for link in (roots / KEPT).iterdir() if _LINK.fullmatch(link.name)}
    directories = [
        place for place in roots.iterdir() if place.name != KEPT and place.is_dir() and not place.is_symlink()
    ]
    return links, directories


def _remove(links: Iterable[Path], directories: Iterable[Path]) -> None:
    for link in links:
        link.unlink(missing_ok=True)
    for directory in directories:
        shutil.rmtree(directory)
