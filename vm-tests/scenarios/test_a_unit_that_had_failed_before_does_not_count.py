"""A unit that had failed before the deploy, and still does, is no reason to take the host back."""

from __future__ import annotations

import pytest
from lab import system as systems
from lab.scene import Scene
from lab.seed import seed_with

pytestmark = pytest.mark.lab


def test_a_unit_that_had_failed_before_does_not_count(scene: Scene) -> None:
    (host,) = scene.hosts("web6")
    host.ssh("systemd-run", "--unit=old-trouble", "false", check=False)
    host.ssh("systemctl", "is-failed", "old-trouble")
    control = scene.control(["web6"])
    revision = scene.build(systems.good, ["web6"], "v2")
    done = control.deploy(revision)
    assert done.returncode == 0, done.stdout + control.log()
    assert scene.runs(host) == (revision["web6"],) * 3


def test_a_unit_of_both_systems_that_fails_in_both_does_not_count(scene: Scene) -> None:
    (host,) = scene.hosts("web5", seed=seed_with(lambda host: systems.unit_fails(host.name, scene.gateway, "v1")))
    host.inside("systemctl", "is-failed", "broken.service")
    control = scene.control(["web5"])
    revision = scene.build(systems.unit_fails, ["web5"], "v2")
    done = control.deploy(revision)
    # The switch itself ends with exit 4 (a failed unit on the host), and yet nothing got worse by it.
    assert done.returncode == 0, done.stdout + control.log()
    assert scene.runs(host) == (revision["web5"],) * 3
    assert scene.page(host) == "greeting v2"
