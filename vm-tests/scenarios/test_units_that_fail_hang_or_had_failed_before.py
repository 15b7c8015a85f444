"""Units that fail, hang, or had failed before."""

from __future__ import annotations

import pytest
from conftest import Scene
from lab import system as systems

pytestmark = pytest.mark.lab


@pytest.mark.parametrize("make", [systems.unit_fails, systems.unit_hangs])
def test_a_unit_that_fails_or_hangs_takes_the_host_back(scene: Scene, make) -> None:  # type: ignore[no-untyped-def]
    (host,) = scene.hosts("web5")
    before = scene.runs(host)
    control = scene.control(["web5"])
    done = control.deploy(scene.build(make, ["web5"], "v2"))
    assert done.returncode == 2, done.stdout + control.log()
    assert scene.runs(host) == before
    assert scene.page(host) == "greeting v1"


def test_a_unit_that_had_failed_before_does_not_count(scene: Scene) -> None:
    (host,) = scene.hosts("web6")
    host.ssh("systemd-run", "--unit=old-trouble", "false", check=False)
    host.ssh("systemctl", "is-failed", "old-trouble")
    control = scene.control(["web6"])
    revision = scene.build(systems.good, ["web6"], "v2")
    done = control.deploy(revision)
    assert done.returncode == 0, done.stdout + control.log()
    assert scene.runs(host) == (revision["web6"],) * 3
