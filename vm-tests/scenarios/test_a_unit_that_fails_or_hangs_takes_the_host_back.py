"""A unit of the new system fails, or never comes up: the host goes back, and what failed is named."""

from __future__ import annotations

import pytest
from lab import system as systems
from lab.scene import Scene

pytestmark = pytest.mark.lab


@pytest.mark.parametrize(("make", "unit"), [(systems.unit_fails, "broken"), (systems.unit_hangs, "hanging")])
def test_a_unit_that_fails_or_hangs_takes_the_host_back(scene: Scene, make, unit: str) -> None:  # type: ignore[no-untyped-def]
    (host,) = scene.hosts("web5")
    before = scene.runs(host)
    control = scene.control(["web5"])
    done = control.deploy(scene.build(make, ["web5"], "v2"))
    assert done.returncode == 2, done.stdout + control.log()
    assert scene.runs(host) == before
    assert scene.page(host) == "greeting v1"
    left = host.inside("systemctl", "is-active", f"{unit}.service", check=False).stdout.strip()
    assert left in ("inactive", "unknown"), "nothing of the new system stays behind"
