"""The file of API tokens: hashed, with scopes and expiry. Written by ``fleetctl token create``, read by the daemon."""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import json
import os
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleetd.errors import ConfigError

SCOPES = ("read", "deploy", "approve", "admin")
FILE = "tokens.json"
PREFIX = "fltd_"
"""Lets scanners of leaked secrets know a token of ours."""

TOKEN_BYTES = 32
"""256 bits: nothing to guess, so one round of SHA-256 is enough of a hash."""


@dataclass(frozen=True, slots=True)
class Token:
    """What is known of a token besides itself."""

    id: str
    name: str
    scopes: tuple[str, ...]


class BrokenTokens(ConfigError):
    """The file of tokens is damaged: no fault of the caller, and nobody is let in."""

    http_status = 500


class Tokens:
    """The tokens of one state directory; read anew for every question, so that a new one holds at once."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / FILE

    def create(self, name: str, scopes: Sequence[str], expires_s: float | None) -> str:
        """Add a token that holds for ``expires_s`` seconds (None: for ever), and return it; it is shown this once."""
        token, now = PREFIX + secrets.token_urlsafe(TOKEN_BYTES), time.time()
        entry = {
            "id": secrets.token_hex(4),
            "name": name,
            "sha256": _digest(token),
            "scopes": list(scopes),
            "created_at": now,
            "expires_at": None if expires_s is None else now + expires_s,
        }
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._alone():
            self._write([*self._read(), entry])
        return token

    def find(self, token: str, now: float) -> Token | None:
        """Return whose token this is, if it is one and has not expired. Raises BrokenTokens."""
        digest = _digest(token)
        found = None
        for entry in self._read():
            alive = entry["expires_at"] is None or now < entry["expires_at"]
            if hmac.compare_digest(str(entry["sha256"]), digest) and alive:
                found = Token(str(entry.get("id", "")), str(entry["name"]), tuple(entry["scopes"]))
        return found

    def entries(self) -> Sequence[Mapping[str, Any]]:
        """Return what is known of every token besides itself, oldest first. Raises BrokenTokens."""
        return [{name: value for name, value in entry.items() if name != "sha256"} for entry in self._read()]

    def revoke(self, id_or_name: str) -> int:
        """Take tokens away, by their id or all of a name, and return how many; they are refused from now on."""
        with self._alone():
            entries = self._read()
            left = [entry for entry in entries if id_or_name not in (entry.get("id"), entry["name"])]
            if len(left) < len(entries):
                self._write(left)
            return len(entries) - len(left)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Two that create at once must not lose one of the two."""
        handle = os.open(self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def _write(self, entries: Sequence[Mapping[str, Any]]) -> None:
        """Replace the file; whoever dies on the way leaves the one before."""
        scratch = self._path.with_suffix(".tmp")
        scratch.unlink(missing_ok=True)
        with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(entries, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
            owner = self._path.parent.stat()
            if os.geteuid() == 0:
                # Root makes tokens for a daemon that is not root: the directory says who that is.
                os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
        scratch.replace(self._path)
        directory = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def _read(self) -> list[dict[str, Any]]:
        try:
            entries = json.loads(self._path.read_text())
        except FileNotFoundError:
            return []
        except (OSError, ValueError) as error:
            raise BrokenTokens(f"{self._path} cannot be read: {error}") from error
        needed = {"name", "sha256", "scopes", "expires_at"}
        if not isinstance(entries, list) or not all(isinstance(e, dict) and needed <= set(e) for e in entries):
            raise BrokenTokens(f"{self._path} is not a list of tokens; move it away and create them anew")
        return entries


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()
