"""Child processes: bounded in time and output, killed and reaped whatever happens to the one who waits."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

OUTPUT_LIMIT_BYTES = 64 * 1024 * 1024
"""The metadata of a closure of 10,000 paths is about 10 MB."""

STDERR_TAIL_BYTES = 64 * 1024
KILL_AFTER_S = 5.0

_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


@dataclass(frozen=True, slots=True)
class Done:
    """How a child ended; ``stderr`` is its tail, without colours."""

    status: int
    stdout: bytes
    stderr: str


class ChildTimeout(Exception):
    """The child did not end in time and was killed."""


class ChildOutputTooLong(Exception):
    """The child wrote more than any child of ours should."""


async def run(argv: Sequence[str], *, timeout_s: float, env: Mapping[str, str] | None = None) -> Done:
    """Run a program to its end.

    Raises ChildTimeout, ChildOutputTooLong, or OSError when it cannot be started. The child is its own process group,
    so its children end with it.
    """
    child = await asyncio.create_subprocess_exec(
        *argv,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
        env={**os.environ, **(env or {})},
    )
    try:
        async with asyncio.timeout(timeout_s):
            stdout, stderr = await asyncio.gather(_read_all(child.stdout), _read_tail(child.stderr))
            status = await child.wait()
    except TimeoutError as error:
        raise ChildTimeout(f"{argv[0]} did not end within {timeout_s:.0f} s") from error
    finally:
        await end(child)
    return Done(status, stdout, _ANSI.sub("", stderr.decode("utf-8", errors="replace")))


async def end(child: asyncio.subprocess.Process) -> None:
    """End a child and its group if it still runs, and reap it."""
    if child.returncode is not None:
        return
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, number)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(KILL_AFTER_S):
                await child.wait()
                return


async def _read_all(stream: asyncio.StreamReader | None) -> bytes:
    data = bytearray()
    while stream is not None and (piece := await stream.read(256 * 1024)):
        data += piece
        if len(data) > OUTPUT_LIMIT_BYTES:
            raise ChildOutputTooLong(f"more than {OUTPUT_LIMIT_BYTES} bytes of output")
    return bytes(data)


async def _read_tail(stream: asyncio.StreamReader | None) -> bytes:
    tail = b""
    while stream is not None and (piece := await stream.read(64 * 1024)):
        tail = (tail + piece)[-STDERR_TAIL_BYTES:]
    return tail
