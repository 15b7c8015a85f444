"""Hosts that need each other: a sick member in no rollout holds the others, and they go one after the other then.

A host that depends on one of them waits for it; one that needs nobody goes at once.
"""

from __future__ import annotations

from functools import partial

import pytest
from lab import system as systems
from lab.control import Control, policy_with
from lab.scene import Scene

pytestmark = pytest.mark.lab

MEMBERS = ["web1", "web2", "web3"]
NAMES = [*MEMBERS, "web4", "web5"]
GROUP = """
[[groups]]
name = "quorum"
on = "web1,web2,web3"
max_unavailable = 1
"""


def test_a_group_keeps_its_quorum_and_a_dependency_comes_first(scene: Scene) -> None:
    first, second, sick, dependent, free = scene.hosts(*NAMES)
    sick.inside("systemctl", "stop", "web.service")
    deployed = [first, second, dependent, free]
    # Nothing but the group and the dependency keeps them from going together, once the first is committed.
    policy = policy_with(waves=[], max_parallel=5, max_domains=5)
    control = scene.control(NAMES, policy=policy, fleet=GROUP, keys={"web4": {"depends_on": ["web1"]}})
    revision = scene.build(systems.good, [host.name for host in deployed], "v2")
    rollout = control.deploy_detached(revision)
    control.wait_for(rollout, "web5", "committed")
    for name, reason in (("web1", "group"), ("web2", "group"), ("web4", "dependency")):
        scene.until(partial(waits_for, control, name, reason), f"{name} waits for {reason}")
    assert [scene.orders(host) for host in (first, second, dependent)] == [[], [], []]
    assert "web3" in control.host("web1")["blocked_by"][0]["text"]
    sick.inside("systemctl", "start", "web.service")
    final = control.wait_final(rollout)
    assert final["phase"] == "succeeded", final["finish_reason"]
    assert [scene.runs(host) for host in deployed] == [(revision[host.name],) * 3 for host in deployed]
    assert scene.orders(sick) == []
    # By the clock that all hosts have in common.
    one, other = sorted((first, second), key=lambda host: scene.began_s(host, "fleetd-switch-*"))
    assert scene.began_s(one, "fleetd-commit-*") < scene.began_s(other, "fleetd-switch-*"), "both at once"
    assert scene.began_s(first, "fleetd-commit-*") < scene.began_s(dependent, "fleetd-switch-*"), "before web1"
    assert free.name in final["hosts"]


def waits_for(control: Control, host: str, reason: str) -> bool:
    return [block["reason"] for block in control.host(host)["blocked_by"]] == [reason]
