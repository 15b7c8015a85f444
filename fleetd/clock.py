"""The only place that reads the time or sleeps."""

from __future__ import annotations

import asyncio
import time


class SystemClock:
    """Wall clock at start plus boot-clock time since: it does not follow later steps, and runs through suspend."""

    def __init__(self) -> None:
        self._start = time.time()
        self._boot = time.clock_gettime(time.CLOCK_BOOTTIME)

    def now(self) -> float:
        """Return seconds since the epoch."""
        return self._start + time.clock_gettime(time.CLOCK_BOOTTIME) - self._boot

    def not_before(self, at: float) -> None:
        """Go on from this instant where the clock shows an earlier one."""
        self._start += max(0.0, at - self.now())

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)
