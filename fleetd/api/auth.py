"""Who is calling: a bearer token, or the peer of a unix socket that is root or in the group ``fleetd``."""

from __future__ import annotations

import grp
import os
import pwd
import socket
import struct
import time
from dataclasses import dataclass

from aiohttp import web

from fleetd.api.tokens import SCOPES, Tokens
from fleetd.errors import ForbiddenError, UnauthorizedError

__all__ = ["GROUP", "SCOPES", "Caller", "Tokens", "caller_of"]

GROUP = "fleetd"


@dataclass(frozen=True, slots=True)
class Caller:
    """A known caller and what it may do; ``admin`` may do everything, and every scope may read."""

    name: str
    scopes: tuple[str, ...]

    def require(self, scope: str) -> None:
        """Raise ForbiddenError unless the caller has the scope."""
        allowed = "admin" in self.scopes or scope in self.scopes or (scope == "read" and bool(self.scopes))
        if not allowed:
            raise ForbiddenError(f"{self.name} has {', '.join(self.scopes) or 'no scope'}; this needs {scope}")


def caller_of(request: web.Request, tokens: Tokens) -> Caller:
    """Return who calls.

    A token that was sent counts, wherever it came in: a wrong one is never made good by the socket it came over.
    Raises UnauthorizedError.
    """
    given = request.headers.get("Authorization")
    if given is not None:
        word, _, token = given.partition(" ")
        found = tokens.find(token.strip(), time.time()) if word.lower() == "bearer" else None
        if found is None:
            raise UnauthorizedError("the token is not known or has expired")
        return Caller(found.name, found.scopes)
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
    return peer_of(uid, gid)


def peer_of(uid: int, gid: int) -> Caller | None:
    """Return what the kernel's word on a peer is worth: root, this very user, a member of the group, or nobody."""
    if uid == 0:
        return Caller("root", ("admin",))
    if uid == os.geteuid():
        # It owns the journal and the keys already.
        return Caller("fleetd's own user", ("admin",))
    try:
        user = pwd.getpwuid(uid).pw_name
        if grp.getgrnam(GROUP).gr_gid in os.getgrouplist(user, gid):
            return Caller(user, ("admin",))
    except KeyError:
        return None
    return None
