"""A lock and a freeze, as a person puts and ends them, on real hosts: nothing starts, and everybody is told why."""

from __future__ import annotations

import pytest
from lab import system as systems
from lab.control import Control, policy_with
from lab.scene import Scene

pytestmark = pytest.mark.lab

NAMES = ["web1", "web2"]


def test_what_is_held_starts_nothing_until_it_is_released(scene: Scene) -> None:
    hosts = scene.hosts(*NAMES)
    before = scene.runs(hosts[1])
    control = scene.control(NAMES, policy=policy_with(waves=[]))
    revision = scene.build(systems.good, NAMES, "v2")
    said(control, "lock", "web2", "--reason", "a disk is swapped", "--owner", "ops")
    name = control.deploy_detached(revision)
    control.wait_for(name, "web1", "committed")
    scene.until(lambda: waits(control, "web2") == ["locked"], "web2 says what it waits for")
    said(control, "freeze", "--reason", "the holidays", "--for", "2h")
    said(control, "unlock", "web2", "--reason", "the disk is in")
    assert waits(control, "web2") == ["frozen"]
    refused = control.deploy(revision)
    assert refused.returncode == 4, refused.stdout + refused.stderr
    assert "fleetctl unfreeze" in refused.stderr
    assert "the fleet is frozen by" in control.ctl("status").stdout
    assert scene.runs(hosts[1]) == before
    said(control, "unfreeze", "--reason", "back at work")
    final = control.wait_final(name)
    assert final["phase"] == "succeeded", final["finish_reason"]
    assert scene.runs(hosts[1]) == (revision["web2"],) * 3
    audit = [line.split()[2] for line in control.ctl("audit").stdout.splitlines()]
    assert audit == ["lock", "deploy", "freeze", "unlock", "unfreeze"]


def said(control: Control, *words: str) -> None:
    done = control.ctl(*words)
    assert done.returncode == 0, done.stdout + done.stderr


def waits(control: Control, host: str) -> list[str]:
    """Return what a host waits for."""
    return [str(block["reason"]) for block in control.host(host)["blocked_by"]]
