"""The ssh session dies while the host works on a trial order: the host goes on, and is not ordered a second time."""

from __future__ import annotations

import pytest
from lab import LabHost
from lab import system as systems
from lab.scene import Scene

pytestmark = pytest.mark.lab

SLOW_SYNC = """#!/bin/sh
# A disk on which each fsync takes a while.
sleep 0.3
exec /usr/bin/sync.real "$@"
"""


def test_a_session_killed_before_the_host_could_answer(scene: Scene) -> None:
    (host,) = scene.hosts("web1")
    make_syncs_slow(host)
    control = scene.control(["web1"])
    revision = scene.build(systems.good, ["web1"], "v2")
    name = control.deploy_detached(revision)
    # The fence is the first thing that an order leaves; some seconds of slow syncs are between it and the answer.
    scene.until(lambda: "fence" in scene.orders(host), "the order has reached the host")
    assert scene.record(host, "state") == ""
    assert host.kill_ssh_sessions() > 0
    final = control.wait_final(name)
    assert final["phase"] == "succeeded", final["finish_reason"]
    assert scene.runs(host) == (revision["web1"],) * 3
    assert scene.page(host) == "greeting v2"


def test_a_session_killed_in_the_middle_of_the_switch(scene: Scene) -> None:
    (host,) = scene.hosts("web2")
    control = scene.control(["web2"])
    held = systems.good("web2", scene.gateway, "v2").with_fault("pause-after-activation", 6)
    revision = {"web2": systems.build(held)}
    name = control.deploy_detached(revision)
    scene.until(lambda: scene.runs(host)[0] == revision["web2"], "the switch has come half way")
    assert scene.record(host, "state") == "switching"
    assert host.kill_ssh_sessions() > 0
    final = control.wait_final(name)
    assert final["phase"] == "succeeded", final["finish_reason"]
    assert scene.runs(host) == (revision["web2"],) * 3
    assert scene.page(host) == "greeting v2"
    assert scene.switches(host) == 1, "the order ran once"


def make_syncs_slow(host: LabHost) -> None:
    """Put a slow program in the place of sync(1)."""
    host.inside("mv", "/usr/bin/sync", "/usr/bin/sync.real")
    host.inside("sh", "-c", "cat > /usr/bin/sync && chmod 755 /usr/bin/sync", text_in=SLOW_SYNC)
