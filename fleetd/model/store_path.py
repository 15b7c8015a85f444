"""Store paths and toplevels, checked once and then trusted.

The grammar is Nix's own: 32 characters of its base 32 alphabet, a dash, and a name of at most 211 characters
(Nix manual, "Store Path"; ``checkName`` in ``libstore/path.cc``).
"""

from __future__ import annotations

import re
from typing import NewType

from fleetd.errors import ToplevelError

StorePath = NewType("StorePath", str)
"""A full path such as ``/nix/store/…-nixos-system-web1-26.05``, known to match the grammar."""

STORE_DIRECTORY = "/nix/store"
_STORE_PATH = re.compile(r"/nix/store/[0-9abcdfghijklmnpqrsvwxyz]{32}-[A-Za-z0-9+_?=-][A-Za-z0-9+._?=-]{0,210}")


def is_store_path(text: str) -> bool:
    """Say whether a text is a store path, and not one inside of it."""
    return _STORE_PATH.fullmatch(text) is not None


def parse_store_path(text: str) -> StorePath:
    """Return ``text`` as a store path.

    Raises:
        ToplevelError: it is not one; a path *inside* a store path is not one either.
    """
    if not is_store_path(text):
        raise ToplevelError(f"{text!r} is not a store path (expected {STORE_DIRECTORY}/<32 characters>-<name>)")
    return StorePath(text)


def base_name(path: StorePath) -> str:
    """Return the path without the store directory: hash, dash, name."""
    return path.removeprefix(STORE_DIRECTORY + "/")


def path_name(path: StorePath) -> str:
    """Return the name part, without the hash."""
    return base_name(path)[33:]


def toplevel_belongs_to(path: StorePath, host: str) -> bool:
    """Say whether a toplevel's name is that of ``host``: ``nixos-system-HOST-LABEL``.

    NixOS names the path after ``networking.hostName`` (``system/activation/top-level.nix``), so a wrong name is a
    system built for another machine.
    """
    return path_name(path).startswith(f"nixos-system-{host}-")
