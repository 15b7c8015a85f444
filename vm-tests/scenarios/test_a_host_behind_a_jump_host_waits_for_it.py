"""A host behind a jump host is reached through it, and never changes together with it."""

from __future__ import annotations

import pytest
from lab import LabHost
from lab import system as systems
from lab.control import policy_with
from lab.scene import Scene

pytestmark = pytest.mark.lab


NAMES = ["web1", "web2", "web3"]


def test_a_host_behind_a_jump_host_follows_it(scene: Scene) -> None:
    other, behind, gate = hosts = scene.hosts(*NAMES)
    shut(behind, scene.gateway)
    # web1 is first and alone; nothing but the way to web2 keeps the other two from going together.
    keys = {"web2": {"jump": "web3"}}
    control = scene.control(NAMES, policy=policy_with(waves=[], max_parallel=3), keys=keys)
    revision = scene.build(systems.good, NAMES, "v2")
    done = control.deploy(revision)
    assert done.returncode == 0, done.stdout + control.log()
    for host in hosts:
        assert scene.runs(host) == (revision[host.name],) * 3
        assert scene.page(host) == "greeting v2"
    # One was committed before the other began, by the clock that all hosts have in common.
    first, second = sorted((gate, behind), key=lambda host: scene.began_s(host, "fleetd-switch-*"))
    assert scene.began_s(first, "fleetd-commit-*") < scene.began_s(second, "fleetd-switch-*")
    assert scene.orders(other) != []


def test_a_bad_jump_host_takes_nobody_along(scene: Scene) -> None:
    gate, behind, other = hosts = scene.hosts(*NAMES)
    before = {host.name: scene.runs(host) for host in hosts}
    shut(behind, scene.gateway)
    control = scene.control(NAMES, policy=policy_with(max_parallel=3), keys={"web2": {"jump": "web1"}})
    revision = scene.build(systems.good, NAMES, "v2") | scene.build(systems.network_down, ["web1"], "v2")
    done = control.deploy(revision)
    assert done.returncode == 2, done.stdout + control.log()
    assert {host.name: scene.runs(host) for host in hosts} == before
    assert scene.orders(behind) == scene.orders(other) == []
    assert gate.ssh("true").returncode == 0


def shut(host: LabHost, controller: str) -> None:
    """Let the controller in by no way but the jump host."""
    rules = "add table inet gate; add chain inet gate in { type filter hook input priority 0; }; "
    host.inside("nft", rules + f"add rule inet gate in ip saddr {controller} tcp dport 22 drop")
    assert host.ssh("true", check=False, timeout_s=15).returncode != 0
