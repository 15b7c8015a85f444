"""A unit of the new system fails: the host goes back, and what failed is named."""

from __future__ import annotations

import pytest
from lab import system as systems
from lab.scene import Scene

pytestmark = pytest.mark.lab


def test_a_unit_that_fails_takes_the_host_back(scene: Scene) -> None:
    (host,) = scene.hosts("web5")
    told = scene.is_taken_back(host, systems.unit_fails)
    assert "broken.service" in told["reason"]
    left = host.inside("systemctl", "is-active", "broken.service", check=False).stdout.strip()
    assert left in ("inactive", "unknown"), "nothing of the new system stays behind"
