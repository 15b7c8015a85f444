"""Fixtures: one lab for the session, hosts made anew between tests, and a control node for each test.

Tests marked ``lab`` fail where there can be no lab, and say why; with FLEETD_NO_LAB=1 they are skipped instead.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest
from lab import HostSpec, Lab, LabHost, LabUnavailable
from lab.base import require
from lab.scene import SEED, Scene

from tests.signals import heed_interrupts

__all__ = ["Scene"]

heed_interrupts()

SPECS = tuple(
    HostSpec(f"web{n}", ("web", "canary") if n == 1 else ("web",), f"rack-{'abc'[(n - 1) % 3]}") for n in range(1, 7)
)


@cache
def missing() -> str:
    """Return what this machine lacks to run a lab; empty when it has all."""
    try:
        require()
    except LabUnavailable as error:
        return str(error)
    return ""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the tests that say that they take long: with several workers the rest fits beside them."""
    items.sort(key=lambda item: item.get_closest_marker("timeout") is None)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Before its fixtures are made, let a test of the lab end where there is none."""
    if item.get_closest_marker("lab") is None:
        return
    if os.environ.get("FLEETD_NO_LAB") == "1":
        pytest.skip("needs the lab, and FLEETD_NO_LAB=1 says to do without")
    if missing():
        pytest.fail(f"{missing()}. To skip these tests: FLEETD_NO_LAB=1", pytrace=False)


@pytest.fixture(scope="session")
def fleet_lab() -> Iterator[Lab]:
    """Six hosts in three domains, all tagged ``web`` and the first also ``canary``; up for the whole session."""
    with Lab.up(f"tests-{os.getpid()}", SPECS, seed=SEED) as lab:
        yield lab


@pytest.fixture
def hosts(fleet_lab: Lab) -> Mapping[str, LabHost]:
    """All hosts by name, each on its first system: those that a test had before are made anew."""
    fleet_lab.reset([host for host in fleet_lab.hosts.values() if not host.is_pristine()])
    for host in fleet_lab.hosts.values():
        host.mark_used()
    return fleet_lab.hosts


@pytest.fixture
def scene(fleet_lab: Lab, tmp_path: Path) -> Iterator[Scene]:
    """A scene; its control nodes end with it."""
    made = Scene(fleet_lab, tmp_path)
    yield made
    made.end()
