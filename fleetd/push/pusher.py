"""``ServePusher``: what is missing of a closure goes to a host in one unbroken stream; answers are read beside it."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from fleetd.errors import OutcomeUnknown, PushError
from fleetd.model.fleet import Host
from fleetd.model.store_path import StorePath
from fleetd.ports import ByteChannel, HostPort, PathInfo, PushReport, Store
from fleetd.push.serve import Reader, add_to_store, hello, query_valid_paths, refused

STALL_S = 120.0
"""No byte taken and no answer for this long: an old server on the host holds a path's lock (nix issue 2699)."""

PIECES_IN_FLIGHT = 256
"""Pieces of 128 KiB over all hosts that wait to be taken: 32 MiB, whatever the closures' size."""

LINK_TIMEOUT_S = 60.0
SERVER = ("nix-store", "--serve", "--write")

Archive = Callable[[str], Iterator[bytes]]
"""Yields a path's archive; ``nix.nar.dump``, given by the composition root."""

Sign = Callable[[PathInfo], PathInfo]


@dataclass(slots=True)
class _Transfer:
    """One push under way."""

    host: Host
    channel: ByteChannel
    reader: Reader
    total_bytes: int = 0
    sent_bytes: int = 0
    acked: int = 0
    moved_at: float = field(default_factory=lambda: asyncio.get_running_loop().time())

    def moved(self) -> None:
        self.moved_at = asyncio.get_running_loop().time()


