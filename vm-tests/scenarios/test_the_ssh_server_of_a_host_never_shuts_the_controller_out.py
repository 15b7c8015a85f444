"""A real sshd with little patience: neither many logins at once nor refused ones make it turn the controller away."""

from __future__ import annotations

import pytest
from lab import LabHost
from lab import system as systems
from lab.control import policy_with
from lab.scene import Scene

pytestmark = pytest.mark.lab

STRICT = """LogLevel VERBOSE
MaxStartups 2:100:2
PerSourceMaxStartups 2
PerSourcePenalties authfail:5s min:10s
"""
"""Two logins may be unfinished at any time, and nobody gets in from an address that has gathered 10 s, where every
refused login counts 5 s (OpenSSH 9.8 and newer; on by themselves there, with 15 s)."""

GATE = "web1"
BEHIND = ["web2", "web3", "web4", "web5", "web6"]
KEYS = "/root/.ssh/authorized_keys"
REFUSALS = 3
"""As many are enough to be shut out, where they come within seconds."""


def be_strict(host: LabHost) -> None:
    """Give the host's sshd little patience; connections that are open stay."""
    host.inside("sh", "-c", "cat >/etc/ssh/sshd_config.d/strict.conf", text_in=STRICT)
    host.inside("systemctl", "restart", "sshd")


def said(host: LabHost, words: str) -> list[str]:
    """Return the lines of the host's sshd, of all its boots and runs, that have some words."""
    host.inside("journalctl", "--sync")
    lines = host.inside("journalctl", "-q", "-o", "cat", "-u", "sshd").stdout.splitlines()
    return [line for line in lines if words in line]


def test_many_hosts_behind_one_gate_are_deployed_and_it_drops_nobody(scene: Scene) -> None:
    hosts = scene.hosts(GATE, *BEHIND)
    for host in hosts:
        be_strict(host)
    keys = {name: {"jump": GATE, "domain": "default"} for name in BEHIND}
    policy = policy_with(waves=[], max_parallel=len(BEHIND), max_domains=1, healthy_deadline="60s")
    control = scene.control([GATE, *BEHIND], policy=policy, keys={GATE: {"domain": "default"}, **keys})
    revision = scene.build(systems.good, [GATE, *BEHIND], "v2")
    done = control.deploy(revision)
    assert done.returncode == 0, done.stdout + control.log()
    for host in hosts:
        assert scene.runs(host) == (revision[host.name],) * 3
        assert len(said(host, "Accepted publickey")) >= 3
        assert said(host, "drop connection") == []


def test_logins_refused_during_a_trial_are_not_held_against_the_controller(scene: Scene) -> None:
    (host,) = scene.hosts("web1")
    be_strict(host)
    policy = policy_with(
        waves=[], min_healthy="10s", healthy_deadline="150s", contact_timeout="100s", progress_deadline="8m"
    )
    control = scene.control(["web1"], policy=policy)
    new = scene.build(systems.good, ["web1"], "v2")
    rollout = control.deploy_detached(new)
    scene.wait_state(host, "trial")
    host.inside("mv", KEYS, f"{KEYS}.away")
    scene.until(lambda: len(said(host, "Failed publickey")) >= REFUSALS, "logins are refused")
    host.inside("mv", f"{KEYS}.away", KEYS)
    document = control.wait_final(rollout)
    assert document["phase"] == "succeeded", control.log()
    assert scene.runs(host) == (new["web1"],) * 3
    assert said(host, "drop connection") == []
