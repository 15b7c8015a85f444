"""``FileBlobs``: texts that belong to a rollout and are too long for the journal, as files beside it.

They are for people: nothing is decided by them, so losing one is no harm, and a disk that refuses one stops nothing.
"""

from __future__ import annotations

import asyncio
import re
import shutil
from pathlib import Path

import structlog

LIMIT_BYTES = 64 * 1024
"""Of each text; the newest part is kept."""

ROLLOUTS_LIMIT = 200
"""Rollouts whose texts are kept: with 1,000 hosts in each, a switch and a build, and all at their limit, 26 GB."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class FileBlobs:
    """The port ``Blobs`` over a directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._writing = asyncio.Lock()

    async def add(self, rollout: str, host: str, text: str) -> None:
        """Add a text at the end, where there is room by leaving out the oldest; never raises for what a disk does."""
        async with self._writing:
            try:
                await asyncio.to_thread(self._add, self._file(rollout, host), text)
            except OSError as error:
                structlog.get_logger().warning(
                    "a log could not be kept", rollout=rollout, host=host, problem=str(error)
                )

    async def get(self, rollout: str, host: str) -> str | None:
        """Return what was added; None when there is nothing."""
        try:
            data = await asyncio.to_thread(self._file(rollout, host).read_bytes)
        except (OSError, ValueError):
            return None
        return data.decode("utf-8", errors="replace")

    def _file(self, rollout: str, host: str) -> Path:
        for name in (rollout, host):
            if _NAME.fullmatch(name) is None:
                raise ValueError(f"{name!r} is no name of a rollout or host")
        return self._directory / rollout / f"{host}.log"

    def _add(self, file: Path, text: str) -> None:
        if not file.parent.exists():
            file.parent.mkdir(mode=0o700, parents=True)
            self._forget()
        before = file.read_bytes() if file.exists() else b""
        scratch = file.with_suffix(".tmp")
        scratch.write_bytes((before + text.encode())[-LIMIT_BYTES:])
        scratch.replace(file)

    def _forget(self) -> None:
        """Remove the texts of the oldest rollouts, beyond those that are kept."""
        rollouts = sorted(self._directory.iterdir(), key=lambda place: (len(place.name), place.name))
        for place in rollouts[:-ROLLOUTS_LIMIT]:
            shutil.rmtree(place, ignore_errors=True)
