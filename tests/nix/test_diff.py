"""Differences of systems, from their paths alone."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetd.model.difference import Package
from fleetd.model.nix32 import nix32
from fleetd.model.store_path import StorePath
from fleetd.nix.diff import diff, name_and_version
from fleetd.ports import PathInfo


def info(name: str, content: str = "", size: int = 100) -> PathInfo:
    digest = nix32(hashlib.sha256(f"{name}{content}".encode()).digest()[:20])
    return PathInfo(StorePath(f"/nix/store/{digest}-{name}"), "", b"", (), size, (), "")


BASE = [
    info("glibc-2.40-66"),
    info("etc"),
    info("unit-sshd.service"),
    info("linux-6.12.1"),
    info("initrd-linux-6.12.1"),
]


@pytest.mark.parametrize(
    ("text", "name", "version"),
    [
        ("glibc-2.40-66", "glibc", "2.40-66"),
        ("openssl-3.0.13-bin", "openssl", "3.0.13"),
        ("python3.11-requests-2.31.0", "python3.11-requests", "2.31.0"),
        ("systemd-257.6-man", "systemd", "257.6"),
        ("system-path", "system-path", ""),
        ("nixos-system-web1-26.05", "nixos-system-web1", "26.05"),
        ("hook-", "hook-", ""),
    ],
)
def test_names_and_versions(text: str, name: str, version: str) -> None:
    assert name_and_version(text) == (name, version)


def test_packages_that_come_go_and_change() -> None:
    before = [*BASE, info("nginx-1.26.0", size=1000), info("vim-9.1", size=30)]
    after = [*BASE, info("nginx-1.28.0", size=1500), info("htop-3.3.0", size=70)]
    found = diff(before, after)
    assert found.changed == (Package("nginx", ("1.26.0",), ("1.28.0",), 500),)
    assert found.added == (Package("htop", (), ("3.3.0",), 70),)
    assert found.removed == (Package("vim", ("9.1",), (), -30),)
    assert (found.download_paths, found.download_bytes) == (2, 1570)
    assert found.bytes_after - found.bytes_before == 540
    assert not found.needs_reboot
    assert found.kernel is None


def test_several_versions_of_one_package_and_its_outputs() -> None:
    before = [info("openssl-1.1.1w"), info("openssl-3.0.13"), info("openssl-3.0.13-bin")]
    after = [info("openssl-3.0.13"), info("openssl-3.0.14", size=7), info("openssl-3.0.13-bin", "rebuilt", 150)]
    found = diff(before, after)
    assert found.changed == (Package("openssl", ("1.1.1w", "3.0.13"), ("3.0.13", "3.0.14"), -43),)
    assert found.rebuilt == ()


def test_a_rebuild_is_no_change_of_version() -> None:
    found = diff([*BASE, info("nginx-1.26.0")], [*BASE, info("nginx-1.26.0", "other compiler")])
    assert found.changed == found.added == found.removed == ()
    assert found.rebuilt == ("nginx",)


def test_units() -> None:
    before = [*BASE, info("unit-nginx.service", "a"), info("unit-old.timer")]
    after = [*BASE, info("unit-nginx.service", "b"), info("unit-new.socket")]
    found = diff(before, after)
    assert (found.units_added, found.units_removed, found.units_changed) == (
        ("new.socket",),
        ("old.timer",),
        ("nginx.service",),
    )
    assert found.added == (), "a unit is no package"


def test_a_kernel_needs_a_reboot() -> None:
    after = [*BASE[:3], info("linux-6.12.99"), info("initrd-linux-6.12.99")]
    found = diff(BASE, after)
    assert found.kernel == ("6.12.1", "6.12.99")
    assert found.needs_reboot
    assert diff(BASE, [*BASE[:4], info("initrd-linux-6.12.1", "other modules")]).needs_reboot


@given(
    st.lists(
        st.sampled_from([*BASE, info("a-1"), info("a-2"), info("b-1", "x"), info("unit-a.service", "x")]), unique=True
    )
)
def test_nothing_differs_from_itself_and_back_is_the_reverse(infos: list[PathInfo]) -> None:
    same = diff(infos, list(reversed(infos)))
    assert not any((same.added, same.removed, same.changed, same.rebuilt, same.units_changed))
    assert (same.download_bytes, same.needs_reboot, same.kernel) == (0, False, None)
    there, back = diff(BASE, infos), diff(infos, BASE)
    assert [package.name for package in there.added] == [package.name for package in back.removed]
    assert there.units_added == back.units_removed
    assert there.needs_reboot == back.needs_reboot
