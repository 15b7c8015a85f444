"""One fleet, one goal after the other: what runs, what boots, and that the next rollout takes the hosts as they are."""

from __future__ import annotations

import pytest
from lab import system as systems
from lab.scene import Scene

pytestmark = pytest.mark.lab

NAMES = ["web1", "web2"]


def test_each_goal(scene: Scene) -> None:
    first, second = hosts = scene.hosts(*NAMES)
    control = scene.control(NAMES)
    (old, *_) = [scene.runs(host)[0] for host in hosts]

    tested = scene.build(systems.good, NAMES, "v2")
    done = control.deploy(tested, "--goal", "test")
    assert done.returncode == 0, done.stdout + control.log()
    assert control.rollout("r-1")["counts"] == {"trial-kept": 2}
    for host in hosts:
        current, profile, boots = scene.runs(host)
        assert (current, profile) == (tested[host.name], boots)
        assert boots != current
    first.reboot()
    first.wait_ready()
    assert scene.runs(first) == (old,) * 3, "a reboot ends a test"

    # One host goes on running the test, the other has ended it: both are taken as they are.
    revision = scene.build(systems.good, NAMES, "v3")
    done = control.deploy(revision)
    assert done.returncode == 0, done.stdout + control.log()
    assert [scene.runs(host) for host in hosts] == [(revision[name],) * 3 for name in NAMES]
    assert scene.page(second) == "greeting v3"

    staged = scene.build(systems.good, NAMES, "v4")
    done = control.deploy(staged, "--goal", "dry-activate")
    assert done.returncode == 0, done.stdout + control.log()
    assert control.rollout("r-3")["counts"] == {"dry-activated": 2}
    assert done.stdout.count("would start the following units: web.service") == 2, done.stdout
    assert [scene.runs(host) for host in hosts] == [(revision[name],) * 3 for name in NAMES]
    assert scene.page(second) == "greeting v3"
    done = control.deploy(staged, "--goal", "boot")
    assert done.returncode == 0, done.stdout + control.log()
    assert control.rollout("r-4")["counts"] == {"staged": 2}
    for host in hosts:
        assert scene.runs(host) == (revision[host.name], staged[host.name], staged[host.name])
        assert scene.page(host) == "greeting v3"
    first.reboot()
    first.wait_ready()
    assert scene.runs(first) == (staged["web1"],) * 3

    # One has booted it, and is proven like any other; the other waits for its boot.
    done = control.deploy(staged)
    assert done.returncode == 5, done.stdout + control.log()
    ended = control.rollout("r-5")["hosts"]
    assert (ended["web1"]["state"], ended["web2"]["kind"]) == ("current", "unsettled")
    assert scene.runs(second) == (revision["web2"], staged["web2"], staged["web2"])
