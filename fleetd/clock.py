"""The only place that reads the time or sleeps."""

from __future__ import annotations

import asyncio
import time


class SystemClock:
    """Wall clock at start plus boot-clock time since: it does not follow later steps, and runs through suspend."""

    def __init__(self, not_before: float = 0.0) -> None:
        self._start = max(time.time(), not_before)
        self._boot = time.clock_gettime(time.CLOCK_BOOTTIME)

    def now(self) -> float:
        """Return seconds since the epoch."""
        return self._start + time.clock_gettime(time.CLOCK_BOOTTIME) - self._boot

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)
