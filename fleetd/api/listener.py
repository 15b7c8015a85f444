"""Where the API listens: sockets with the right owners, and limits that one bad client cannot use up for the others."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import os
import shutil
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from aiohttp import web

from fleetd.api.auth import GROUP
from fleetd.errors import ConfigError, OverloadedError
from fleetd.schema.http import problem

HEAD_TIMEOUT_S = 20.0
"""From a connection, or the end of an answer, to the last byte of the next request's head. One that drips a head byte
by byte, or says nothing, is closed then; bodies have a time of their own."""

CONNECTIONS_LIMIT = 200
"""For each address listened on, so that a flood from the network never shuts the people at the socket out. 200 bodies
at their limit are 200 MB."""

ENDING_TIMEOUT_S = 3.0
"""For requests that are under way when the daemon ends. The controller has stopped by then, so that hosts in trial
hear nothing until these are over: a long plan, or an answer that never comes, must not use up their patience."""

SOCKET_MODE = 0o660
"""Root and the group ``fleetd``."""


class Listener:
    """Serves one application on several addresses."""

    def __init__(self, application: web.Application) -> None:
        self._runner = web.AppRunner(
            application, access_log=None, keepalive_timeout=HEAD_TIMEOUT_S, shutdown_timeout=ENDING_TIMEOUT_S
        )
        self._servers: list[asyncio.AbstractServer] = []

    async def open(self, places: tuple[str, ...]) -> None:
        """Listen on each ``unix:/path`` or ``host:port``. Raises ConfigError, and then listens nowhere."""
        await self._runner.setup()
        try:
            for place in places:
                self._servers.append(await self._listen(place))
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Take no more connections, and end those that are open; bounded."""
        for server in self._servers:
            server.close()
        await self._runner.cleanup()

    @property
    def ports(self) -> list[int]:
        """The TCP ports listened on: what port 0 became."""
        sockets = [s for server in self._servers if isinstance(server, asyncio.Server) for s in server.sockets]
        return [s.getsockname()[1] for s in sockets if s.family != socket.AF_UNIX]

    async def _listen(self, place: str) -> asyncio.AbstractServer:
        loop = asyncio.get_running_loop()
        if not place.isprintable():
            raise ConfigError(f"server.listen: {place!r} is no address")
        try:
            if place.startswith("unix:"):
                path = Path(place.removeprefix("unix:"))
                await asyncio.to_thread(_make_room, path)
                server = await loop.create_unix_server(self._guarded(), str(path))
                await asyncio.to_thread(_share, path)
                return server
            host, _, port = place.rpartition(":")
            if not host or not port.isdecimal() or int(port) > 65535:
                raise ConfigError(f"server.listen: {place!r} is neither unix:/path nor host:port")
            return await loop.create_server(self._guarded(), host.strip("[]"), int(port))
        except OSError as error:
            # The library's text repeats the address; the number says it all. Names that do not resolve have none.
            text = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or str(error)
            raise ConfigError(f"server.listen: cannot listen on {place}: {text}") from error

    def _guarded(self) -> Callable[[], asyncio.Protocol]:
        """Return what makes the protocol of each new connection of one address."""
        server, open_now = self._runner.server, set[_Guarded]()
        if server is None:
            raise RuntimeError("the application is set up before anything is listened on")
        return lambda: _Guarded(server(), open_now)


class _Guarded(asyncio.Protocol):
    """One connection, counted while it is open."""

    def __init__(self, inner: asyncio.Protocol, open_now: set[_Guarded]) -> None:
        self._inner = inner
        self._open_now = open_now

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Let the connection in, or say why not without reading what it asks."""
        if len(self._open_now) >= CONNECTIONS_LIMIT:
            _refuse(transport)
            return
        self._open_now.add(self)
        self._inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Pass bytes on."""
        if self in self._open_now:
            self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        """Pass the end of input on."""
        return self._inner.eof_received() if self in self._open_now else None

    def connection_lost(self, exc: Exception | None) -> None:
        """Free the place."""
        if self in self._open_now:
            self._open_now.discard(self)
            self._inner.connection_lost(exc)

    def pause_writing(self) -> None:
        """Pass it on."""
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        """Pass it on."""
        self._inner.resume_writing()


def _refuse(transport: asyncio.BaseTransport) -> None:
    error = OverloadedError(f"{CONNECTIONS_LIMIT} connections are open already; try again in a second")
    body = json.dumps(problem(error)).encode()
    head = (
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\nRetry-After: 1\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    if isinstance(transport, asyncio.WriteTransport):
        transport.write(head.encode() + body)
    transport.close()


def is_local(place: str) -> bool:
    """Whether only this machine can reach an address: what is sent there needs no TLS."""
    host = place.rpartition(":")[0].strip("[]")
    try:
        return place.startswith("unix:") or host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _make_room(path: Path) -> None:
    """Remove a socket that a crash left. Raises ConfigError when somebody answers there, or it is no socket."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not os.path.lexists(path):
        return
    if not path.is_socket():
        raise ConfigError(f"server.listen: {path} is there and is no socket; move it away, or listen elsewhere")
    if _answers(path):
        raise ConfigError(f"server.listen: another program, perhaps another fleetd, listens on {path} already")
    path.unlink()


def _share(path: Path) -> None:
    path.chmod(SOCKET_MODE)
    with suppress(LookupError, PermissionError):
        shutil.chown(path, group=GROUP)


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True
