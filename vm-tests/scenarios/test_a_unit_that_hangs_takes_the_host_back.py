"""A unit of the new system never comes up: the host goes back when the switch has had its time, and that is told."""

from __future__ import annotations

import pytest
from lab import system as systems
from lab.scene import Scene

pytestmark = pytest.mark.lab


def test_a_unit_that_hangs_takes_the_host_back(scene: Scene) -> None:
    (host,) = scene.hosts("web5")
    told = scene.is_taken_back(host, systems.unit_hangs)
    assert "the switch was interrupted: it ended by timeout" in told["reason"]
    left = host.inside("systemctl", "is-active", "hanging.service", check=False).stdout.strip()
    assert left in ("inactive", "unknown"), "nothing of the new system stays behind"
