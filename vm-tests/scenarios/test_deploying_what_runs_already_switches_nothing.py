"""What is asked for runs already, and is profile and boot default too: nothing is switched, and it is a success."""

from __future__ import annotations

import pytest
from lab import system as systems
from lab.scene import Scene

pytestmark = pytest.mark.lab


def test_deploying_what_runs_already_switches_nothing(scene: Scene) -> None:
    names = ["web1", "web2", "web3"]
    hosts = scene.hosts(*names)
    control = scene.control(names)
    revision = scene.build(systems.good, names, "v1")
    before = [scene.runs(host) for host in hosts]
    assert before == [(revision[name],) * 3 for name in names]
    running = [scene.invocation(host, "web.service") for host in hosts]
    done = control.deploy(revision)
    assert done.returncode == 0, done.stdout + control.log()
    assert {host["state"] for host in control.rollout("r-1")["hosts"].values()} == {"current"}
    assert [scene.runs(host) for host in hosts] == before
    assert [scene.switches(host) for host in hosts] == [0, 0, 0]
    assert [scene.orders(host) for host in hosts] == [[], [], []]
    assert [scene.invocation(host, "web.service") for host in hosts] == running
