"""The controller loses its hosts in the middle of a wave: they go back by themselves, it claims nothing else, and none
of it is held against them: a control node that hears nobody is what is wrong.
"""

from __future__ import annotations

import pytest
from lab import system as systems
from lab.control import Control, policy_with
from lab.scene import Scene

pytestmark = pytest.mark.lab


NAMES = ["web1", "web2", "web3"]


def test_a_controller_that_is_cut_off_makes_no_false_claims(scene: Scene) -> None:
    hosts = scene.hosts(*NAMES)
    before = {host.name: scene.runs(host)[0] for host in hosts}
    control = scene.control(NAMES, policy=policy_with(min_healthy="10s", healthy_deadline="40s"))
    name = control.deploy_detached(scene.build(systems.good, NAMES, "v2"))
    control.wait_for(name, "web2", "trial")
    for host in hosts:
        host.cut()
    for host in hosts[1:]:
        if scene.record(host, "state"):
            scene.wait_state(host, "reverted", "committed")
    assert scene.page(hosts[1]) == "greeting v1", "it went back without anybody's word"
    scene.until(lambda: "controller-isolated" in reasons(control, name), "the controller has noticed")
    for host in hosts:
        host.heal()
    final = control.wait_final(name)
    assert scene.untrue_claims(final, before) == []
    assert final["phase"] == "succeeded", "those that went back meanwhile are tried once more"
    kinds = [str(event["kind"]) for event in control.events()]
    assert [kinds.count(kind) for kind in ("ControllerIsolated", "ContactRestored")] == [1, 1]
    assert {"HostUnhealthy", "RolloutFailing", "HostDeferred", "RollbackDecided"} & set(kinds) == set()


@pytest.mark.parametrize("direction", ["in", "out"])
def test_a_commit_that_nobody_saw_end_is_found_by_looking(scene: Scene, direction: str) -> None:
    (host,) = scene.hosts("web4")
    control = scene.control(["web4"])
    slow = systems.build(systems.good("web4", scene.gateway, "v2").with_fault("boot-sleep", 6))
    name = control.deploy_detached({"web4": slow})
    scene.until(lambda: scene.profile(host) == slow, "the commit has begun")
    host.cut(direction)
    scene.wait_state(host, "committed")
    scene.until(lambda: is_lost(control, name, "web4"), "the controller has given up waiting for an answer")
    assert control.rollout(name)["finished_at"] is None, "nothing is claimed while nobody knows"
    host.heal()
    final = control.wait_final(name)
    assert final["phase"] == "succeeded", final["finish_reason"]
    assert scene.runs(host) == (slow,) * 3


def test_a_commit_that_nobody_saw_fail_is_found_by_looking(scene: Scene) -> None:
    (host,) = scene.hosts("web6")
    before = scene.runs(host)
    control = scene.control(["web6"])
    bad = systems.good("web6", scene.gateway, "v2").with_fault("boot-sleep", 6).with_fault("boot-fail-between")
    toplevel = systems.build(bad)
    name = control.deploy_detached({"web6": toplevel})
    scene.until(lambda: scene.profile(host) == toplevel, "the commit has begun")
    host.cut()
    scene.wait_state(host, "reverted")
    scene.until(lambda: is_lost(control, name, "web6"), "the controller has given up waiting for an answer")
    host.heal()
    final = control.wait_final(name)
    assert final["phase"] == "rolled-back", final["finish_reason"]
    assert scene.runs(host) == before
    assert scene.page(host) == "greeting v1"


def reasons(control: Control, rollout: str) -> list[str]:
    """Return what a rollout waits for."""
    return [str(block["reason"]) for block in control.rollout(rollout)["blocked_by"]]


def is_lost(control: Control, rollout: str, host: str) -> bool:
    """Whether the outcome of what a host was ordered is unknown."""
    return bool(control.rollout(rollout)["hosts"][host]["contact"] != "ok")


def test_a_host_whose_sshd_hangs_goes_back_by_itself(scene: Scene) -> None:
    (host,) = scene.hosts("web5")
    before = scene.runs(host)
    control = scene.control(["web5"], policy=policy_with(min_healthy="10s", healthy_deadline="40s"))
    name = control.deploy_detached(scene.build(systems.good, ["web5"], "v2"))
    control.wait_for(name, "web5", "trial")
    host.pause_sshd()
    scene.wait_state(host, "reverting", "reverted")
    host.resume_sshd()
    final = control.wait_final(name)
    assert final["phase"] == "rolled-back", final["finish_reason"]
    assert scene.runs(host) == before
    assert scene.page(host) == "greeting v1"