class ServePusher:
    """The port ``Pusher`` over the hosts' own ssh connections."""

    def __init__(self, hosts: HostPort, store: Store, archive: Archive, sign: Sign | None = None) -> None:
        self._hosts = hosts
        self._store = store
        self._archive = archive
        self._sign = sign or (lambda info: info)
        self._pieces = asyncio.Semaphore(PIECES_IN_FLIGHT)
        # Two transfers to one host would wait for each other's path locks.
        self._locks: dict[str, asyncio.Lock] = {}

    async def push(
        self, host: Host, toplevel: StorePath, *, root: str, progress: Callable[[int, int], None], timeout_s: float
    ) -> PushReport:
        """Copy what is missing, root it, verify it. Raises PushError or HostError."""
        closure = await self._store.closure(toplevel)
        try:
            async with asyncio.timeout(timeout_s), self._locks.setdefault(host.name, asyncio.Lock()):
                return await self._push(host, toplevel, closure, root, progress)
        except TimeoutError as error:
            raise PushError("stalled", f"{host.name}: the copy did not end within {timeout_s:.0f} s") from error

    async def _push(
        self,
        host: Host,
        toplevel: StorePath,
        closure: tuple[PathInfo, ...],
        root: str,
        progress: Callable[[int, int], None],
    ) -> PushReport:
        link = await self._hosts.link(host, timeout_s=LINK_TIMEOUT_S)
        channel = await link.open(SERVER)
        transfer = _Transfer(host, channel, Reader(channel))
        try:
            missing = await self._missing(transfer, closure)
            transfer.total_bytes = sum(info.nar_size for info in missing)
            progress(0, transfer.total_bytes)
            if missing:
                await self._stream(transfer, missing, progress)
            # Rooted and seen to be valid before the server lets go of its temporary roots.
            await self._root(host, toplevel, root)
            left = await self._missing(transfer, closure, greet=False)
            if left:
                raise PushError("lost", f"{host.name}: {left[0].path} vanished again; a collector ran there")
        finally:
            await channel.close()
        return PushReport(len(missing), transfer.total_bytes)

    async def _missing(
        self, transfer: _Transfer, closure: tuple[PathInfo, ...], *, greet: bool = True
    ) -> tuple[PathInfo, ...]:
        """Return the paths that the host lacks, in the closure's order; all of the closure is locked there."""
        question = query_valid_paths(
            (info.path for info in closure), lock=True, substitute=greet and transfer.host.substitute
        )
        transfer.channel.write((hello() if greet else b"") + question)
        await transfer.channel.drain()
        if greet:
            await transfer.reader.handshake()
        valid = await transfer.reader.texts(limit=len(closure))
        return tuple(info for info in closure if info.path not in valid)

    async def _stream(
        self, transfer: _Transfer, missing: tuple[PathInfo, ...], progress: Callable[[int, int], None]
    ) -> None:
        async def watch() -> None:
            while True:
                await asyncio.sleep(1)
                if asyncio.get_running_loop().time() - transfer.moved_at > STALL_S:
                    text = f"nothing moved for {STALL_S:.0f} s after {transfer.acked} of {len(missing)} paths"
                    raise PushError("stalled", f"{transfer.host.name}: {text}")

        async def acks() -> None:
            for info in missing:
                if await transfer.reader.integer() != 1:
                    raise PushError("rejected", f"{transfer.host.name}: {info.path} was not taken")
                transfer.acked += 1
                transfer.moved()

        tasks = {
            asyncio.create_task(self._send(transfer, missing, progress), name=f"push/{transfer.host.name}/send"),
            asyncio.create_task(acks(), name=f"push/{transfer.host.name}/acks"),
        }
        guard = asyncio.create_task(watch(), name=f"push/{transfer.host.name}/watch")
        try:
            pending = {*tasks, guard}
            while pending & tasks:
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
        except OutcomeUnknown as error:
            # A copy is harmless to repeat: what the link swallowed is asked for again.
            said = transfer.channel.stderr_tail()
            if said.strip():
                raise refused(said) from error
            raise PushError("lost", f"{transfer.host.name}: the link was lost during the copy") from error
        finally:
            for task in (*tasks, guard):
                task.cancel()
            await asyncio.gather(*tasks, guard, return_exceptions=True)

    async def _send(
        self, transfer: _Transfer, missing: tuple[PathInfo, ...], progress: Callable[[int, int], None]
    ) -> None:
        for info in missing:
            transfer.channel.write(add_to_store(self._sign(info)))
            await self._send_archive(transfer, info, progress)

    async def _send_archive(self, transfer: _Transfer, info: PathInfo, progress: Callable[[int, int], None]) -> None:
        """Send one archive; its last piece leaves only when the whole has the recorded hash and size."""
        digest, size, held = hashlib.sha256(), 0, b""
        for piece in self._archive(info.path):
            if held:
                await self._send_piece(transfer, held, progress)
            digest.update(piece)
            size += len(piece)
            held = piece
            if size > info.nar_size:
                break
        if size != info.nar_size or digest.digest() != info.nar_hash:
            text = f"{info.path} on the control node is not what its store says it is; nothing of it was sent whole"
            raise PushError("hash-mismatch", f"{text} (repair it: nix-store --repair-path)")
        await self._send_piece(transfer, held, progress)

    async def _send_piece(self, transfer: _Transfer, piece: bytes, progress: Callable[[int, int], None]) -> None:
        async with self._pieces:
            transfer.channel.write(piece)
            await transfer.channel.drain()
        transfer.sent_bytes += len(piece)
        transfer.moved()
        progress(transfer.sent_bytes, transfer.total_bytes)

    async def _root(self, host: Host, toplevel: StorePath, root: str) -> None:
        """Make a root on the host, over a second channel while the first still protects the paths."""
        link = await self._hosts.link(host, timeout_s=LINK_TIMEOUT_S)
        script = 'mkdir -p /nix/var/nix/gcroots/fleetd && ln -sfn "$1" "/nix/var/nix/gcroots/fleetd/$2" && sync "$1"'
        channel = await link.open(["sh", "-c", script, "sh", toplevel, root], privileged=True)
        try:
            channel.write_eof()
            status = await channel.wait(60)
        finally:
            await channel.close()
        if status != 0:
            raise refused(channel.stderr_tail() or f"the root could not be made (exit {status})")
