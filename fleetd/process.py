"""Child processes: bounded in time and output, killed and reaped whatever happens to the one who waits."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

OUTPUT_LIMIT_BYTES = 64 * 1024 * 1024
"""The metadata of a closure of 10,000 paths is about 10 MB."""

STDERR_TAIL_BYTES = 64 * 1024
KILL_AFTER_S = 5.0

MARK = "FLEETD_RUN"
"""The variable by which a program that outlived the one who waited for it is found again."""

MESSAGE_CHARACTERS = 3500
"""Of a message to a person; the outcome of an evaluation keeps 4,000."""

Seen = Callable[[bytes], None]
"""Takes what a child prints, piece by piece, while it runs."""


class Listener(Protocol):
    """Takes what a child says on stderr while it runs, and makes a message of it where it fails."""

    def feed(self, piece: bytes) -> None:
        """Take a piece; never raises."""
        ...

    def close(self) -> None:
        """There is no more."""
        ...

    def message(self) -> str:
        """Return what is wrong, as plain text; empty where it said nothing."""
        ...


_ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # colours and cursor movements
    r"|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)"  # titles and links
    r"|[\x00-\x08\x0b-\x1f\x7f-\x9f]"  # what else a terminal would obey
)


@dataclass(frozen=True, slots=True)
class Done:
    """How a child ended; ``stderr`` is its tail, as plain text."""

    status: int
    stdout: bytes
    stderr: str


class ChildTimeout(Exception):
    """The child did not end in time and was killed."""


class ChildOutputTooLong(Exception):
    """The child wrote more than any child of ours should, and was killed."""


async def run(
    argv: Sequence[str],
    *,
    timeout_s: float,
    env: Mapping[str, str] | None = None,
    output_limit_bytes: int = OUTPUT_LIMIT_BYTES,
    stdin: BinaryIO | None = None,
    seen: Seen | None = None,
    heard: Listener | None = None,
) -> Done:
    """Run a program to its end, its environment ours plus ``env``.

    It reads the file ``stdin``, or nothing. ``seen`` gets what it prints at once, ``heard`` what it says on stderr.

    Raises ChildTimeout, ChildOutputTooLong, or OSError when it cannot be started. The child leads its own process
    group: whatever ends the wait ends the whole group.
    """
    child = await asyncio.create_subprocess_exec(
        *argv,
        stdin=asyncio.subprocess.DEVNULL if stdin is None else stdin,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
        env={**os.environ, **(env or {})},
    )
    readers = [
        asyncio.create_task(_read_all(child.stdout, output_limit_bytes, seen)),
        asyncio.create_task(_read_tail(child.stderr, heard)),
    ]
    try:
        async with asyncio.timeout(timeout_s) as limit:
            stdout, stderr = await asyncio.gather(*readers)
            status = await child.wait()
    except TimeoutError as error:
        if not limit.expired():
            raise
        raise ChildTimeout(f"{argv[0]} did not end within {timeout_s:g} s") from error
    finally:
        if not all(_succeeded(reader) for reader in readers) or child.returncode is None:
            await _end(child, readers)
    return Done(status, stdout, plain(stderr.decode("utf-8", errors="replace")))


async def nix(
    argv: Sequence[str],
    what: str,
    error: Callable[[str], Exception],
    *,
    timeout_s: float,
    env: Mapping[str, str],
    seen: Seen | None = None,
    heard: Listener | None = None,
) -> bytes:
    """Run a Nix command and return what it printed.

    Any failure is raised as ``error(text)``, where the text is ``what``, a colon, and Nix's own message: as ``heard``
    has it where somebody listens.
    """
    try:
        done = await run(argv, timeout_s=timeout_s, env=env, seen=seen, heard=heard)
    except (ChildTimeout, ChildOutputTooLong) as problem:
        last = heard.message() if heard is not None else ""
        raise error(f"{what}: {problem}" + (f"; it said last:\n{last}" if last else "")) from problem
    except OSError as problem:
        raise error(f"{what}: {argv[0]} cannot be started: {problem}") from problem
    finally:
        if heard is not None:
            heard.close()
    if done.status != 0:
        said = excerpt(done.stderr) if heard is None else heard.message()
        raise error(f"{what}: {said or f'{argv[0]} ended with {done.status} and said nothing'}")
    return done.stdout


def plain(text: str) -> str:
    """Return a text without colours and other things that a terminal would obey."""
    return _ESCAPES.sub("", text)


def excerpt(text: str, limit: int = MESSAGE_CHARACTERS) -> str:
    """Return Nix's message without the warnings before it; where it is too long its middle is left out.

    Old Nix says what is wrong first, new Nix last, and the end of a build's log is before the error: both ends matter.
    """
    lines = text.strip().splitlines()
    first = next((index for index, line in enumerate(lines) if not line.startswith("warning:")), 0)
    message = "\n".join(lines[first:])
    if len(message) <= limit:
        return message
    return f"{message[: limit // 3]}\n…\n{message[-(limit - limit // 3) :]}"


def end_marked(mark: str) -> int:
    """Kill every process that carries a mark in its environment; returns how many there were. Reads all of /proc."""
    wanted, ended = f"{MARK}={mark}".encode(), 0
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            # Held open, a process cannot give its number to another one between the look and the signal.
            held = os.pidfd_open(int(folder.name))
            try:
                if wanted in (folder / "environ").read_bytes().split(b"\0"):
                    signal.pidfd_send_signal(held, signal.SIGKILL)
                    ended += 1
            finally:
                os.close(held)
    return ended


def _succeeded(reader: asyncio.Task[bytes]) -> bool:
    return reader.done() and not reader.cancelled() and reader.exception() is None


async def _end(child: asyncio.subprocess.Process, readers: Sequence[asyncio.Task[bytes]]) -> None:
    """End a child and its group and reap it; a second cancellation only makes it quicker."""
    for reader in readers:
        reader.cancel()
    try:
        await asyncio.gather(*readers, return_exceptions=True)
        _signal(child, signal.SIGTERM)
        await _within(KILL_AFTER_S, _gone(child))
    finally:
        # Also when the child itself is gone: children of its own may hold its output open. Its number was free for a
        # moment at most, and numbers are given out in turn, so nobody else has it.
        left = _descendants(child.pid) if child.returncode is None else []
        _signal(child, signal.SIGKILL)
        # A Nix that is killed cannot end its builders, and they lead groups of their own.
        for pid in left:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        await _within(KILL_AFTER_S, _gone(child))


def _descendants(pid: int) -> list[int]:
    """Return what a process has started that still runs, and what that has started, as far as /proc can tell."""
    found = [pid]
    for one in found:
        for file in Path(f"/proc/{one}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                found += [int(word) for word in file.read_text().split()]
    return found[1:]


async def _gone(child: asyncio.subprocess.Process) -> None:
    """Wait for the end of the child and of all that holds its output; a pipe that nobody empties would hold it up."""
    await asyncio.gather(child.wait(), _discard(child.stdout), _discard(child.stderr))


async def _within(seconds: float, waiting: Coroutine[Any, Any, None]) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await waiting


async def _discard(stream: asyncio.StreamReader | None) -> None:
    while stream is not None and await stream.read(256 * 1024):
        pass


def _signal(child: asyncio.subprocess.Process, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, number)


async def _read_all(stream: asyncio.StreamReader | None, limit_bytes: int, seen: Seen | None) -> bytes:
    data = bytearray()
    while stream is not None and (piece := await stream.read(256 * 1024)):
        data += piece
        if seen is not None:
            seen(piece)
        if len(data) > limit_bytes:
            raise ChildOutputTooLong(f"more than {limit_bytes} bytes of output")
    return bytes(data)


async def _read_tail(stream: asyncio.StreamReader | None, heard: Listener | None) -> bytes:
    tail = b""
    while stream is not None and (piece := await stream.read(64 * 1024)):
        tail = (tail + piece)[-STDERR_TAIL_BYTES:]
        if heard is not None:
            heard.feed(piece)
    return tail
