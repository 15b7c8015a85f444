"""A host that nobody can reach keeps a way open itself, and one that moves in its switch is found where it went."""

from __future__ import annotations

from pathlib import Path

import pytest
from lab import LabHost
from lab import system as systems
from lab.control import policy_with
from lab.scene import Scene
from lab.seed import seed_with

pytestmark = pytest.mark.lab

GATE, MOVES, HIDDEN = "web1", "web2", "web3"
CHECKS = """
[[checks]]
name = "asked over the network"
on = "web2"
http = { url = "http://{address}:8080/healthz", contains = "greeting" }
interval = "1s"
timeout = "2s"
successes = 2
soak_interval = "1s"
[[checks]]
name = "asked through the host"
http = { url = "http://{address}:8080/healthz", contains = "greeting", via = "host" }
interval = "1s"
timeout = "2s"
successes = 2
soak_interval = "1s"
"""
REACH = "/usr/bin/ssh -NT -i /root/reach -o StrictHostKeyChecking=no -o BatchMode=yes -o ExitOnForwardFailure=yes"
"""What docs/nixos.md has as a unit of the host."""


def elsewhere(host: LabHost) -> str:
    """Return a second address of a host, which nobody else has."""
    net, _, number = host.address.rpartition(".")
    return f"{net}.{int(number) + 100}"


def at(host: LabHost, greeting: str, here: str, not_here: str) -> systems.System:
    """Return a system that takes one address and gives up the other."""
    words = (f"addr del {not_here}/24 dev host0", f"addr replace {here}/24 dev host0")
    script = "; ".join(f"/usr/sbin/ip {word}" for word in (*words, f"route replace default via {host.wiring.gateway}"))
    unit = systems.service(f"/bin/sh -c '{script}'", Type="oneshot", RemainAfterExit="yes")
    return systems.good(host.name, host.wiring.gateway, greeting).with_unit("network", unit)


def with_reach(host: LabHost, greeting: str) -> systems.System:
    """Return a system that keeps a socket open on the gate, with a unit that is another one in each."""
    gate = ".".join([*host.address.split(".")[:-1], "10"])
    command = f"{REACH} -R /run/reach/{host.name}.sock:localhost:22 root@{gate}"
    unit = systems.service(
        command, unit="StartLimitIntervalSec=0\n", Restart="always", RestartSec="1", Environment=f"FOR={greeting}"
    )
    return systems.good(host.name, host.wiring.gateway, greeting).with_unit("reach", unit)


def first(host: LabHost) -> systems.System:
    """Return what each of the three begins with."""
    if host.name == MOVES:
        return at(host, "v1", host.address, elsewhere(host))
    return with_reach(host, "v1") if host.name == HIDDEN else systems.good(host.name, host.wiring.gateway, "v1")


def test_a_host_without_an_address_and_one_that_moves_are_deployed(scene: Scene) -> None:
    gate, moves, hidden = scene.hosts(GATE, MOVES, HIDDEN, seed=seed_with(first))
    gate.inside("sh", "-c", "mkdir -p /run/reach; echo StreamLocalBindUnlink yes >/etc/ssh/sshd_config.d/reach.conf")
    gate.inside("systemctl", "restart", "sshd")
    hidden.inside("sh", "-c", "umask 077; cat >/root/reach", text_in=hidden.wiring.private_key.read_text())
    socket = Path(f"/proc/{gate.leader()}/root/run/reach/{hidden.name}.sock")
    scene.until(socket.exists, "the hidden host has opened its way")
    keys: dict[str, dict[str, object]] = {
        MOVES: {"address": [moves.address, elsewhere(moves)]},
        HIDDEN: {"address": f"unix:{socket}"},
    }
    # What was asked where the host no longer is takes its time to be given up.
    policy = policy_with(waves=[], contact_timeout="40s")
    control = scene.control([MOVES, HIDDEN], checks=CHECKS, keys=keys, policy=policy)
    revision = {
        MOVES: systems.build(at(moves, "v2", elsewhere(moves), moves.address)),
        HIDDEN: systems.build(with_reach(hidden, "v2")),
    }
    done = control.deploy(revision)
    assert done.returncode == 0, done.stdout + control.log()[-3000:]
    for host in (moves, hidden):
        assert scene.runs(host) == (revision[host.name],) * 3
        assert "greeting v2" in host.inside("curl", "-s", "http://127.0.0.1:8080/").stdout
    assert moves.ssh("true", check=False).returncode != 0
