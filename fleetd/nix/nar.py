"""NAR, Nix's archive: the one serialisation of a store path that its hash is taken over.

Grammar: Nix manual, "Nix Archive (NAR) format". Names are in byte order, a file's executable bit is its owner's, and
nothing else of a file's metadata is kept.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

CHUNK_BYTES = 128 * 1024
"""Small files are gathered, large ones read, in pieces of this size (64–128 KiB inline beat threads when measured)."""

DEPTH_LIMIT = 64
"""Nix refuses deeper archives since 2.34.7."""


class NarError(OSError):
    """This path cannot be archived; the text says which and why. An OSError, like all that reading files can raise."""


def encode_string(data: bytes) -> bytes:
    """Return a string of the archive: length, bytes, padding to 8."""
    return len(data).to_bytes(8, "little") + data + bytes(-len(data) % 8)


_HEAD = encode_string(b"nix-archive-1")
_OPEN, _CLOSE = encode_string(b"("), encode_string(b")")
_FILE = _OPEN + encode_string(b"type") + encode_string(b"regular")
_EXECUTABLE = encode_string(b"executable") + encode_string(b"")
_CONTENTS = encode_string(b"contents")
_SYMLINK = _OPEN + encode_string(b"type") + encode_string(b"symlink") + encode_string(b"target")
_DIRECTORY = _OPEN + encode_string(b"type") + encode_string(b"directory")
_ENTRY = encode_string(b"entry") + _OPEN + encode_string(b"name")
_NODE = encode_string(b"node")


def dump(path: str) -> Iterator[bytes]:
    """Yield the archive of a path in pieces of 1 to CHUNK_BYTES bytes, small files gathered.

    Raises NarError for what an archive cannot hold, and OSError. Never holds more than two pieces in memory.
    """
    buffer = bytearray(_HEAD)
    for piece in _node(os.fsencode(path), 0):
        if len(buffer) + len(piece) > CHUNK_BYTES:
            yield bytes(buffer)
            buffer.clear()
        buffer += piece
    yield bytes(buffer)


def _node(path: bytes, depth: int) -> Iterator[bytes]:
    if depth > DEPTH_LIMIT:
        raise NarError(f"{path!r} is deeper than {DEPTH_LIMIT} directories")
    status = os.lstat(path)
    if stat.S_ISREG(status.st_mode):
        yield from _file(path, status)
    elif stat.S_ISLNK(status.st_mode):
        yield _SYMLINK + encode_string(os.readlink(path)) + _CLOSE  # noqa: PTH115 - a path of bytes
    elif stat.S_ISDIR(status.st_mode):
        yield _DIRECTORY
        for name in sorted(os.listdir(path)):  # noqa: PTH208 - a path of bytes
            yield _ENTRY + encode_string(name) + _NODE
            yield from _node(path + b"/" + name, depth + 1)
            yield _CLOSE
        yield _CLOSE
    else:
        raise NarError(f"{path!r} is neither a file, a directory nor a link")


def _file(path: bytes, status: os.stat_result) -> Iterator[bytes]:
    executable = _EXECUTABLE if status.st_mode & stat.S_IXUSR else b""
    size = status.st_size
    yield _FILE + executable + _CONTENTS + size.to_bytes(8, "little")
    left = size
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - a path of bytes
        while left:
            piece = file.read(min(CHUNK_BYTES, left))
            if not piece:
                raise NarError(f"{path!r} became shorter while it was read")
            left -= len(piece)
            yield piece
    yield bytes(-size % 8) + _CLOSE
