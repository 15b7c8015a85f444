"""A copy through zstd, for lines slower than a core compresses: the host's own ``zstd`` takes it apart again.

Nothing can be asked over it: a decompressor gives nothing out until it has a block or the end. So it carries only what
is sent to its end; the question which paths are missing goes beside it.
"""

from __future__ import annotations

import zstandard

from fleetd.ports import ByteChannel

LEVEL = 3
"""zstd's own default: about 300 MB/s of a core here, and hardly worse than levels at a third of that."""

DECOMPRESS = 'zstd -dcq | "$@"'


def decompressing(argv: tuple[str, ...]) -> tuple[str, ...]:
    """Return the command that feeds another with what it takes apart; its exit status is that of the other."""
    return ("sh", "-c", DECOMPRESS, "sh", *argv)


class CompressedChannel:
    """A channel to a command that decompresses; a ``ByteChannel``."""

    def __init__(self, channel: ByteChannel) -> None:
        self._channel = channel
        self._compressor = zstandard.ZstdCompressor(level=LEVEL).compressobj()

    async def read(self, most: int) -> bytes:
        """Return what the command answers, which is not compressed."""
        return await self._channel.read(most)

    def write(self, data: bytes) -> None:
        """Queue bytes; the compressor holds some of them back until it has enough."""
        if piece := self._compressor.compress(data):
            self._channel.write(piece)

    async def drain(self) -> None:
        """Wait until the queue is small. Raises OutcomeUnknown when the link dies."""
        await self._channel.drain()

    def write_eof(self) -> None:
        """Send what was held back, and end the command's input."""
        self._channel.write(self._compressor.flush())
        self._channel.write_eof()

    def stderr_tail(self) -> str:
        """Return the last of what the command said."""
        return self._channel.stderr_tail()

    async def wait(self, timeout_s: float) -> int:
        """Return the command's exit status."""
        return await self._channel.wait(timeout_s)

    async def close(self) -> None:
        """Let go of the channel."""
        await self._channel.close()
