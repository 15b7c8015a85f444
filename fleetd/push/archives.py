"""Each archive is read and hashed once, however many hosts get it at about the same time.

Nobody waits for anybody: whoever is ahead reads on, who is behind finds what was read in memory, and who is too far
behind (the memory is bounded) reads for itself. So a slow host never holds up a fast one.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager

from fleetd.errors import PushError
from fleetd.ports import PathInfo
from fleetd.push.serve import add_to_store

Archive = Callable[[str], Iterator[bytes]]
"""Yields a path's archive in pieces of 128 KiB at most; ``nix.nar.dump``, given by the composition root.

It raises OSError for what cannot be read.
"""

Sign = Callable[[PathInfo], PathInfo]
"""Returns a path's metadata with a signature more; ``nix.signing.NixSigner.signed``."""

HELD_BYTES = 32 * 1024 * 1024
"""Hosts that began together drift apart by their channels' windows, 2 MiB each, and by what their disks do."""

TURN_BYTES = 8 * 1024 * 1024
"""How much is read to catch up before others get a turn."""


class SharedArchives:
    """The archives that are being sent, each read once."""

    def __init__(self, archive: Archive, sign: Sign, held_bytes: int = HELD_BYTES) -> None:
        self._archive = archive
        self._sign = sign
        self._heads: dict[str, bytes] = {}
        self._limit = held_bytes
        self.held_bytes = 0
        """How much is in memory just now."""
        self._readings: OrderedDict[str, _Reading] = OrderedDict()
        self._users = 0
        self.read_bytes = 0
        """How much was read in all; what was found in memory is not counted."""

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Hold what is read for others while anybody sends; the last one lets go of all of it."""
        self._users += 1
        try:
            yield
        finally:
            self._users -= 1
            if not self._users:
                self._readings.clear()
                self._heads.clear()
                self.held_bytes = 0

    def head(self, info: PathInfo) -> bytes:
        """Return what comes before a path's archive; signed and encoded once, as for a thousand hosts."""
        found = self._heads.get(info.path)
        if found is None:
            found = self._heads[info.path] = add_to_store(self._sign(info))
        return found

    async def pieces(self, info: PathInfo) -> AsyncIterator[bytes]:
        """Yield a path's archive; its last piece only once the whole has the recorded size and hash.

        Raises PushError that names the path.
        """
        index = 0
        while True:
            reading = self._readings.get(info.path)
            if reading is None:
                if index:
                    break
                reading = self._readings[info.path] = _Reading(verified(info, self._archive))
            self._readings.move_to_end(info.path)
            if not reading.dropped <= index <= reading.dropped + len(reading.pieces):
                break  # Its beginning is gone already, or it was begun anew by somebody behind us.
            piece = self._piece(info, reading, index)
            if piece is None:
                return
            yield piece
            index += 1
        async for piece in self._alone(info, index):
            yield piece

    def _piece(self, info: PathInfo, reading: _Reading, index: int) -> bytes | None:
        """Return a piece, read just now or before; None at the end."""
        place = index - reading.dropped
        if place < len(reading.pieces):
            return reading.pieces[place]
        if reading.is_read:
            return None
        try:
            piece = next(reading.source, None)
        except PushError:
            # Whoever comes later reads again, and sees what is there then.
            self._forget(info.path)
            raise
        if piece is None:
            reading.is_read = True
            return None
        reading.pieces.append(piece)
        self.held_bytes += len(piece)
        self.read_bytes += len(piece)
        self._make_room(info.path)
        return piece

    def _make_room(self, current: str) -> None:
        """Let go of what was used least lately; when nothing else is left, of the beginning of what is being read."""
        while self.held_bytes > self._limit:
            oldest = next(iter(self._readings))
            if oldest != current:
                self._forget(oldest)
                continue
            reading = self._readings[current]
            self.held_bytes -= len(reading.pieces.pop(0))
            reading.dropped += 1

    def _forget(self, path: str) -> None:
        reading = self._readings.pop(path)
        self.held_bytes -= sum(len(piece) for piece in reading.pieces)

    async def _alone(self, info: PathInfo, index: int) -> AsyncIterator[bytes]:
        """Yield the pieces from an index on, read for one host only."""
        skipped = 0
        for number, piece in enumerate(verified(info, self._archive)):
            self.read_bytes += len(piece)
            if number >= index:
                yield piece
                continue
            skipped += len(piece)
            if skipped >= TURN_BYTES:
                skipped = 0
                await asyncio.sleep(0)


class _Reading:
    """One path as far as it was read: its pieces but for the first ``dropped``."""

    __slots__ = ("dropped", "is_read", "pieces", "source")

    def __init__(self, source: Iterator[bytes]) -> None:
        self.source = source
        self.pieces: list[bytes] = []
        self.dropped = 0
        self.is_read = False


def verified(info: PathInfo, archive: Archive) -> Iterator[bytes]:
    """Yield a path's archive; its last piece only once the whole has the recorded size and hash.

    So what is corrupt here never becomes valid elsewhere: without its last bytes the host cannot register it.
    Raises PushError that names the path.
    """
    digest, size, held = hashlib.sha256(), 0, b""
    try:
        for piece in archive(info.path):
            digest.update(piece)
            size += len(piece)
            if size > info.nar_size:
                break
            if held:
                yield held
            held = piece
    except OSError as error:
        raise PushError("hash-mismatch", f"{info.path} on the control node cannot be read: {error}") from error
    if size != info.nar_size or digest.digest() != info.nar_hash:
        text = f"{info.path} on the control node is not what its store says it is, and was not sent"
        raise PushError("hash-mismatch", f"{text} (repair it with: nix-store --repair-path {info.path})")
    yield held
