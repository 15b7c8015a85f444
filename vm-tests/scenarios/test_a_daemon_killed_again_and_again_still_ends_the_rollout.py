"""The daemon is killed every few seconds, wherever it is: the rollout ends as it would have, nothing is done twice."""

from __future__ import annotations

import time

import pytest
from lab import system as systems
from lab.control import policy_with
from lab.scene import Scene

pytestmark = pytest.mark.lab


NAMES = ["web1", "web2", "web3"]
KILLS = 6
ALIVE_S = 6.0
"""Between two kills: now in a switch, now in a commit, now in a soak."""
PATIENT = policy_with(healthy_deadline="60s", contact_timeout="60s")
"""Each new daemon reaches its hosts long before a guard would fire, also on a busy machine."""


def test_a_daemon_killed_again_and_again_still_ends_the_rollout(scene: Scene) -> None:
    hosts = scene.hosts(*NAMES)
    control = scene.control(NAMES, policy=PATIENT)
    revision = scene.build(systems.good, NAMES, "v2")
    name = control.deploy_detached(revision)
    for _kill in range(KILLS):
        time.sleep(ALIVE_S)
        control.kill()
        control.start()
    final = control.wait_final(name)
    assert final["phase"] == "succeeded", final["finish_reason"]
    for host in hosts:
        assert scene.runs(host) == (revision[host.name],) * 3
        assert scene.page(host) == "greeting v2"
        assert scene.switches(host) == 1, "no step was done twice"
