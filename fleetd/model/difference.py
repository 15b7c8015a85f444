"""What two systems of a host differ in."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Package:
    """A package on either side: its versions before and after (empty: not there), and how much larger it became."""

    name: str
    before: tuple[str, ...]
    after: tuple[str, ...]
    growth_bytes: int


@dataclass(frozen=True, slots=True)
class SystemDiff:
    """What changes when a host goes from one system to another.

    ``rebuilt`` are packages of the same version whose contents or references differ. ``download_bytes`` is what a host
    that has exactly the old system would be sent.
    """

    added: tuple[Package, ...]
    removed: tuple[Package, ...]
    changed: tuple[Package, ...]
    rebuilt: tuple[str, ...]
    units_added: tuple[str, ...]
    units_removed: tuple[str, ...]
    units_changed: tuple[str, ...]
    kernel: tuple[str, str] | None
    """Versions before and after, where they differ."""

    needs_reboot: bool
    bytes_before: int
    bytes_after: int
    download_paths: int
    download_bytes: int
