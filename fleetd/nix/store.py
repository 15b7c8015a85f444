"""The control node's store: metadata of closures, what is a toplevel, and roots."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import shutil
from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from fleetd.errors import ToplevelError
from fleetd.model.fleet import Host
from fleetd.model.nix32 import from_nix32
from fleetd.model.store_path import StorePath, parse_store_path, path_name, toplevel_belongs_to
from fleetd.nix import commands
from fleetd.nix.process import ChildOutputTooLong, ChildTimeout, run
from fleetd.ports import PathInfo

METADATA_TIMEOUT_S = 300.0
CLOSURES_KEPT = 64
"""A closure's metadata is about 1 MB; the same toplevels are asked for again within a rollout."""


class NixStore:
    """The port ``Store``."""

    def __init__(self, roots: Path) -> None:
        self._roots = roots
        self._closures: dict[StorePath, tuple[PathInfo, ...]] = {}

    async def closure(self, toplevel: StorePath) -> tuple[PathInfo, ...]:
        """Return the closure, references first. Raises ToplevelError."""
        kept = self._closures.get(toplevel)
        if kept is not None:
            return kept
        try:
            done = await run(commands.path_info(toplevel), timeout_s=METADATA_TIMEOUT_S)
        except (ChildTimeout, ChildOutputTooLong, OSError) as error:
            raise ToplevelError(f"{toplevel}: its closure cannot be read: {error}") from error
        if done.status != 0:
            raise ToplevelError(f"{toplevel} is not in the store: {done.stderr.strip()[-500:]}")
        try:
            closure = ordered(parse_path_infos(json.loads(done.stdout)))
        except (ValueError, KeyError, TypeError, CycleError) as error:
            raise ToplevelError(f"{toplevel}: its metadata cannot be understood: {error!r}") from error
        if len(self._closures) >= CLOSURES_KEPT:
            del self._closures[next(iter(self._closures))]
        self._closures[toplevel] = closure
        return closure

    async def check_toplevel(self, toplevel: StorePath, host: Host) -> None:
        """Raise ToplevelError unless it is a toplevel of this host."""
        await self.closure(toplevel)
        await asyncio.to_thread(_check, toplevel, host)

    async def add_root(self, name: str, path: StorePath) -> None:
        """Keep a path alive under a name."""
        link = self._roots / name
        await asyncio.to_thread(link.parent.mkdir, parents=True, exist_ok=True)
        done = await run(commands.build(path, str(link)), timeout_s=METADATA_TIMEOUT_S)
        if done.status != 0:
            raise ToplevelError(f"{path} cannot be kept alive: {done.stderr.strip()[-300:]}")

    async def drop_roots(self, prefix: str) -> None:
        """Forget the roots below a name."""
        await asyncio.to_thread(shutil.rmtree, self._roots / prefix, True)


def _check(toplevel: StorePath, host: Host) -> None:
    place = Path(toplevel)
    for part in ("nixos-version", "init"):
        if not (place / part).exists():
            raise ToplevelError(f"{toplevel} is not the toplevel of a NixOS system: it has no {part}")
    if not toplevel_belongs_to(toplevel, host.name):
        raise ToplevelError(f"{path_name(toplevel)} belongs to another host than {host.name}")
    system = (place / "system").read_text().strip() if (place / "system").exists() else host.system
    if system != host.system:
        raise ToplevelError(f"{path_name(toplevel)} is built for {system}, and {host.name} is {host.system}")


def parse_path_infos(document: object) -> list[PathInfo]:
    """Read what ``nix path-info --json`` prints: a list up to Nix 2.18, an object by path since 2.19.

    Raises ValueError, KeyError or TypeError when it is neither.
    """
    if isinstance(document, Mapping):
        entries: Iterable[Mapping[str, object]] = [{"path": path, **entry} for path, entry in document.items()]
    elif isinstance(document, list):
        entries = document
    else:
        raise TypeError("neither a list nor an object")
    return [_path_info(entry) for entry in entries]


def _path_info(entry: Mapping[str, object]) -> PathInfo:
    references, signatures = entry["references"], entry.get("signatures", [])
    if not isinstance(references, list) or not isinstance(signatures, list):
        raise TypeError("references and signatures are lists")
    return PathInfo(
        path=parse_store_path(str(entry["path"])),
        deriver=str(entry.get("deriver") or ""),
        nar_hash=parse_hash(str(entry["narHash"])),
        references=tuple(sorted(parse_store_path(str(reference)) for reference in references)),
        nar_size=int(str(entry["narSize"])),
        signatures=tuple(str(signature) for signature in signatures),
        ca=str(entry.get("ca") or ""),
    )


def parse_hash(text: str) -> bytes:
    """Return the 32 bytes of a SHA-256 in any of the forms that Nix prints. Raises ValueError."""
    if text.startswith("sha256-"):
        try:
            digest = base64.b64decode(text.removeprefix("sha256-"), validate=True)
        except binascii.Error as error:
            raise ValueError(f"{text!r} is not a hash") from error
    else:
        digits = text.removeprefix("sha256:")
        digest = bytes.fromhex(digits) if len(digits) == 64 else from_nix32(digits)
    if len(digest) != 32:
        raise ValueError(f"{text!r} is not a SHA-256")
    return digest


def ordered(infos: list[PathInfo]) -> tuple[PathInfo, ...]:
    """Return path infos with references before referrers; the same order for the same closure."""
    by_path = {info.path: info for info in sorted(infos, key=lambda info: info.path)}
    graph = {path: [reference for reference in info.references if reference != path] for path, info in by_path.items()}
    return tuple(by_path[path] for path in TopologicalSorter(graph).static_order())
