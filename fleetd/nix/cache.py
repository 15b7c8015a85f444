"""The other way to hosts: everything goes to a binary cache once, and hosts fetch it from there as Nix does anyway."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from fleetd.errors import PushError
from fleetd.model.store_path import StorePath
from fleetd.nix import commands
from fleetd.process import nix

PUBLISH_TIMEOUT_S = 3600.0
"""The first revision of a fleet is tens of gigabytes."""

REMEMBERED = 10_000

REST_S = 600.0
"""How long a cache that failed is left alone: every host has a closure of its own to publish, one after the other, and
each attempt may take Nix minutes of its own retries. Meanwhile what hosts lack is sent to them."""


class BinaryCache:
    """A cache by its URL, as ``nix copy --to`` takes it; keys and compression are parameters of that URL."""

    def __init__(self, url: str, env: Mapping[str, str] | None = None) -> None:
        self._url = url
        self._shown = url.partition("?")[0]
        self._env = dict(env or {})
        self._published: dict[StorePath, None] = {}
        # Nix does not ask twice for what it has just copied; two processes at once would send shared paths twice.
        self._lock = asyncio.Lock()
        self._rests_until = 0.0

    async def publish(self, toplevel: StorePath) -> None:
        """Copy a closure there, once. Raises PushError in Nix's words, at once for a while after a failure."""
        async with self._lock:
            if toplevel in self._published:
                return
            now = asyncio.get_running_loop().time()
            if now < self._rests_until:
                text = f"is left alone for {self._rests_until - now:.0f} s more, since it failed"
                raise _refused(f"the binary cache {self._shown} {text}")
            argv = commands.publish(toplevel, self._url)
            what = f"{toplevel} cannot be copied to the binary cache {self._shown}"
            try:
                await nix(argv, what, _refused, timeout_s=PUBLISH_TIMEOUT_S, env=self._env)
            except PushError:
                self._rests_until = asyncio.get_running_loop().time() + REST_S
                raise
            while len(self._published) >= REMEMBERED:
                del self._published[next(iter(self._published))]
            self._published[toplevel] = None


def _refused(text: str) -> PushError:
    return PushError("rejected", text)
