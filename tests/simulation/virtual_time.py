"""An event loop whose time is a number: waiting costs nothing, and the same seed gives the same run.

Whatever would make a run depend on this machine (threads, sockets, children) is refused while it runs.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Mapping
from typing import Any

EPOCH_S = 1_700_000_000.0
"""Virtual runs begin in November 2023: instants look like instants."""


class StandstillError(RuntimeError):
    """Nothing is scheduled and nothing can happen any more: what waits, waits for ever."""


class _NoSelector(selectors.BaseSelector):
    """Selects nothing, and lets the asked-for time pass at once."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._keys: dict[Any, selectors.SelectorKey] = {}

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        key = selectors.SelectorKey(fileobj, fileobj if isinstance(fileobj, int) else fileobj.fileno(), events, data)
        self._keys[fileobj] = key
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys.pop(fileobj)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._keys

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise StandstillError("nothing is scheduled any more")
        if timeout > 0:
            self.now_s += timeout
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """Runs coroutines in virtual time."""

    def __init__(self) -> None:
        self._virtual = _NoSelector()
        super().__init__(self._virtual)
        self._clock_resolution = 1e-9

    def time(self) -> float:
        """Return virtual seconds since the start."""
        return self._virtual.now_s

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:  # type: ignore[override]
        """Refuse: a thread's work takes real time."""
        raise RuntimeError(f"a simulated run uses no threads ({func})")

    async def subprocess_exec(self, *args: Any, **kwargs: Any) -> Any:
        """Refuse: a child's work takes real time."""
        raise RuntimeError("a simulated run starts no processes")

    async def create_connection(self, *args: Any, **kwargs: Any) -> Any:
        """Refuse: the network is simulated."""
        raise RuntimeError("a simulated run opens no sockets")


class VirtualClock:
    """The port ``Clock`` over the loop's own time; ``set_by_s`` is how far somebody has set the clock."""

    def __init__(self, loop: VirtualLoop, set_by_s: float = 0.0) -> None:
        self._loop = loop
        self.set_by_s = set_by_s

    def now(self) -> float:
        """Return the instant."""
        return EPOCH_S + self.set_by_s + self._loop.time()

    def not_before(self, at: float) -> None:
        """Go on from this instant where the clock shows an earlier one."""
        self.set_by_s += max(0.0, at - self.now())

    async def sleep(self, seconds: float) -> None:
        """Let time pass."""
        await asyncio.sleep(seconds)
