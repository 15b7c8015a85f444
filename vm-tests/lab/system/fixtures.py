"""Fixtures for tests of the systems themselves: ``pytest_plugins = ["lab.system.fixtures"]`` gives them a ``rig``."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from lab import HostSpec, Lab, LabHost, LabUnavailable
from lab.seed import seed_with
from lab.system import System, build, good
from lab.system.rig import Rig


def first_system(host: LabHost) -> System:
    """Return what the host runs when a test begins."""
    return good(host.name, host.wiring.gateway, "v1")


SEED = seed_with(first_system)


@pytest.fixture(scope="module")
def contract_lab() -> Iterator[Lab]:
    """One host; without root or Linux this fails, unless FLEETD_NO_LAB says that it is meant."""
    if os.environ.get("FLEETD_NO_LAB") == "1":
        pytest.skip("FLEETD_NO_LAB=1")
    try:
        lab = Lab.up(f"contract-{os.getpid()}", [HostSpec("web1")], seed=SEED)
    except LabUnavailable as error:
        pytest.fail(str(error))
    with lab:
        yield lab


@pytest.fixture
def rig(contract_lab: Lab) -> Rig:
    """A host that has just booted its first system, whatever the test before did to it."""
    host = contract_lab.hosts["web1"]
    if not host.is_pristine():
        contract_lab.reset([host], SEED)
    host.mark_used()
    return Rig(host, build(first_system(host)))
