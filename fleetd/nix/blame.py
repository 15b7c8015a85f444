"""What may have broken a host: all that differs between two systems, what the failing units use first. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from fleetd.model.difference import Package, SystemDiff
from fleetd.model.store_path import path_name
from fleetd.nix.diff import diff, name_and_version, unit_of
from fleetd.ports import PathInfo

SHOWN_UNITS = 6
SHOWN_PACKAGES = 8
"""What fits beside a reason; ``fleetctl diff`` and the host's log have all of it."""


def blame(before: Sequence[PathInfo], after: Sequence[PathInfo], failing: Iterable[str]) -> str:
    """Return the units and packages that differ, in one line; empty when nothing does.

    Args:
        before: the closure that the host ran.
        after: the closure that failed there.
        failing: names of the units that failed, as far as anybody knows.
    """
    found, named = diff(before, after), dict.fromkeys(failing)
    distance = _distances(after, named)
    units = [f"{mark}{unit}" for mark, group in _units(found) for unit in group]
    units.sort(key=lambda unit: (unit.lstrip("+-") not in named, unit.lstrip("+-")))
    packages = sorted(
        (*found.changed, *found.added, *found.removed), key=lambda one: (distance.get(one.name, len(after)), one.name)
    )
    near = [name for name in found.rebuilt if name in distance]
    parts = []
    if units:
        parts.append(f"units {_some(units, SHOWN_UNITS)}")
    if packages or near:
        told = [_told(package) for package in packages] + [f"{name} (rebuilt)" for name in near]
        parts.append(f"packages {_some(told, SHOWN_PACKAGES)}")
    if found.kernel is not None:
        parts.append(f"kernel {' -> '.join(version or 'unknown' for version in found.kernel)}")
    return "; ".join(parts)


def _units(found: SystemDiff) -> tuple[tuple[str, tuple[str, ...]], ...]:
    return ("", found.units_changed), ("+", found.units_added), ("-", found.units_removed)


def _distances(after: Sequence[PathInfo], failing: Mapping[str, object]) -> Mapping[str, int]:
    """Return how many references a package is away from a failing unit, by its name: the nearest of its paths."""
    by_path = {info.path: info for info in after}
    layer = [info for info in after if unit_of(path_name(info.path)) in failing]
    seen = {info.path: 0 for info in layer}
    found: dict[str, int] = {}
    steps = 0
    while layer:
        steps += 1
        following = []
        for info in layer:
            for reference in info.references:
                if reference in by_path and reference not in seen:
                    seen[reference] = steps
                    following.append(by_path[reference])
                    found.setdefault(name_and_version(path_name(reference))[0], steps)
        layer = following
    return found


def _told(package: Package) -> str:
    sides = [", ".join(side) for side in (package.before, package.after)]
    if not package.before:
        return f"+{package.name} {sides[1]}"
    if not package.after:
        return f"-{package.name} {sides[0]}"
    return f"{package.name} {sides[0]} -> {sides[1]}"


def _some(words: Sequence[str], most: int) -> str:
    more = f" and {len(words) - most} more" if len(words) > most else ""
    return ", ".join(words[:most]) + more
