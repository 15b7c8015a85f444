"""A host is off while others are deployed: it is owed their system, and gets it once it is back."""

from __future__ import annotations

import pytest
from lab import system as systems
from lab.control import policy_with
from lab.scene import Scene

pytestmark = pytest.mark.lab

NAMES = ["web1", "web2", "web3"]
LOOKS = '[observe]\ninterval = "3s"\n'


def test_a_host_that_was_away_gets_its_system_when_it_is_back(scene: Scene) -> None:
    away, *others = hosts = scene.hosts(*NAMES)
    away.power_cut()
    control = scene.control(NAMES, policy=policy_with(waves=[]), extra=LOOKS)
    revision = scene.build(systems.good, NAMES, "v2")
    done = control.deploy(revision)
    assert done.returncode == 5, done.stdout + control.log()
    assert [scene.runs(host) for host in others] == [(revision[host.name],) * 3 for host in others]
    owed = control.host("web1")["owed"]
    assert (owed["to"], owed["rollout"], owed["given_up"]) == (revision["web1"], "r-1", False)
    assert "owed" in control.ctl("hosts").stdout.splitlines()[0].split()
    # A restart forgets nothing of it; and a person who works on the host holds it.
    control.kill()
    control.start()
    assert control.ctl("lock", "web1", "--reason", "a disk is swapped").returncode == 0
    away.boot()
    away.wait_ready()
    scene.until(lambda: control.host("web1")["seen"]["state"] == "well", "it is seen to be back")
    assert scene.orders(away) == []
    assert control.ctl("unlock", "web1").returncode == 0
    scene.until(lambda: control.host("web1")["owed"] is None, "it is brought to what it is owed")
    final = control.wait_final("r-2")
    assert (final["kind"], final["phase"], final["requested_by"]) == ("catch-up", "succeeded", "fleetd")
    assert [scene.runs(host) for host in hosts] == [(revision[host.name],) * 3 for host in hosts]
    assert scene.page(away) == "greeting v2"


def test_what_fails_on_a_host_that_is_back_is_taken_back_and_not_tried_again(scene: Scene) -> None:
    away, other = scene.hosts("web1", "web2")
    before = scene.runs(away)
    away.power_cut()
    control = scene.control(["web1", "web2"], policy=policy_with(waves=[]), extra=LOOKS)
    revision = {**scene.build(systems.answers_500, ["web1"], "v2"), **scene.build(systems.good, ["web2"], "v2")}
    assert control.deploy(revision).returncode == 5, control.log()
    assert scene.runs(other) == (revision["web2"],) * 3
    away.boot()
    away.wait_ready()
    scene.until(lambda: (control.host("web1")["owed"] or {}).get("given_up") is True, "it is given up", timeout_s=180)
    assert control.wait_final("r-2")["hosts"]["web1"]["state"] == "reverted"
    assert scene.runs(away) == before
    (blocked,) = control.host("web1")["blocked_by"]
    assert blocked["reason"] == "owed"
    assert blocked["type"].startswith("fleetctl deploy --toplevel web1=")
