"""Fixtures: one lab for the session, hosts made anew between tests, and a control node for each test.

Tests marked ``lab`` fail where there can be no lab, and say why; with FLEETD_NO_LAB=1 they are skipped instead.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

import pytest
from lab import HostSpec, Lab, LabHost, LabUnavailable
from lab import system as systems
from lab.base import require
from lab.control import CHECKS, POLICY, Control
from lab.seed import seed_with

SPECS = tuple(
    HostSpec(f"web{n}", ("web", "canary") if n == 1 else ("web",), f"rack-{'abc'[(n - 1) % 3]}") for n in range(1, 7)
)


def first_system(host: LabHost) -> systems.System:
    """Return what every host runs when a test begins."""
    return systems.good(host.name, host.wiring.gateway, "v1")


SEED = seed_with(first_system)


@cache
def missing() -> str:
    """Return what this machine lacks to run a lab; empty when it has all."""
    try:
        require()
    except LabUnavailable as error:
        return str(error)
    return ""


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


class Scene:
    """What a scenario acts on: fresh hosts by name, and a control node that knows them."""

    def __init__(self, lab: Lab, directory: Path) -> None:
        self.lab = lab
        self.gateway = lab.controller_address
        self._directory = directory
        self.controls: list[Control] = []

    def hosts(self, *names: str) -> list[LabHost]:
        """Return these hosts, made anew where a test used them before."""
        chosen = [self.lab.hosts[name] for name in names]
        self.lab.reset([host for host in chosen if not host.is_pristine()], SEED)
        for host in chosen:
            host.mark_used()
        return chosen

    def control(
        self, names: Sequence[str], *, policy: str = POLICY, checks: str = CHECKS, extra: str = "", start: bool = True
    ) -> Control:
        """Return a running control node for these hosts."""
        place = self._directory / f"control{len(self.controls)}"
        control = Control(self.lab, place, names=names, policy=policy, checks=checks, extra=extra)
        self.controls.append(control)
        if start:
            control.start()
        return control

    def build(self, make: Callable[..., systems.System], names: Sequence[str], *words: object) -> dict[str, str]:
        """Build a system for each host."""
        return {name: systems.build(make(name, self.gateway, *words)) for name in names}

    def runs(self, host: LabHost) -> tuple[str, str, str]:
        """Return (current system, profile, boot default) as the host itself shows them."""
        loader = host.inside("sh", "-c", "cat /boot/loader/entries/$(sed -n 's/^default //p' /boot/loader/loader.conf)")
        init = next(word for word in loader.stdout.split() if word.startswith("init="))
        default = init.removeprefix("init=").removesuffix("/init")
        return host.readlink("/run/current-system"), host.readlink("/nix/var/nix/profiles/system"), default

    def page(self, host: LabHost) -> str:
        """Return what the host's web server says."""
        done = host.inside("curl", "-s", "--max-time", "5", "http://127.0.0.1:8080/", check=False)
        return done.stdout.strip()


@pytest.fixture
def scene(fleet_lab: Lab, tmp_path: Path) -> Iterator[Scene]:
    """A scene; its control nodes end with it."""
    made = Scene(fleet_lab, tmp_path)
    yield made
    for control in made.controls:
        control.kill()
