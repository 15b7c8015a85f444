"""The daemon is killed in the middle of a wave; the next one ends the rollout as it would have ended."""

from __future__ import annotations

import pytest
from lab import system as systems
from lab.scene import Scene

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
    assert final["phase"] == "succeeded", final["finish_reason"]
    for host in hosts:
        assert scene.runs(host) == (revision[host.name],) * 3
        assert scene.page(host) == "greeting v2"
        assert scene.switches(host) == 1, "no step was done twice"
