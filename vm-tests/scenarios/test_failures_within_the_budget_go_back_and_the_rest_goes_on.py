"""One host fails where one may: it goes back by itself, the others get the revision, and the end is not called done."""

from __future__ import annotations

import pytest
from lab import system as systems
from lab.control import policy_with
from lab.scene import Scene

pytestmark = pytest.mark.lab

NAMES = ["web1", "web2", "web3", "web4"]


def test_failures_within_the_budget_go_back_and_the_rest_goes_on(scene: Scene) -> None:
    hosts = {host.name: host for host in scene.hosts(*NAMES)}
    before = {name: scene.runs(host) for name, host in hosts.items()}
    policy = policy_with(max_parallel=3, failure_budget={"canary": 0, "wave": 1, "total": 1})
    control = scene.control(NAMES, policy=policy)
    revision = scene.build(systems.good, NAMES, "v2") | scene.build(systems.answers_500, ["web2"], "v2")
    done = control.deploy(revision)
    assert done.returncode == 5, done.stdout + control.log()
    rollout = control.rollout("r-1")
    assert rollout["phase"] == "incomplete"
    assert rollout["hosts"]["web2"]["state"] == "reverted"
    assert scene.runs(hosts["web2"]) == before["web2"]
    assert scene.page(hosts["web2"]) == "greeting v1"
    for name in ("web1", "web3", "web4"):
        assert scene.runs(hosts[name]) == (revision[name],) * 3
        assert scene.page(hosts[name]) == "greeting v2"


def test_one_failure_more_than_the_budget_ends_the_rollout(scene: Scene) -> None:
    # Domain by domain: the canary is web1; in the next wave are web4, which is well, and web2 and web5, which are not;
    # the last one is web3.
    names = [*NAMES, "web5"]
    hosts = {host.name: host for host in scene.hosts(*names)}
    before = {name: scene.runs(host) for name, host in hosts.items()}
    policy = policy_with(
        waves=[{"name": "canary", "count": 1, "soak": "2s"}, {"name": "next", "count": 3, "soak": "2s"}],
        max_parallel=3,
        failure_budget={"canary": 0, "wave": 1, "total": 1},
    )
    control = scene.control(names, policy=policy)
    revision = scene.build(systems.good, names, "v2") | scene.build(systems.answers_500, ["web2", "web5"], "v2")
    done = control.deploy(revision)
    assert done.returncode == 2, done.stdout + control.log()
    assert {name: scene.runs(host) for name, host in hosts.items()} == before
    assert {scene.page(host) for host in hosts.values()} == {"greeting v1"}
    assert scene.orders(hosts["web1"]) != []
    assert scene.orders(hosts["web3"]) == [], "once the budget is exceeded no trial starts"
