"""A host whose new system cuts it off is on its old one again; without a network by its guard, and nobody else."""

from __future__ import annotations

import pytest
from lab import system as systems
from lab.scene import Scene

pytestmark = pytest.mark.lab


def test_a_host_without_its_network_comes_back_by_its_guard(scene: Scene) -> None:
    (host,) = scene.hosts("web1")
    scene.is_taken_back(host, systems.network_down)
    assert (scene.record(host, "state"), scene.record(host, "by")) == ("reverted", "guard")
    assert host.ssh("true").returncode == 0


def test_a_host_that_takes_no_logins_any_more_is_taken_back(scene: Scene) -> None:
    (host,) = scene.hosts("web1")
    scene.is_taken_back(host, systems.sshd_off)
    # The session from before outlives sshd, so that an order may still come over it before the guard's time.
    assert scene.record(host, "by") in ("order", "guard")
    assert scene.record(host, "state") == "reverted"
    assert host.ssh("true").returncode == 0
