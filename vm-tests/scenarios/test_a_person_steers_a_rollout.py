"""Pause, resume, approve, skip and promote, as a person says them, on real hosts."""

from __future__ import annotations

import time

import pytest
from conftest import Scene
from lab import system as systems
from lab.control import POLICY

pytestmark = pytest.mark.lab

WAVES = """waves = [ { name = "canary", count = 1, soak = "1h" }, { count = 1, soak = "1s" },
  { count = 1, approval = "30m" } ]"""
LONG = POLICY.replace(POLICY.splitlines()[2], WAVES).replace("5m", "3h")


def test_a_person_steers_a_rollout(scene: Scene) -> None:
    names = ["web1", "web2", "web3", "web4"]
    hosts = scene.hosts(*names)
    control = scene.control(names, policy=LONG)
    revision = scene.build(systems.good, names, "v2")
    name = control.deploy_detached(revision)

    def said(*words: str, code: int = 0) -> str:
        done = control.ctl(*words, "--reason", "the scenario says so")
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def until(phase: str) -> dict[str, object]:
        end = time.monotonic() + 120
        while (document := control.rollout(name))["phase"] != phase:
            assert time.monotonic() < end, document
            time.sleep(0.2)
        return document

    until("soaking")
    said("approve", name, code=4)  # nothing waits for it
    said("pause", name)
    assert control.rollout(name)["paused"] is True
    said("pause", name)  # said again it is the same
    said("promote", name)
    time.sleep(5)
    document = control.rollout(name)
    states = {host: state["state"] for host, state in document["hosts"].items()}
    assert sorted(states.values()) == ["committed", "pending", "pending", "pending"]
    assert any("fleetctl resume" in str(block["type"]) for block in document["blocked_by"])
    # Who follows is told that a person is needed.
    assert control.ctl("watch", name).returncode == 3
    said("resume", name)
    until("awaiting-approval")
    waiting = next(host for host, state in control.rollout(name)["hosts"].items() if state["state"] == "pending")
    said("approve", name)
    last = control.rollout(name)["waves"]
    assert len(last) == 4
    said("skip", name, "web9", code=1)
    final = control.wait_final(name)
    assert final["phase"] == "succeeded"
    assert waiting in final["hosts"]
    assert {host.name: scene.runs(host) for host in hosts} == {host: (path,) * 3 for host, path in revision.items()}
    audit = control.ctl("audit").stdout
    assert [line.split()[2] for line in audit.splitlines()] == ["deploy", "pause", "promote", "resume", "approve"]


def test_a_wave_that_is_denied_ends_the_rollout_with_what_it_has(scene: Scene) -> None:
    names = ["web1", "web2"]
    hosts = scene.hosts(*names)
    policy = POLICY.replace(POLICY.splitlines()[2], 'waves = [ { count = 1 }, { count = 1, approval = "30m" } ]')
    control = scene.control(names, policy=policy)
    revision, old = scene.build(systems.good, names, "v2"), {host.name: scene.runs(host) for host in hosts}
    name = control.deploy_detached(revision)
    end = time.monotonic() + 120
    while control.rollout(name)["phase"] != "awaiting-approval":
        assert time.monotonic() < end
        time.sleep(0.2)
    done = control.ctl("deny", name)
    assert done.returncode == 0, done.stderr
    assert control.wait_final(name)["phase"] == "aborted"
    assert control.ctl("watch", name).returncode == 5
    runs = {host.name: scene.runs(host) for host in hosts}
    changed = [host for host in names if runs[host] != old[host]]
    assert len(changed) == 1
    assert runs[changed[0]] == (revision[changed[0]],) * 3
