"""Who is calling: a bearer token, or the peer of a unix socket that is root or in the group ``fleetd``."""

from __future__ import annotations

import grp
import hashlib
import hmac
import json
import os
import pwd
import secrets
import socket
import struct
import time
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from fleetd.errors import ForbiddenError, UnauthorizedError

SCOPES = ("read", "deploy", "approve", "admin")
GROUP = "fleetd"
FILE = "tokens.json"


@dataclass(frozen=True, slots=True)
class Caller:
    """A known caller and what it may do; ``admin`` may do everything."""

    name: str
    scopes: tuple[str, ...]

    def require(self, scope: str) -> None:
        """Raise ForbiddenError unless the caller has the scope."""
        if scope not in self.scopes and "admin" not in self.scopes:
            raise ForbiddenError(f"{self.name} has {', '.join(self.scopes) or 'no scope'}; this needs {scope}")


class Tokens:
    """The file of tokens: hashed, with scopes and expiry. Read anew when it changes."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / FILE

    def create(self, name: str, scopes: tuple[str, ...], expires_s: float | None) -> str:
        """Add a token and return it; it is shown this once."""
        token = "fltd_" + secrets.token_urlsafe(32)
        entry = {
            "name": name,
            "sha256": hashlib.sha256(token.encode()).hexdigest(),
            "scopes": list(scopes),
            "expires_at": None if expires_s is None else time.time() + expires_s,
        }
        entries = [*self._read(), entry]
        self._path.parent.mkdir(parents=True, exist_ok=True)
        scratch = self._path.with_suffix(".tmp")
        with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(entries, file)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(self._path)
        return token

    def find(self, token: str, now: float) -> Caller | None:
        """Return whose token this is, if it is one and has not expired."""
        digest = hashlib.sha256(token.encode()).hexdigest()
        found = None
        for entry in self._read():
            alive = entry["expires_at"] is None or now < entry["expires_at"]
            if hmac.compare_digest(entry["sha256"], digest) and alive:
                found = Caller(entry["name"], tuple(entry["scopes"]))
        return found

    def _read(self) -> list[dict]:  # type: ignore[type-arg]  # JSON
        if not self._path.exists():
            return []
        return list(json.loads(self._path.read_text()))


def caller_of(request: web.Request, tokens: Tokens) -> Caller:
    """Return who calls. Raises UnauthorizedError."""
    word, _, token = request.headers.get("Authorization", "").partition(" ")
    if word.lower() == "bearer" and token:
        found = tokens.find(token.strip(), time.time())
        if found is not None:
            return found
        raise UnauthorizedError("the token is not known or has expired")
    peer = _unix_peer(request)
    if peer is not None:
        return peer
    raise UnauthorizedError("send Authorization: Bearer TOKEN (see fleetctl token create)")


def _unix_peer(request: web.Request) -> Caller | None:
    connection = request.transport.get_extra_info("socket") if request.transport is not None else None
    if connection is None or connection.family != socket.AF_UNIX:
        return None
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _pid, uid, gid = struct.unpack("3i", raw)
    if uid == 0:
        return Caller("root", ("admin",))
    try:
        user = pwd.getpwuid(uid).pw_name
        if grp.getgrnam(GROUP).gr_gid in os.getgrouplist(user, gid):
            return Caller(user, ("admin",))
    except KeyError:
        return None
    return None
