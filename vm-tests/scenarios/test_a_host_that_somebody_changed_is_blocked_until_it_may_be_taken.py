"""Somebody has deployed to a host by other means: a rollout leaves it alone, unless the policy takes it as it is."""

from __future__ import annotations

import pytest
from lab import LabHost
from lab import system as systems
from lab.control import policy_with
from lab.scene import Scene

pytestmark = pytest.mark.lab


NAMES = ["web1", "web2"]


@pytest.mark.parametrize("on_drift", ["block", "adopt"])
def test_a_host_that_somebody_changed(scene: Scene, on_drift: str) -> None:
    drifted, other = hosts = scene.hosts(*NAMES)
    control = scene.control(NAMES, policy=policy_with(on_drift=on_drift))
    assert control.deploy(scene.build(systems.good, NAMES, "v2")).returncode == 0, control.log()
    theirs = systems.build(systems.good("web1", scene.gateway, "v7"))
    deploy_by_hand(scene, drifted, theirs)
    assert scene.runs(drifted) == (theirs,) * 3
    revision = scene.build(systems.good, NAMES, "v3")
    done = control.deploy(revision)
    assert scene.runs(other) == (revision["web2"],) * 3, done.stdout
    if on_drift == "block":
        assert done.returncode == 5, done.stdout + control.log()
        assert scene.runs(drifted) == (theirs,) * 3
        assert scene.page(drifted) == "greeting v7"
        assert control.rollout("r-2")["hosts"]["web1"]["kind"] == "drifted"
    else:
        assert done.returncode == 0, done.stdout + control.log()
        assert [scene.runs(host) for host in hosts] == [(revision[name],) * 3 for name in NAMES]


def deploy_by_hand(scene: Scene, host: LabHost, toplevel: str) -> None:
    """Do what nixos-rebuild switch does: profile, boot loader, and the running system."""
    scene.switch_by_hand(host, toplevel)
    host.inside("nix-env", "-p", "/nix/var/nix/profiles/system", "--set", toplevel)
    host.inside(f"{toplevel}/bin/switch-to-configuration", "switch", timeout_s=60)
