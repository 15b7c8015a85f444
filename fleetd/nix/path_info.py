"""What ``nix path-info --json`` prints, read in each of its forms.

A list up to Nix 2.18; an object by path since 2.19; since 2.33 optionally ``{"info": …}`` with base names instead of
paths and with hashes and content addresses as objects (Nix manual, "Store object info JSON format").
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from graphlib import TopologicalSorter

from fleetd.model.nix32 import from_nix32, nix32
from fleetd.model.store_path import STORE_DIRECTORY, StorePath, parse_store_path
from fleetd.ports import PathInfo

Entry = Mapping[str, object]

HASH_BYTES = {"md5": 16, "sha1": 20, "sha256": 32, "sha512": 64}
"""Archives are hashed by SHA-256 alone; what is fetched is addressed by the hash that its author gave."""

_HASH = re.compile(r"(?:(?P<algorithm>[a-z0-9]+)(?P<mark>[:-]))?(?P<digits>.+)")


class NotValid(Exception):
    """The store says that a path is not in it."""


def parse_path_infos(document: object) -> list[PathInfo]:
    """Return the metadata in a document.

    Raises NotValid, or ValueError, KeyError, TypeError, ToplevelError when it cannot be understood.
    """
    # Each path is named again by all that refer to it: it is checked once, and is one object in memory.
    known: dict[str, StorePath] = {}
    if isinstance(document, Mapping):
        by_path = _mapping(document.get("info", document))
        return [_path_info({**_valid(path, entry), "path": path}, known) for path, entry in by_path.items()]
    if isinstance(document, list):
        return [_path_info(_valid("a path", entry), known) for entry in document]
    raise TypeError("neither a list nor an object")


def ordered(infos: list[PathInfo]) -> tuple[PathInfo, ...]:
    """Return path infos with references before referrers; the same order for the same closure. Raises CycleError."""
    by_path = {info.path: info for info in sorted(infos, key=lambda info: info.path)}
    graph = {path: [reference for reference in info.references if reference != path] for path, info in by_path.items()}
    return tuple(by_path[path] for path in TopologicalSorter(graph).static_order())


def parse_hash(value: object) -> bytes:
    """Return the 32 bytes of a SHA-256 in any of the forms that Nix prints. Raises ValueError, KeyError, TypeError."""
    algorithm, digest = _any_hash(value)
    if algorithm != "sha256":
        raise ValueError(f"{value!r} is not a SHA-256")
    return digest


def _any_hash(value: object) -> tuple[str, bytes]:
    """Return a hash's algorithm and bytes. Raises ValueError, KeyError, TypeError."""
    if isinstance(value, Mapping):
        if value.get("format", "base64") != "base64":
            raise ValueError(f"{value!r} is not in base 64")
        value = f"{value['algorithm']}-{value['hash']}"
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a hash")
    found = _HASH.fullmatch(value)
    if found is None:
        raise ValueError(f"{value!r} is not a hash")
    algorithm, mark, digits = found["algorithm"] or "sha256", found["mark"], found["digits"]
    if algorithm not in HASH_BYTES:
        raise ValueError(f"{value!r} is a hash of a kind that is not known")
    length = HASH_BYTES[algorithm]
    if mark == "-":
        digest = base64.b64decode(digits, validate=True)
    else:
        digest = bytes.fromhex(digits) if len(digits) == 2 * length else from_nix32(digits, length)
    if len(digest) != length:
        raise ValueError(f"{value!r} is not of the length of a hash")
    return algorithm, digest


def _path_info(entry: Entry, known: dict[str, StorePath]) -> PathInfo:
    references, signatures = entry["references"], entry.get("signatures") or []
    if not isinstance(references, list) or not isinstance(signatures, list):
        raise TypeError("references and signatures are lists")
    size = entry["narSize"]
    if not isinstance(size, int) or size <= 0:
        raise ValueError(f"{entry['path']}: {size!r} is not the size of an archive")
    deriver = entry.get("deriver")
    return PathInfo(
        path=_store_path(entry["path"], known),
        deriver=_store_path(deriver, known) if deriver else "",
        nar_hash=parse_hash(entry["narHash"]),
        references=tuple(sorted([_store_path(reference, known) for reference in references])),
        nar_size=size,
        signatures=tuple(str(signature) for signature in signatures),
        ca=_content_address(entry.get("ca")),
    )


def _store_path(value: object, known: dict[str, StorePath]) -> StorePath:
    text = str(value)
    path = known.get(text)
    if path is None:
        path = known[text] = parse_store_path(text if text.startswith("/") else f"{STORE_DIRECTORY}/{text}")
    return path


def _content_address(value: object) -> str:
    """Return the form that the wire has: ``text:sha256:…``, ``fixed:sha256:…``, ``fixed:r:sha512:…``."""
    if not isinstance(value, Mapping):
        return str(value or "")
    prefix = {"text": "text:", "flat": "fixed:", "nar": "fixed:r:"}[str(value["method"])]
    algorithm, digest = _any_hash(value["hash"])
    return f"{prefix}{algorithm}:{nix32(digest)}"


def _valid(path: str, entry: object) -> Entry:
    """Return an entry's fields. Old Nix marks what is not in the store with ``valid``, new Nix with null."""
    if entry is None:
        raise NotValid(path)
    fields = _mapping(entry)
    if fields.get("valid") is False:
        raise NotValid(str(fields.get("path", path)))
    return fields


def _mapping(value: object) -> Entry:
    if not isinstance(value, Mapping):
        raise TypeError(f"{str(value)[:100]!r} is not an object")
    return value
