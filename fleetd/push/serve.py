"""The serve protocol, as bytes: what Nix 2.4 to 2.34 speak alike (versions 2.5 to 2.7).

Integers are 8 bytes little endian; strings have a length, then bytes, then padding to 8 (zero, or it is an error).
Nothing is allocated by a length that was not checked first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from fleetd.errors import PushError
from fleetd.ports import ByteChannel, PathInfo

CLIENT_MAGIC = 0x390C9DEB
SERVER_MAGIC = 0x5452EECB
OUR_VERSION = 0x0207
OLDEST_VERSION = 0x0205
MAJOR = 2

QUERY_VALID_PATHS = 1
ADD_TO_STORE_NAR = 9

PATH_LIMIT_BYTES = 4096
PATHS_LIMIT = 1_000_000
"""A closure is a few thousand paths; a larger answer is not one."""

READ_BYTES = 64 * 1024
_PADDING = tuple(bytes(count) for count in range(8))


class ServerEnded(Exception):
    """The server's stream ended in the middle of an answer; why is on its stderr."""


def encode_int(number: int) -> bytes:
    """Return an integer of the wire."""
    return number.to_bytes(8, "little")


def encode_bytes(data: bytes) -> bytes:
    """Return a string of the wire."""
    return len(data).to_bytes(8, "little") + data + _PADDING[-len(data) % 8]


def encode_text(text: str) -> bytes:
    """Return a string of the wire."""
    return encode_bytes(text.encode())


def encode_texts(texts: Sequence[str]) -> bytes:
    """Return a set of strings of the wire."""
    # Written out: the references of a closure are tens of thousands, and calls would be most of the work.
    parts = [len(texts).to_bytes(8, "little")]
    for text in texts:
        data = text.encode()
        parts += (len(data).to_bytes(8, "little"), data, _PADDING[-len(data) % 8])
    return b"".join(parts)


def hello() -> bytes:
    """Return the client's half of the handshake; commands may follow at once."""
    return encode_int(CLIENT_MAGIC) + encode_int(OUR_VERSION)


def query_valid_paths(paths: Iterable[str], *, lock: bool, substitute: bool) -> bytes:
    """Return the question which paths are valid; ``lock`` keeps all of them from being collected meanwhile."""
    flags = encode_int(int(lock)) + encode_int(int(substitute))
    return encode_int(QUERY_VALID_PATHS) + flags + encode_texts(list(paths))


def add_to_store(info: PathInfo) -> bytes:
    """Return what comes before a path's archive. ``ultimate`` is 0: the host did not build it."""
    return b"".join(
        (
            encode_int(ADD_TO_STORE_NAR),
            encode_text(info.path),
            encode_text(info.deriver),
            encode_text(info.nar_hash.hex()),
            encode_texts(info.references),
            encode_int(0),
            encode_int(info.nar_size),
            encode_int(0),
            encode_texts(info.signatures),
            encode_text(info.ca),
        )
    )


class Reader:
    """Reads the server's side.

    An answer that no Nix would give is a PushError that names the host; an early end is ServerEnded, and why is on
    stderr. ``moved`` is called for all that arrives.
    """

    def __init__(self, channel: ByteChannel, host: str, moved: Callable[[], None] = lambda: None) -> None:
        self._channel = channel
        self._host = host
        self._moved = moved
        self._buffer = bytearray()

    async def exactly(self, count: int) -> bytes:
        """Return ``count`` bytes. Raises ServerEnded at an early end, OutcomeUnknown when the link dies."""
        while len(self._buffer) < count:
            piece = await self._channel.read(READ_BYTES)
            if not piece:
                raise ServerEnded(f"{self._host}: the server ended in the middle of an answer")
            self._buffer += piece
            self._moved()
        data = bytes(self._buffer[:count])
        del self._buffer[:count]
        return data

    async def integer(self) -> int:
        """Return an integer."""
        return int.from_bytes(await self.exactly(8), "little")

    async def text(self, limit: int = PATH_LIMIT_BYTES) -> str:
        """Return a string of at most ``limit`` bytes."""
        length = await self.integer()
        if length > limit:
            raise self.garbled(f"announces a string of {length} bytes, at most {limit} make sense")
        padded = await self.exactly(length + -length % 8)
        if any(padded[length:]):
            raise self.garbled("pads a string with something else than zeros")
        try:
            return padded[:length].decode()
        except UnicodeDecodeError as error:
            raise self.garbled("answers with a path that is not text") from error

    async def texts(self, limit: int = PATHS_LIMIT) -> set[str]:
        """Return a set of strings, at most ``limit``."""
        count = await self.integer()
        if count > limit:
            raise self.garbled(f"announces {count} paths, at most {limit} make sense")
        return {await self.text() for _ in range(count)}

    async def handshake(self) -> int:
        """Read the server's half of the handshake and return the version in use."""
        magic = await self.integer()
        if magic != SERVER_MAGIC:
            text = "what answers is no Nix server; does a shell profile of the deploy user print something?"
            raise PushError("no-nix", f"{self._host}: {text} (it says {magic.to_bytes(8, 'little')!r})")
        version = await self.integer()
        shown = f"{version >> 8}.{version & 0xFF}"
        if version < OLDEST_VERSION:
            raise PushError("too-old", f"{self._host}: its Nix speaks serve protocol {shown}; 2.5 (Nix 2.2) is needed")
        if version >> 8 != MAJOR:
            raise self.garbled(f"speaks serve protocol {shown}, and only 2.5 and later 2.x are known here")
        return min(version, OUR_VERSION)

    def garbled(self, text: str) -> PushError:
        """Return the error for an answer that no Nix would give."""
        return PushError("rejected", f"{self._host}: its Nix server {text}")
