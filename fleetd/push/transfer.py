"""One conversation with a host's ``nix-store --serve --write``: ask, stream, and read the answers beside it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from fleetd.errors import PushError
from fleetd.model.store_path import StorePath
from fleetd.ports import ByteChannel, PathInfo
from fleetd.push.archives import SharedArchives
from fleetd.push.bandwidth import Bandwidth
from fleetd.push.serve import Reader, hello, query_valid_paths
from fleetd.push.stale import MARKED

Progress = Callable[[int, int], None]
"""Takes bytes sent and bytes in all."""

TICK_S = 1.0
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class PushSettings:
    """Bounds of a push. Times in seconds."""

    server: tuple[str, ...] = (*MARKED, "nix-store", "--serve", "--write")
    """Found on the PATH of a command without login, as ``nix copy`` does; NixOS has it there."""

    root_directory: str = "/nix/var/nix/gcroots/fleetd"
    stall_s: float = 120.0
    """No byte taken and no answer for this long: an old server on the host holds a path's lock (nix issue 2699)."""

    link_timeout_s: float = 60.0
    root_timeout_s: float = 60.0
    last_words_s: float = 5.0
    """How long a server that ended may take to say why."""

    write_bytes: int = 128 * 1024
    """Small paths are gathered into writes of this size; at most twice as much is written at once."""

    bytes_per_s: float | None = None
    """The most that is sent, over all hosts; with compression, counted before it. None: no limit."""

    far_s: float = 0.01
    """A host with a longer round trip is far: one channel's 2 MiB for each would be less than 200 MB/s."""

    striped_bytes: int = 4 * 1024 * 1024
    """What is less than this is sent before stripes were set up, however far the host is."""

    in_flight_bytes: int = 64 * 1024 * 1024
    """Written and not yet taken, over all hosts; each host holds one write of it."""


class Transfer:
    """A server on a host, from the handshake on; ``slots`` bounds what all transfers hold in memory."""

    def __init__(
        self,
        host: str,
        channel: ByteChannel,
        settings: PushSettings,
        slots: asyncio.Semaphore,
        bandwidth: Bandwidth | None = None,
    ) -> None:
        self._host = host
        self._bandwidth = bandwidth or Bandwidth(None)
        self._held_back = False
        self._channel = channel
        self._settings = settings
        self._slots = slots
        self._reader = Reader(channel, host, self._moved)
        self._greeted = False
        self._moved_at = 0.0
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._begun_paths = 0

    def _moved(self) -> None:
        self._moved_at = asyncio.get_running_loop().time()

    async def missing(self, closure: Sequence[PathInfo], *, substitute: bool = False) -> tuple[PathInfo, ...]:
        """Return what the host lacks of a closure, in its order.

        The server keeps all of the closure from being collected until it ends. With ``substitute`` the host first
        gets what it can from its own caches; it says nothing meanwhile, so there only the outer timeout holds.
        """
        invalid = frozenset(await self.invalid([info.path for info in closure], substitute=substitute))
        return tuple(info for info in closure if info.path in invalid)

    async def invalid(self, paths: Sequence[StorePath], *, substitute: bool = False) -> list[StorePath]:
        """Return which of these paths the host lacks, in their order; see ``missing``.

        From now on they are kept from being collected, also by a collector that runs already (nix
        src/libstore/gc.cc, addTempRoot).
        """
        asking = self._ask(paths, substitute)
        valid = await (asking if substitute else self._watched(asking, "it does not say which paths it has"))
        return [path for path in paths if path not in valid]

    async def _ask(self, asked: Sequence[StorePath], substitute: bool) -> set[str]:
        question = query_valid_paths(asked, lock=True, substitute=substitute)
        self._channel.write(question if self._greeted else hello() + question)
        await self._channel.drain()
        await self._greet()
        valid = await self._reader.texts(limit=len(asked))
        if not valid <= set(asked):
            raise self._reader.garbled("names paths as valid that it was not asked about")
        return valid

    async def send(
        self, infos: Sequence[PathInfo], archives: SharedArchives, progress: Progress, *, last: bool = False
    ) -> None:
        """Stream paths, references first, without waiting for one before the next.

        Returns when each was acknowledged. With ``last`` the server's input ends behind them, so that a channel that
        gathers lets go of what it holds. Raises PushError, ServerEnded, OutcomeUnknown.
        """
        self._begun_paths = 0
        acked = 0

        async def acks() -> None:
            nonlocal acked
            await self._greet()
            for info in infos:
                if await self._reader.integer() != 1 or acked >= self._begun_paths:
                    raise self._reader.garbled(f"gives a wrong answer where it should acknowledge {info.path}")
                acked += 1

        async def both() -> None:
            tasks = [
                asyncio.create_task(self._stream(infos, archives, progress, last), name=f"push/{self._host}/send"),
                asyncio.create_task(acks(), name=f"push/{self._host}/acks"),
            ]
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
                # The sender first: what it finds wrong here explains what the server then says.
                for task in tasks:
                    if task.done():
                        task.result()
            finally:
                await _end(tasks)

        await self._watched(both(), lambda: f"{acked} of {len(infos)} paths arrived, then nothing moved")

    async def _watched(self, work: Coroutine[Any, Any, T], what: str | Callable[[], str]) -> T:
        """Do work that is abandoned when nothing moves in either direction."""
        limit_s = self._settings.stall_s
        self._moved()
        loop = asyncio.get_running_loop()
        task = loop.create_task(work)
        try:
            while not task.done():
                await asyncio.wait([task], timeout=min(TICK_S, limit_s / 4))
                if not task.done() and not self._held_back and loop.time() - self._moved_at > limit_s:
                    text = what if isinstance(what, str) else what()
                    hint = "does an older copy, or a nix-store --serve that was left behind, hold a path's lock there?"
                    raise PushError("stalled", f"{self._host}: {text} for {limit_s:g} s; {hint}")
            return task.result()
        finally:
            await _end([task])

    async def _greet(self) -> None:
        if not self._greeted:
            await self._reader.handshake()
            self._greeted = True

    async def _stream(
        self, infos: Sequence[PathInfo], archives: SharedArchives, progress: Progress, last: bool
    ) -> None:
        total = sum(info.nar_size for info in infos)
        sent = 0
        if not self._greeted:
            await self._put(hello())
        for info in infos:
            self._begun_paths += 1
            await self._put(archives.head(info))
            async for piece in archives.pieces(info):
                await self._put(piece)
                sent += len(piece)
                progress(sent, total)
        await self._flush()
        if last:
            self._channel.write_eof()

    async def _put(self, data: bytes) -> None:
        """Gather; a write per small path would be a packet per small path."""
        self._pending.append(data)
        self._pending_bytes += len(data)
        if self._pending_bytes >= self._settings.write_bytes:
            await self._flush()

    async def _flush(self) -> None:
        self._held_back = True
        await self._bandwidth.turn(self._pending_bytes)
        self._held_back = False
        self._moved()
        async with self._slots:
            self._channel.write(b"".join(self._pending))
            self._pending.clear()
            self._pending_bytes = 0
            await self._channel.drain()
        self._moved()
        # A channel that takes everything at once would otherwise never let another host have a turn.
        await asyncio.sleep(0)


async def _end(tasks: Sequence[asyncio.Task[Any]]) -> None:
    """Cancel and reap; whoever waited has the outcome already."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
