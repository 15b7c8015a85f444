"""A build that runs: how far it is, and what it says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BuildProgress:
    """How far a build is. What is to be done grows while Nix finds out what is needed.

    ``copied`` are paths that came from caches or other stores. ``running`` names the first few of the ``running_count``
    derivations that are built just now.
    """

    built: int = 0
    to_build: int = 0
    failed: int = 0
    copied: int = 0
    to_copy: int = 0
    downloaded_bytes: int = 0
    download_bytes: int = 0
    running_count: int = 0
    running: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BuildNews:
    """What is new of a build: how far it is, and what it said since, as plain text without control characters."""

    progress: BuildProgress
    lines: tuple[str, ...]


Told = Callable[[BuildNews], None]
"""Takes news of a build while it runs."""


def untold(_news: BuildNews) -> None:
    """Pass over the news of a build that nobody watches."""
