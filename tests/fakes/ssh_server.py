"""A real ssh server in the test's own process, whose commands a test answers."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import asyncssh

from fleetd.host.connection import SshIdentity
from fleetd.model.fleet import Host

Process = asyncssh.SSHServerProcess[bytes]
Answer = Callable[[Process], Awaitable[None]]
HELPER_ON_HOST = "/nix/store/00000000000000000000000000000000-"


async def install(process: Process) -> None:
    """Take the helper, as a host does."""
    await process.stdin.read()
    name = shlex.split(process.command or "")[-2]
    process.stdout.write(f"{HELPER_ON_HOST}{name}\n".encode())
    process.exit(0)


def reply(text: bytes, *, stderr: bytes = b"", status: int = 0) -> Answer:
    """Return what reads all input, says this and ends."""

    async def answer(process: Process) -> None:
        await process.stdin.read()
        process.stdout.write(text)
        process.stderr.write(stderr)
        process.exit(status)

    return answer


def cut_after(text: bytes) -> Answer:
    """Return what says this, and then the whole connection is gone."""

    async def answer(process: Process) -> None:
        await process.stdin.read()
        process.stdout.write(text)
        await process.stdout.drain()
        process.get_extra_info("connection").abort()

    return answer


async def silence(process: Process) -> None:
    """Never answer; end with the connection."""
    await process.stdin.read()
    await asyncio.Event().wait()


class _Logins(asyncssh.SSHServer):
    def __init__(self, server: SshServer) -> None:
        self._server = server
        self._user = ""

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._server.connections.append(conn)

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.ended.set()

    def begin_auth(self, username: str) -> bool:
        self._user = username
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        return username == "root" and key.get_fingerprint() == self._server.client_key.get_fingerprint()

    def connection_requested(self, dest_host: str, dest_port: int, orig_host: str, orig_port: int) -> bool:
        del dest_host, orig_host, orig_port
        return dest_port not in self._server.refused_ports


@dataclass(slots=True)
class SshServer:
    """The server; ``answers`` maps the last word of a command line to what answers it."""

    directory: Path
    answers: dict[str, Answer] = field(default_factory=dict)
    install: Answer = install
    find_answer: Answer | None = None
    pinned: str = ""
    """The helper that the host brings itself, if it does."""
    commands: list[str] = field(default_factory=list)
    running: int = 0
    refused_ports: set[int] = field(default_factory=set)
    connections: list[asyncssh.SSHServerConnection] = field(default_factory=list)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    key: asyncssh.SSHKey = field(default_factory=lambda: asyncssh.generate_private_key("ssh-ed25519"))
    client_key: asyncssh.SSHKey = field(default_factory=lambda: asyncssh.generate_private_key("ssh-ed25519"))
    _acceptor: asyncssh.SSHAcceptor | None = None

    async def __aenter__(self) -> Self:
        self._acceptor = await asyncssh.create_server(
            lambda: _Logins(self),
            "127.0.0.1",
            0,
            server_host_keys=[self.key],
            process_factory=self._process,
            encoding=None,
        )
        return self

    async def __aexit__(self, *_exception: object) -> None:
        assert self._acceptor is not None
        self._acceptor.close()
        for connection in self.connections:
            connection.abort()
        await self._acceptor.wait_closed()

    @asynccontextmanager
    async def behind_socket(self, path: Path) -> AsyncIterator[None]:
        """Listen on a socket of this machine as well, as a host's own ssh client makes sshd do."""

        async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
            writer.close()

        async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self.port)
            try:
                await asyncio.gather(carry(reader, inner_writer), carry(inner_reader, writer), return_exceptions=True)
            finally:
                inner_writer.close()
                writer.close()

        tasks: list[asyncio.Task[None]] = []

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            tasks.append(asyncio.get_running_loop().create_task(forward(reader, writer)))

        server = await asyncio.start_unix_server(accept, path)
        try:
            yield
        finally:
            server.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await server.wait_closed()

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._acceptor is not None
        return self._acceptor.get_port()

    @property
    def live(self) -> int:
        """How many connections are open."""
        return sum(not connection.is_closed() for connection in self.connections)

    def host(self, name: str = "web1", **changes: object) -> Host:
        """Return the fleet's word for this server."""
        key = self.key.export_public_key().decode().strip()
        words: dict[str, object] = {"addresses": ("127.0.0.1",), "port": self.port, "host_key": key, **changes}
        return Host(name, **words)  # type: ignore[arg-type]

    def identity(self, key: asyncssh.SSHKey | None = None) -> SshIdentity:
        """Return with what to log in."""
        place = self.directory / "client-key"
        (key or self.client_key).write_private_key(str(place))
        return SshIdentity((str(place),), None, connect_timeout_s=10, login_timeout_s=10)

    async def find(self, process: Process) -> None:
        """Say where the helper is, as a host's shell does."""
        if self.find_answer is not None:
            await self.find_answer(process)
            return
        known = shlex.split(process.command or "")[-1]
        was_installed = known if any("gcroots" in line for line in self.commands) else ""
        process.stdout.write((self.pinned or was_installed).encode() + b"\n")
        process.exit(0)

    async def _process(self, process: Process) -> None:
        line = process.command or ""
        self.commands.append(line)
        self.running += 1
        try:
            last = line.rsplit(" ", 1)[-1]
            answer = self.answers.get(last, reply(b"", status=127))
            if "if [ -x" in line:
                answer = self.find
            elif "nix-store --add" in line:
                answer = self.install
            await answer(process)
        except (asyncssh.Error, OSError):
            return
        finally:
            self.running -= 1
