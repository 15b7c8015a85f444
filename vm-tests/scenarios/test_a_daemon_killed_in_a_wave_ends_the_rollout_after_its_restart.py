"""The daemon is killed in the middle of a wave; the next one ends the rollout as it would have ended."""

from __future__ import annotations

import pytest
from conftest import Scene
from lab import system as systems

pytestmark = pytest.mark.lab


def test_a_daemon_killed_in_a_wave_ends_the_rollout_after_its_restart(scene: Scene) -> None:
    names = ["web1", "web2", "web3"]
    hosts = scene.hosts(*names)
    control = scene.control(names)
    revision = scene.build(systems.good, names, "v2")
    name = control.deploy_detached(revision)
    control.wait_for(name, "web2", "switching", "trial")
    control.kill()
    control.start()
    final = control.wait_final(name)
    assert final["phase"] == "succeeded", final
    for host in hosts:
        assert scene.runs(host) == (revision[host.name],) * 3


def test_a_controller_that_never_comes_back_leaves_the_host_on_its_old_system(scene: Scene) -> None:
    (host,) = scene.hosts("web4")
    before = scene.runs(host)
    control = scene.control(["web4"])
    name = control.deploy_detached(scene.build(systems.good, ["web4"], "v2"))
    control.wait_for(name, "web4", "trial")
    control.kill()
    # switch timeout + 30 s + contact timeout is the longest; the switch has ended, so contact timeout is.
    wait = "for i in $(seq 60); do grep -q reverted /nix/var/fleetd-host/r-*/state && exit; sleep 1; done; exit 1"
    host.inside("sh", "-c", wait, timeout_s=90)
    assert scene.runs(host) == before
