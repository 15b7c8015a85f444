"""Channels for tests: a real server as a child process, and one that says what a test makes it say."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence

from fleetd.errors import OutcomeUnknown
from fleetd.model.facts import HostFacts, HostStatus
from fleetd.model.fleet import Host
from fleetd.model.order import Order
from fleetd.ports import ByteChannel
from fleetd.push.stale import MARK


class SubprocessChannel:
    """A child process behind the port ``ByteChannel``; its link can be cut after so many bytes were written."""

    def __init__(self, child: asyncio.subprocess.Process, cut_after_bytes: int | None) -> None:
        self._child = child
        self._left = cut_after_bytes
        self._tail = b""
        self.written_bytes = 0
        self.written = bytearray()
        """The first MiB of it."""
        self._drainer = asyncio.create_task(self._keep_tail())

    @classmethod
    async def start(
        cls, argv: Sequence[str], env: Mapping[str, str], cut_after_bytes: int | None = None
    ) -> SubprocessChannel:
        pipe = asyncio.subprocess.PIPE
        child = await asyncio.create_subprocess_exec(
            *argv, stdin=pipe, stdout=pipe, stderr=pipe, env={**os.environ, **env}
        )
        return cls(child, cut_after_bytes)

    async def _keep_tail(self) -> None:
        assert self._child.stderr is not None
        while piece := await self._child.stderr.read(4096):
            self._tail = (self._tail + piece)[-64 * 1024 :]

    def _check(self) -> None:
        if self._left is not None and self._left <= 0:
            raise OutcomeUnknown("the link was cut")

    async def read(self, most: int) -> bytes:
        assert self._child.stdout is not None
        piece = await self._child.stdout.read(most)
        self._check()
        return piece

    def write(self, data: bytes) -> None:
        assert self._child.stdin is not None
        self._check()
        if self._left is not None:
            data = data[: self._left]
            self._left -= len(data)
        self.written_bytes += len(data)
        self.written += data[: max(0, 2**20 - len(self.written))]
        self._child.stdin.write(data)

    async def drain(self) -> None:
        assert self._child.stdin is not None
        try:
            await self._child.stdin.drain()
        except ConnectionError as error:
            raise OutcomeUnknown("the server is gone") from error
        if self._left is not None and self._left <= 0:
            self._child.kill()
            self._check()

    def terminate(self) -> None:
        self._child.terminate()

    def write_eof(self) -> None:
        assert self._child.stdin is not None
        self._child.stdin.close()

    def stderr_tail(self) -> str:
        return self._tail.decode(errors="replace")

    async def wait(self, timeout_s: float) -> int:
        self._check()
        try:
            async with asyncio.timeout(timeout_s):
                status = await self._child.wait()
                await self._drainer
        except TimeoutError as error:
            raise OutcomeUnknown("no end in time") from error
        return status

    async def close(self) -> None:
        assert self._child.stdin is not None
        self._child.stdin.close()
        try:
            async with asyncio.timeout(5):
                await self._child.wait()
        except TimeoutError:
            self._child.kill()
            await self._child.wait()
        self._drainer.cancel()
        await asyncio.gather(self._drainer, return_exceptions=True)


class SaidChannel:
    """A server that says what it is given, whatever it is asked; then it ends, or says no more.

    Of a list of pieces each is said once so many bytes were written.
    """

    def __init__(
        self,
        said: bytes | Sequence[tuple[int, bytes]],
        *,
        stderr: str = "",
        status: int | None = 1,
        hangs: bool = False,
        dead_after: int | None = None,
    ) -> None:
        self._later = [(0, said)] if isinstance(said, bytes) else list(said)
        self._said = b""
        self._stderr = stderr
        self._status = status
        self._hangs = hangs
        self._dead_after = dead_after
        self.written = bytearray()
        self._wrote = asyncio.Event()
        self.closed = False
        self.largest_read = 0

    async def read(self, most: int) -> bytes:
        self.largest_read = max(self.largest_read, most)
        while not self._said and self._later:
            after, piece = self._later.pop(0)
            while len(self.written) < after:
                self._wrote.clear()
                await self._wrote.wait()
            self._said = piece
        if not self._said and self._hangs:
            await asyncio.Event().wait()
        if not self._said and self._status is None:
            raise OutcomeUnknown("the link was lost")
        piece, self._said = self._said[:most], self._said[most:]
        return piece

    def write(self, data: bytes) -> None:
        self.written += data
        self._wrote.set()

    async def drain(self) -> None:
        if self._dead_after is not None and len(self.written) >= self._dead_after:
            raise OutcomeUnknown("broken pipe")

    def write_eof(self) -> None:
        return

    def stderr_tail(self) -> str:
        return self._stderr

    async def wait(self, timeout_s: float) -> int:
        del timeout_s
        if self._status is None:
            raise OutcomeUnknown("the link was lost")
        return self._status

    async def close(self) -> None:
        self.closed = True


class FakeHosts:
    """The port ``HostPort`` as far as a push needs it, and the link of every host."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env
        self.cut_after_bytes: int | None = None
        self.instead: list[ByteChannel] = []
        """Given out for the next commands instead of a child."""
        self.opened: list[tuple[tuple[str, ...], bool]] = []
        self.channels: list[ByteChannel] = []
        self.round_trip: float | None = 0.0

    def expect(self, host: Host) -> None:
        """Nothing is ever put off."""

    def let_go(self, host: Host) -> None:
        """Keep the one link that there is."""

    def reached_at(self, host: Host) -> str | None:
        """Every host has the one address that it was given."""
        return host.addresses[0]

    async def link(self, host: Host, *, timeout_s: float, fresh: bool = False) -> FakeHosts:
        del host, timeout_s, fresh
        return self

    def round_trip_s(self) -> float | None:
        return self.round_trip

    async def open(self, argv: Sequence[str], *, privileged: bool = False) -> ByteChannel:
        self.opened.append((tuple(argv), privileged))
        # This machine is no host: only what this test process started is ours to end.
        argv = [word.replace(MARK, f"FLEETD_PUSH=test-{os.getpid()}") for word in argv]
        channel: ByteChannel
        if self.instead:
            channel = self.instead.pop(0)
        else:
            assert self._env or "nix-store" not in argv, "this machine's own store is no host's"
            cut = self.cut_after_bytes if argv[2] == "nix-store" else None
            channel = await SubprocessChannel.start(argv, self._env, cut)
        self.channels.append(channel)
        return channel

    async def open_tcp(self, address: str, port: int) -> ByteChannel:
        raise NotImplementedError(f"{address}:{port}")

    async def facts(self, host: Host, *, timeout_s: float) -> HostFacts:
        raise NotImplementedError(host.name, timeout_s)

    async def status(self, host: Host, *, timeout_s: float, fresh: bool = False) -> HostStatus:
        raise NotImplementedError(host.name, timeout_s, fresh)

    async def order(self, host: Host, order: Order, *, timeout_s: float, fresh: bool = False) -> HostStatus:
        raise NotImplementedError(host.name, order, timeout_s, fresh)

    async def close(self) -> None:
        return
