"""A TCP proxy that delays, since this kernel may have no netem: ``python -m tests.bench.proxy RTT_MS TARGET…``.

For each target (``address:port``) it prints the local port; each direction holds every byte back for half the round
trip, and lets as many pass as come.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from typing import cast

import uvloop

HELD_BYTES = 64 * 1024 * 1024
"""More than any bandwidth times delay here; a peer that does not read stops the other one."""


class Pipe(asyncio.Protocol):
    """One direction: what comes is written to the other side a little later."""

    def __init__(self, delay_s: float) -> None:
        self.delay_s = delay_s
        self.other: Pipe | None = None
        self.transport: asyncio.Transport | None = None
        self._held: deque[tuple[float, bytes | None]] = deque()
        self._held_bytes = 0
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's are no subclass

    def data_received(self, data: bytes) -> None:
        self._hold(bytes(data))
        if self._held_bytes > HELD_BYTES and self.transport is not None:
            self.transport.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self._hold(None)

    def _hold(self, data: bytes | None) -> None:
        loop = asyncio.get_running_loop()
        self._held.append((loop.time() + self.delay_s, data))
        self._held_bytes += len(data or b"")
        if self._timer is None:
            self._timer = loop.call_at(self._held[0][0], self._let_go)

    def _let_go(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = None
        pieces, over = [], False
        while self._held and self._held[0][0] <= loop.time() + 0.0002:
            _at, data = self._held.popleft()
            over = over or data is None
            pieces.append(data or b"")
            self._held_bytes -= len(data or b"")
        out = self.other.transport if self.other is not None else None
        if out is not None and not out.is_closing():
            out.write(b"".join(pieces))
            if over:
                out.close()
        if self._held_bytes < HELD_BYTES and self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()
        if self._held:
            self._timer = loop.call_at(self._held[0][0], self._let_go)


class Front(Pipe):
    """The side of the client; what it sends before the target is connected is held, and later than the delay."""

    def __init__(self, delay_s: float, host: str, port: int) -> None:
        super().__init__(delay_s)
        self._target = (host, port)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        assert self.transport is not None
        self.transport.pause_reading()
        self._task = asyncio.get_running_loop().create_task(self._connect())

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        back = Pipe(self.delay_s)
        back.other, self.other = self, back
        assert self.transport is not None
        try:
            await loop.create_connection(lambda: back, *self._target)
        except OSError:
            self.transport.close()
            return
        self.transport.resume_reading()


async def main(round_trip_ms: float, targets: list[str]) -> None:
    loop = asyncio.get_running_loop()
    for target in targets:
        host, _, port = target.rpartition(":")
        server = await loop.create_server(
            lambda host=host, port=int(port): Front(round_trip_ms / 2000, host, port),  # type: ignore[misc]
            "127.0.0.1",
            0,
        )
        print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(float(sys.argv[1]), sys.argv[2:]))
