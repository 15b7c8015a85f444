"""The one connection of a command to its daemon; a module of its own, since most of what it imports is HTTP's."""

from __future__ import annotations

import http.client
import socket

from fleetd.errors import UsageError

BROKEN = (OSError, http.client.HTTPException)
"""How a conversation ends that began and was not finished."""


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout_s: float) -> None:
        super().__init__("fleetd", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def connection_to(server: str, timeout_s: float) -> http.client.HTTPConnection:
    """Return a connection that is not made yet. Raises UsageError for what is no address of a daemon."""
    if server.startswith("unix:"):
        return _UnixConnection(server.removeprefix("unix:"), timeout_s)
    scheme, found, rest = server.partition("://")
    if found and scheme != "http":
        raise UsageError(f"--server {server!r}: write unix:/path or http://host:port")
    try:
        return http.client.HTTPConnection((rest if found else scheme).rstrip("/"), timeout=timeout_s)
    except http.client.InvalidURL as error:
        raise UsageError(f"--server {server!r}: {error}") from error
