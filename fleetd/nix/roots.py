"""Where roots are: one directory of links, named by who needs the path. Nix keeps what such a link points to."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from fleetd.errors import UsageError

_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")


def root_link(roots: Path, name: str) -> Path:
    """Return the link of a root name. Raises UsageError for a name that could lead out of the directory."""
    if not all(_PART.fullmatch(part) for part in name.split("/")):
        raise UsageError(
            f"{name!r} cannot be the name of a root (parts of letters, digits, '.', '_', '-', joined by '/')"
        )
    return (roots / name).absolute()


def make_place(link: Path) -> None:
    """Make the directory that the link of a root is in. Raises OSError."""
    link.parent.mkdir(parents=True, exist_ok=True)


def drop(roots: Path, prefix: str) -> None:
    """Remove all links whose name starts with ``prefix/``; none is fine. Raises UsageError, OSError.

    Nix forgets an indirect root by itself once its link is gone.
    """
    directory = root_link(roots, prefix)
    if directory.is_dir() and not directory.is_symlink():
        shutil.rmtree(directory)
