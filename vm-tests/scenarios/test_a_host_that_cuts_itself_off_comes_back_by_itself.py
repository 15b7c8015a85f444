"""A revision that takes the network down comes back by itself: the guard on the host, and nobody else."""

from __future__ import annotations

import pytest
from lab import system as systems
from lab.scene import Scene

pytestmark = pytest.mark.lab


@pytest.mark.parametrize("make", [systems.network_down, systems.sshd_off])
def test_a_host_that_cuts_itself_off_comes_back_by_itself(scene: Scene, make) -> None:  # type: ignore[no-untyped-def]
    (host,) = scene.hosts("web1")
    before = scene.runs(host)
    control = scene.control(["web1"])
    done = control.deploy(scene.build(make, ["web1"], "v2"))
    assert done.returncode == 2, done.stdout + control.log()
    assert scene.runs(host) == before
    assert scene.page(host) == "greeting v1"
    assert host.ssh("true").returncode == 0
