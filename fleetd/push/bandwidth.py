"""One limit for all that is sent: whoever wants to send waits for a turn, in the order of asking."""

from __future__ import annotations

import asyncio


class Bandwidth:
    """At most ``bytes_per_s`` over any time longer than one write; None: no limit."""

    def __init__(self, bytes_per_s: float | None) -> None:
        self._bytes_per_s = bytes_per_s
        self._free_at = 0.0

    def delay_s(self, count: int, now: float) -> float:
        """Reserve the line for ``count`` bytes; returns how long to wait before they may be sent."""
        if self._bytes_per_s is None:
            return 0.0
        begin = max(now, self._free_at)
        self._free_at = begin + count / self._bytes_per_s
        return begin - now

    async def turn(self, count: int) -> None:
        """Wait for the turn of ``count`` bytes."""
        delay_s = self.delay_s(count, asyncio.get_running_loop().time())
        if delay_s > 0:
            await asyncio.sleep(delay_s)
