"""Byte channels over asyncssh: one command, or one forwarded TCP connection, as bytes both ways."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

import asyncssh

from fleetd.errors import OutcomeUnknown

STDERR_TAIL_BYTES = 64 * 1024
"""Errors of the serve protocol are text on stderr; a megabyte of warnings is not kept."""

CLOSE_TIMEOUT_S = 5.0
"""Waiting for a dead peer to acknowledge a close can last for ever (asyncssh issues 628 and 730)."""

LINK_ERRORS = (asyncssh.Error, OSError)
"""What asyncssh raises when a link dies under a read or write."""


class CommandChannel:
    """A running command on a host."""

    def __init__(self, process: asyncssh.SSHClientProcess[bytes], name: str, closed: Callable[[], None]) -> None:
        self._closed = _once(closed)
        self._process = process
        self._tail = b""
        self._drain_task = asyncio.get_running_loop().create_task(self._keep_tail(), name=f"stderr of {name}")
        self._name = name

    async def _keep_tail(self) -> None:
        """Always read stderr: a server whose stderr is full stands still."""
        try:
            while piece := await self._process.stderr.read(16 * 1024):
                self._tail = (self._tail + piece)[-STDERR_TAIL_BYTES:]
        except LINK_ERRORS:
            return

    async def read(self, most: int) -> bytes:
        """Return 1 to ``most`` bytes, or ``b""`` at the end. Raises OutcomeUnknown when the link dies."""
        try:
            return await self._process.stdout.read(most)
        except LINK_ERRORS as error:
            raise OutcomeUnknown(f"{self._name}: the link was lost: {error}") from error

    def write(self, data: bytes) -> None:
        """Queue bytes."""
        try:
            self._process.stdin.write(data)
        except LINK_ERRORS as error:
            raise OutcomeUnknown(f"{self._name}: the link was lost: {error}") from error

    async def drain(self) -> None:
        """Wait until the queue is small. Raises OutcomeUnknown when the link dies."""
        try:
            await self._process.stdin.drain()
        except LINK_ERRORS as error:
            raise OutcomeUnknown(f"{self._name}: the link was lost: {error}") from error

    def write_eof(self) -> None:
        """End the command's input."""
        try:
            self._process.stdin.write_eof()
        except LINK_ERRORS:
            return  # it has ended already, and says so when it is read

    def stderr_tail(self) -> str:
        """Return the last of what the command said."""
        return self._tail.decode("utf-8", errors="replace")

    async def wait(self, timeout_s: float) -> int:
        """Return the exit status, or 128 and the number of the signal that ended it.

        Raises OutcomeUnknown when the link died first or the time is up.
        """
        try:
            async with asyncio.timeout(timeout_s):
                await self._process.wait_closed()
                await self._drain_task
        except TimeoutError as error:
            raise OutcomeUnknown(f"{self._name}: no end within {timeout_s:.0f} s") from error
        # A link that dies ends a wait without an error and without a status (seen on asyncssh 2.24).
        status = self._process.exit_status
        if (killed := self._process.exit_signal) is not None:
            # As a shell tells it, which sshd has left out when the command was its only one.
            return 128 + getattr(signal, f"SIG{killed[0]}", 0)
        if status is None or status < 0:
            raise OutcomeUnknown(f"{self._name}: the link was lost before it ended")
        return status

    async def close(self) -> None:
        """Let go; bounded."""
        try:
            self._process.close()
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._process.wait_closed()
        except (TimeoutError, *LINK_ERRORS):
            pass
        finally:
            self._closed()
            self._drain_task.cancel()
        await asyncio.gather(self._drain_task, return_exceptions=True)


class TcpChannel:
    """A TCP connection that the host made for us."""

    def __init__(
        self,
        reader: asyncssh.SSHReader[bytes],
        writer: asyncssh.SSHWriter[bytes],
        name: str,
        closed: Callable[[], None],
    ) -> None:
        self._closed = _once(closed)
        self._reader = reader
        self._writer = writer
        self._name = name

    async def read(self, most: int) -> bytes:
        """Return 1 to ``most`` bytes, or ``b""`` at the end. Raises OutcomeUnknown when the link dies."""
        try:
            return await self._reader.read(most)
        except LINK_ERRORS as error:
            raise OutcomeUnknown(f"{self._name}: {error}") from error

    def write(self, data: bytes) -> None:
        """Queue bytes. Raises OutcomeUnknown when the link is dead."""
        try:
            self._writer.write(data)
        except LINK_ERRORS as error:
            raise OutcomeUnknown(f"{self._name}: {error}") from error

    async def drain(self) -> None:
        """Wait until the queue is small."""
        try:
            await self._writer.drain()
        except LINK_ERRORS as error:
            raise OutcomeUnknown(f"{self._name}: {error}") from error

    def write_eof(self) -> None:
        """End our side."""
        try:
            self._writer.write_eof()
        except LINK_ERRORS:
            return  # the other side has ended already, and says so when it is read

    def stderr_tail(self) -> str:
        """Return nothing: a connection has no stderr."""
        return ""

    async def wait(self, timeout_s: float) -> int:
        """Return 0 when the connection has ended."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._writer.wait_closed()
        except (TimeoutError, *LINK_ERRORS) as error:
            raise OutcomeUnknown(f"{self._name}: {error}") from error
        return 0

    async def close(self) -> None:
        """Let go; bounded."""
        try:
            self._writer.close()
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._writer.wait_closed()
        except (TimeoutError, *LINK_ERRORS):
            return
        finally:
            self._closed()


def _once(call: Callable[[], None]) -> Callable[[], None]:
    """Return a function that calls only the first time: a channel may be closed twice."""
    calls = [call]
    return lambda: calls.pop()() if calls else None
