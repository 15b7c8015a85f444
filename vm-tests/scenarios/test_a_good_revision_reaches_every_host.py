"""A good revision reaches every host, canary first, and is what every host runs, keeps and boots."""

from __future__ import annotations

import pytest
from lab import system as systems
from lab.scene import Scene

pytestmark = pytest.mark.lab


def test_a_good_revision_reaches_every_host(scene: Scene) -> None:
    names = ["web1", "web2", "web3"]
    hosts = scene.hosts(*names)
    first = {host.name: scene.runs(host)[0] for host in hosts}
    control = scene.control(names)
    revision = scene.build(systems.good, names, "v2")
    done = control.deploy(revision)
    assert done.returncode == 0, done.stdout + control.log()
    for host in hosts:
        assert scene.runs(host) == (revision[host.name],) * 3
        assert scene.page(host) == "greeting v2"
    # And back to the revision before.
    back = control.ctl("rollback")
    assert back.returncode == 0, back.stdout + back.stderr + control.log()
    for host in hosts:
        assert scene.runs(host) == (first[host.name],) * 3
        assert scene.page(host) == "greeting v1"
