"""Somebody switches a host after it was deployed: block tells it, adopt takes it as it is, restore undoes it."""

from __future__ import annotations

import pytest
from lab import LabHost
from lab import system as systems
from lab.control import Control, policy_with
from lab.scene import Scene

pytestmark = pytest.mark.lab

NAMES = ["web1", "web2"]
LOOKS = '[observe]\ninterval = "3s"\n'


def deployed(scene: Scene, on_drift: str) -> tuple[Control, LabHost, dict[str, str], str]:
    """Return a control node, a host that somebody switched after a deploy, what was left there, and what runs."""
    drifts, _other = scene.hosts(*NAMES)
    control = scene.control(NAMES, policy=policy_with(waves=[], on_drift=on_drift), extra=LOOKS)
    revision = scene.build(systems.good, NAMES, "v2")
    assert control.deploy(revision).returncode == 0, control.log()
    theirs = systems.build(systems.good("web1", scene.gateway, "v7"))
    scene.switch_by_hand(drifts, theirs)
    drifts.inside("nix-env", "-p", "/nix/var/nix/profiles/system", "--set", theirs)
    drifts.inside(f"{theirs}/bin/switch-to-configuration", "switch", timeout_s=60)
    assert scene.runs(drifts) == (theirs,) * 3
    return control, drifts, revision, theirs


def test_block_tells_it_and_a_person_decides(scene: Scene) -> None:
    control, host, revision, theirs = deployed(scene, "block")
    scene.until(lambda: control.host("web1")["seen"]["state"] == "drifted", "it is seen to have drifted")
    assert "drifted" in control.ctl("hosts").stdout.splitlines()[0]
    assert scene.runs(host) == (theirs,) * 3
    done = control.ctl("restore", "web1", "--reason", "nobody asked for that")
    assert done.returncode == 0, done.stdout + done.stderr + control.log()
    assert scene.runs(host) == (revision["web1"],) * 3
    restored = control.rollout("r-2")
    assert (restored["kind"], restored["phase"]) == ("restore", "succeeded")
    refused = control.ctl("restore", "web1")
    assert refused.returncode == 4, refused.stderr
    assert "there is nothing to bring back" in refused.stderr
    # Somebody does it again, and is right this time.
    scene.switch_by_hand(host, theirs)
    half = control.ctl("adopt", "web1")
    assert half.returncode == 4, half.stdout
    assert "nixos-rebuild boot" in half.stderr, "what runs would not boot"
    host.inside("nix-env", "-p", "/nix/var/nix/profiles/system", "--set", theirs)
    host.inside(f"{theirs}/bin/switch-to-configuration", "boot", timeout_s=60)
    assert control.ctl("adopt", "web1", "--reason", "a hotfix").returncode == 0
    found = control.host("web1")
    assert (found["left"], found["last_good"], found["drifted"]) == (theirs, theirs, False)
    assert [line.split()[2] for line in control.ctl("audit").stdout.splitlines()] == ["deploy", "restore", "adopt"]


def test_adopt_takes_it_by_itself(scene: Scene) -> None:
    control, host, _revision, theirs = deployed(scene, "adopt")
    scene.until(lambda: control.host("web1")["left"] == theirs, "it is taken")
    assert scene.runs(host) == (theirs,) * 3
    newer = scene.build(systems.good, NAMES, "v3")
    assert control.deploy(newer).returncode == 0, control.log()
    assert scene.runs(host) == (newer["web1"],) * 3


def test_restore_brings_back_what_was_left_and_a_lock_holds_it(scene: Scene) -> None:
    control, host, revision, theirs = deployed(scene, "restore")
    scene.until(lambda: scene.runs(host) == (revision["web1"],) * 3, "it is brought back")
    restored = control.wait_final("r-2")
    assert (restored["kind"], restored["phase"], restored["requested_by"]) == ("restore", "succeeded", "fleetd")
    assert control.ctl("lock", "web1", "--reason", "I work here").returncode == 0
    scene.switch_by_hand(host, theirs)
    host.inside("nix-env", "-p", "/nix/var/nix/profiles/system", "--set", theirs)
    host.inside(f"{theirs}/bin/switch-to-configuration", "switch", timeout_s=60)
    scene.until(lambda: control.host("web1")["owed"] is not None, "it is owed what was left")
    assert scene.runs(host) == (theirs,) * 3
    assert control.ctl("unlock", "web1").returncode == 0
    scene.until(lambda: scene.runs(host) == (revision["web1"],) * 3, "it is brought back, once it may be")


def test_a_host_that_lost_what_it_knew_waits_for_a_person(scene: Scene) -> None:
    host, _other = scene.hosts(*NAMES)
    control = scene.control(NAMES, policy=policy_with(waves=[], on_drift="restore"), extra=LOOKS)
    revision = scene.build(systems.good, NAMES, "v2")
    assert control.deploy(revision).returncode == 0, control.log()
    host.inside("rm", "-rf", "/nix/var/fleetd-host")
    scene.until(lambda: control.host("web1")["seen"]["state"] == "drifted", "it is no longer the host that is known")
    newer = scene.build(systems.good, NAMES, "v3")
    assert control.deploy(newer).returncode == 5, control.log()
    assert control.rollout("r-2")["hosts"]["web1"]["kind"] == "host-state-lost"
    assert scene.runs(host) == (revision["web1"],) * 3
    assert control.ctl("adopt", "web1", "--reason", "installed anew").returncode == 0
    scene.until(lambda: scene.runs(host) == (newer["web1"],) * 3, "it gets what it was passed over with")
