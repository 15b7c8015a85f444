"""What is under way just now, for people who watch: how far builds and copies are, and what builds say.

All of it is volatile but for the logs of builds, which are kept with the rollout as far as there is room.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

from fleetd.model.build import BuildNews, BuildProgress, Told
from fleetd.ports import Blobs, Clock, build_log_of

WRITE_EVERY_S = 2.0
"""How far the kept log of a build is behind what it says."""

PENDING_CHARACTERS = 64 * 1024
"""What a build says between two writes; of more the oldest is left out, as a kept log itself does."""


@dataclass(slots=True)
class Doing:
    """One host, and how far it is. ``line`` is what its build said last; sizes are bytes."""

    step: str
    build: BuildProgress | None = None
    sent: int = 0
    total: int = 0
    line: str = ""

    def document(self, host: str) -> Mapping[str, object]:
        """Return it as the API shows it."""
        build, copy = self.build, {"sent_bytes": self.sent, "total_bytes": self.total}
        shown = None
        if build is not None:
            shown = {
                "built": build.built,
                "to_build": build.to_build,
                "failed": build.failed,
                "copied": build.copied,
                "to_copy": build.to_copy,
                "downloaded_bytes": build.downloaded_bytes,
                "download_bytes": build.download_bytes,
                "running_count": build.running_count,
                "running": list(build.running),
            }
        return {
            "name": host,
            "step": self.step,
            "build": shown,
            "copy": copy if self.step == "copying" else None,
            "line": self.line,
        }


class Activity:
    """Who is building and copying; the executor's slots bound how many they are."""

    def __init__(self, clock: Clock, blobs: Blobs | None = None) -> None:
        self._clock = clock
        self._blobs = blobs
        self._doing: dict[tuple[str, str], Doing] = {}

    def of(self, rollout: str) -> list[Mapping[str, object]]:
        """Return the hosts of a rollout on which something is under way, by name."""
        found = {host: doing for (name, host), doing in self._doing.items() if name == rollout}
        return [found[host].document(host) for host in sorted(found)]

    @contextmanager
    def copying(self, rollout: str, host: str) -> Iterator[Doing]:
        """Show a copy while it runs; whoever makes it writes into ``sent`` and ``total``."""
        with self._shown(rollout, host, Doing("copying")) as doing:
            yield doing

    @asynccontextmanager
    async def building(self, rollout: str, host: str, what: str) -> AsyncIterator[Told]:
        """Show a build while it runs, and keep what it says; yields who is to be told."""
        log = _Log(self._clock, self._blobs, (rollout, build_log_of(host)), f"== {what}")
        with self._shown(rollout, host, Doing("building", BuildProgress())) as doing:

            def told(news: BuildNews) -> None:
                doing.build = news.progress
                doing.line = next((line for line in reversed(news.lines) if line.strip()), doing.line)
                log.add(news.lines)

            writer = asyncio.create_task(log.write_on(), name=f"build-log/{rollout}/{host}")
            try:
                yield told
            finally:
                writer.cancel()
                await asyncio.gather(writer, return_exceptions=True)
                await log.write()

    @contextmanager
    def _shown(self, rollout: str, host: str, doing: Doing) -> Iterator[Doing]:
        self._doing[rollout, host] = doing
        try:
            yield doing
        finally:
            if self._doing.get((rollout, host)) is doing:
                del self._doing[rollout, host]


class _Log:
    """What a build said and is not written yet."""

    def __init__(self, clock: Clock, blobs: Blobs | None, about: tuple[str, str], head: str) -> None:
        self._clock = clock
        self._blobs = blobs
        self._about = about
        self._head: tuple[str, ...] = (head,)
        """Said before the first line: a system that is built already has no log."""
        self._lines: deque[str] = deque()
        self._characters = 0

    def add(self, lines: tuple[str, ...]) -> None:
        """Take lines, and leave out the oldest where they are too many."""
        if lines:
            lines, self._head = (*self._head, *lines), ()
        for line in lines:
            self._lines.append(line)
            self._characters += len(line) + 1
        while self._characters > PENDING_CHARACTERS:
            self._characters -= len(self._lines.popleft()) + 1

    async def write_on(self) -> None:
        """Write now and then, for who looks on while it builds."""
        while True:
            await self._clock.sleep(WRITE_EVERY_S)
            await self.write()

    async def write(self) -> None:
        """Write what there is."""
        text = "".join(f"{line}\n" for line in self._lines)
        self._lines.clear()
        self._characters = 0
        if text and self._blobs is not None:
            await self._blobs.add(*self._about, text)
