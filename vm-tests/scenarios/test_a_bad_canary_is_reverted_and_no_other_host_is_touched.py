"""A revision that answers 500 is taken back from the canary, and no other host is touched."""

from __future__ import annotations

import pytest
from lab import system as systems
from lab.scene import Scene

pytestmark = pytest.mark.lab


def test_a_bad_canary_is_reverted_and_no_other_host_is_touched(scene: Scene) -> None:
    names = ["web1", "web2", "web3"]
    hosts = scene.hosts(*names)
    before = {host.name: scene.runs(host) for host in hosts}
    control = scene.control(names)
    done = control.deploy(scene.build(systems.answers_500, names, "v2"))
    assert done.returncode == 2, done.stdout + control.log()
    assert {host.name: scene.runs(host) for host in hosts} == before
    rollout = control.rollout("r-1")
    assert "500" in rollout["finish_reason"]
    assert [host["state"] for host in rollout["hosts"].values()].count("skipped") == 2
    # Nothing was ever ordered on the others.
    for host in hosts[1:]:
        assert host.inside("ls", "/nix/var/fleetd-host", check=False).stdout.split() in ([], ["lock"])
    log = control.ctl("logs", "r-1", "web1")
    assert log.returncode == 0, log.stderr
    assert "== trial" in log.stdout
    assert "== revert" in log.stdout
    assert control.ctl("logs", "r-1", "web2").returncode == 1
