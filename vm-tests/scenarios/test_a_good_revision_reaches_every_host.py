"""A good revision reaches every host, canary first, and is what every host runs, keeps and boots."""

from __future__ import annotations

import pytest
from lab import system as systems
from lab.scene import Scene

pytestmark = pytest.mark.lab


def test_a_good_revision_reaches_every_host(scene: Scene) -> None:
    names = ["web1", "web2", "web3"]
    hosts = scene.hosts(*names)
    control = scene.control(names)
    revision = scene.build(systems.good, names, "v2")
    done = control.deploy(revision)
    assert done.returncode == 0, done.stdout + control.log()
    for host in hosts:
        assert scene.runs(host) == (revision[host.name],) * 3
        assert scene.page(host) == "greeting v2"
    steps = [(str(event["kind"]), event["host"]) for event in control.events()]
    trials = [index for index, (kind, _host) in enumerate(steps) if kind == "TrialIntended"]
    assert steps[trials[0]][1] == "web1"
    assert sorted(steps[index][1] for index in trials) == names
    passed = [index for index, (kind, _host) in enumerate(steps) if kind == "WavePassed"]
    assert trials[0] < passed[0] < trials[1], "nobody is tried before the canary's wave has passed"
    # The hosts' own clocks bear it out: they are one machine's.
    began = [scene.began_s(host, "fleetd-switch-*") for host in hosts]
    assert began[0] < min(began[1:])
