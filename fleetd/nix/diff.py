"""What two systems differ in, from the metadata of their closures alone: pure, and nothing is built or copied for it.

Names are read as Nix reads them: a version begins at the first dash that no letter follows (Nix manual,
``builtins.parseDrvName``). NixOS puts each unit into a path ``unit-NAME`` of its own, and names the parts that only a
boot can replace after the kernel: ``linux-VERSION``, ``initrd-linux-…``, ``linux-VERSION-modules``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from fleetd.model.difference import Package, SystemDiff
from fleetd.model.store_path import path_name
from fleetd.ports import PathInfo

OUTPUTS = ("bin", "dev", "lib", "man", "doc", "info", "debug", "static", "data", "dist", "devdoc", "modules-shrunk")
"""Outputs of one package are one package."""

_UNIT = re.compile(r"unit-(?P<name>.+\.(service|socket|timer|target|mount|automount|path|slice|swap))(-disabled)?")
_VERSION = re.compile(r"-(?=[^A-Za-z])")
_KERNEL = re.compile(r"linux-(?P<version>[0-9][0-9A-Za-z.+_-]*?)")
_BOOTED = re.compile(r"(linux-[0-9].*|initrd-linux.*|initrd|kernel-modules)")


def diff(before: Sequence[PathInfo], after: Sequence[PathInfo]) -> SystemDiff:
    """Return what differs between two closures; the same for any order of their paths."""
    old, new = {info.path: info for info in before}, {info.path: info for info in after}
    gone = [info for path, info in old.items() if path not in new]
    come = [info for path, info in new.items() if path not in old]
    packages = _packages(before, after, gone, come)
    units_old, units_new = _units(before), _units(after)
    kernels = _kernel(before), _kernel(after)
    return SystemDiff(
        added=tuple(package for package in packages if not package.before),
        removed=tuple(package for package in packages if not package.after),
        changed=tuple(package for package in packages if package.before and package.after),
        rebuilt=_rebuilt(gone, come, packages),
        units_added=tuple(sorted(units_new.keys() - units_old.keys())),
        units_removed=tuple(sorted(units_old.keys() - units_new.keys())),
        units_changed=tuple(sorted(n for n in units_old.keys() & units_new.keys() if units_old[n] != units_new[n])),
        kernel=kernels if kernels[0] != kernels[1] else None,
        needs_reboot=_booted(before) != _booted(after),
        bytes_before=sum(info.nar_size for info in old.values()),
        bytes_after=sum(info.nar_size for info in new.values()),
        download_paths=len(come),
        download_bytes=sum(info.nar_size for info in come),
    )


def unit_of(text: str) -> str | None:
    """Return the unit that a path's name says it holds; None where it says nothing of the kind."""
    found = _UNIT.fullmatch(text)
    return None if found is None else found["name"]


def name_and_version(text: str) -> tuple[str, str]:
    """Return a name without and its version (empty: it has none), with an output's name left out."""
    found = _VERSION.search(text)
    if found is None:
        return text, ""
    name, version = text[: found.start()], text[found.end() :]
    for output in OUTPUTS:
        version = version.removesuffix(f"-{output}")
    return name, version


def _packages(
    before: Iterable[PathInfo], after: Iterable[PathInfo], gone: Iterable[PathInfo], come: Iterable[PathInfo]
) -> list[Package]:
    """Return the packages whose set of versions differs."""
    old, new, growth = _versions(before), _versions(after), dict[str, int]()
    for sign, infos in ((-1, gone), (1, come)):
        for info in infos:
            name, _version = name_and_version(path_name(info.path))
            growth[name] = growth.get(name, 0) + sign * info.nar_size
    return [
        Package(name, tuple(sorted(old.get(name, ()))), tuple(sorted(new.get(name, ()))), growth.get(name, 0))
        for name in sorted(old.keys() | new.keys())
        if old.get(name, set()) != new.get(name, set())
    ]


def _versions(infos: Iterable[PathInfo]) -> dict[str, set[str]]:
    """Return the versions of everything that has one: what has none is configuration, not a package."""
    found: dict[str, set[str]] = {}
    for info in infos:
        text = path_name(info.path)
        name, version = name_and_version(text)
        if version and unit_of(text) is None and not text.startswith("nixos-system-"):
            found.setdefault(name, set()).add(version)
    return found


def _rebuilt(gone: Iterable[PathInfo], come: Iterable[PathInfo], packages: Iterable[Package]) -> tuple[str, ...]:
    told = frozenset(package.name for package in packages)
    old = frozenset(path_name(info.path) for info in gone)
    names = {path_name(info.path) for info in come if path_name(info.path) in old}
    versioned = {name for name, version in map(name_and_version, names) if version}
    return tuple(sorted(name for name in versioned if name not in told))


def _units(infos: Iterable[PathInfo]) -> Mapping[str, str]:
    found = {}
    for info in infos:
        unit = unit_of(path_name(info.path))
        if unit is not None:
            found[unit] = str(info.path)
    return found


def _kernel(infos: Iterable[PathInfo]) -> str:
    """Return the kernel's version; empty where none, or several, would be it."""
    found = [_KERNEL.fullmatch(path_name(info.path)) for info in infos]
    versions = {kernel["version"] for kernel in found if kernel is not None and "modules" not in kernel[0]}
    return versions.pop() if len(versions) == 1 else ""


def _booted(infos: Iterable[PathInfo]) -> frozenset[str]:
    """Return the parts that only a boot can replace."""
    return frozenset(str(info.path) for info in infos if _BOOTED.fullmatch(path_name(info.path)))
