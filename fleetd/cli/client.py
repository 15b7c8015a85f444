"""A small client of the API over a unix socket or TCP; standard library, so that the command starts fast."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from fleetd.errors import FleetdError, UsageError

if TYPE_CHECKING:
    import http.client

REQUEST_TIMEOUT_S = 1800.0
"""A plan evaluates the whole fleet before it answers."""


class NoDaemon(FleetdError):
    """There is no daemon at this address."""

    kind = "no-daemon"


class DaemonLost(NoDaemon):
    """The daemon was there and is gone before it answered: what was sent may or may not be on its disk."""

    kind = "daemon-lost"
    exit_code = 6


class Refused(FleetdError):
    """The daemon said no; its own words and exit code."""

    def __init__(self, document: Mapping[str, Any], status: int) -> None:
        super().__init__(str(document.get("detail") or f"HTTP {status}"))
        self.kind = str(document.get("kind", "http"))
        self.exit_code = int(document.get("exit_code", 1))


class Client:
    """Talks to one daemon."""

    def __init__(self, server: str, token_file: str | None) -> None:
        self._server = server
        self._token = _token_of(token_file) if token_file else None

    def get(self, path: str) -> Any:
        """Return the document at a path. Raises NoDaemon, Refused."""
        return self._ask("GET", path, None, {})

    def text(self, path: str) -> str:
        """Return the text at a path. Raises NoDaemon, Refused."""
        status, data = self._exchange("GET", path, None, {})
        if status >= 400:
            self._document(status, data)
        return data.decode(errors="replace")

    def post(self, path: str, body: Mapping[str, Any], key: str | None = None) -> Any:
        """Ask for something. Raises NoDaemon, Refused."""
        return self._ask("POST", path, body, {"Idempotency-Key": key} if key else {})

    def put(self, path: str, body: Mapping[str, Any]) -> Any:
        """Let something be so. Raises NoDaemon, Refused."""
        return self._ask("PUT", path, body, {})

    def delete(self, path: str) -> Any:
        """Let something be so no more. Raises NoDaemon, Refused."""
        return self._ask("DELETE", path, None, {})

    def deliver(self, path: str, body: bytes, headers: Mapping[str, str]) -> Any:
        """Send bytes as they are, with these headers instead of a token. Raises NoDaemon, Refused."""
        return self._document(*self._exchange("POST", path, body, headers, is_delivery=True))

    def pages(self, path: str, name: str) -> Iterator[Any]:
        """Yield the entries of every page of a list."""
        cursor = ""
        while True:
            joint = "&" if "?" in path else "?"
            page = self.get(f"{path}{joint}cursor={quote(cursor, safe='')}" if cursor else path)
            yield from page[name]
            if not page.get("next"):
                return
            cursor = page["next"]

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None, headers: Mapping[str, str]) -> Any:
        data = json.dumps(body).encode() if body is not None else None
        return self._document(*self._exchange(method, path, data, headers))

    def _document(self, status: int, data: bytes) -> Any:
        try:
            document = json.loads(data)
        except ValueError as error:
            raise NoDaemon(f"what answers at {self._server} is no fleetd (HTTP {status})") from error
        if not isinstance(document, Mapping):
            raise NoDaemon(f"what answers at {self._server} is no fleetd (HTTP {status})")
        if status >= 400:
            raise Refused(document, status)
        return document

    def _exchange(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], *, is_delivery: bool = False
    ) -> tuple[int, bytes]:
        # Only here: a help text asks no daemon, and HTTP is a fifth of what it takes to start.
        from fleetd.cli.connection import BROKEN, connection_to

        connection = connection_to(self._server, REQUEST_TIMEOUT_S)
        sent = {"Content-Type": "application/json", **headers}
        if self._token and not is_delivery:
            sent["Authorization"] = f"Bearer {self._token}"
        try:
            self._connect(connection)
            connection.request(method, path, body, sent)
            response = connection.getresponse()
            return response.status, response.read()
        except BROKEN as error:
            raise DaemonLost(
                f"fleetd at {self._server} went away before it answered: {str(error) or 'closed'}"
            ) from error
        finally:
            connection.close()

    def _connect(self, connection: http.client.HTTPConnection) -> None:
        try:
            connection.connect()
        except PermissionError as error:
            raise NoDaemon(f"{self._server}: {error.strerror}; be root, or in the group fleetd") from error
        except OSError as error:
            raise NoDaemon(f"no fleetd at {self._server}: {error}; is it running? (fleetd --config …)") from error


def _token_of(file: str) -> str:
    try:
        token = Path(file).read_text().strip()
    except (OSError, ValueError) as error:
        raise UsageError(f"--token-file {file}: {error}") from error
    if not token or not token.isascii() or not token.isprintable():
        raise UsageError(f"--token-file {file}: holds no token (fleetctl token create prints one)")
    return token
