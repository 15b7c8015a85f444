"""A boot loader that cannot be installed takes the host back, and its own words are where a person looks for them."""

from __future__ import annotations

import pytest
from lab import system as systems
from lab.control import policy_with
from lab.scene import Scene

pytestmark = pytest.mark.lab

AT_ONCE = policy_with(waves=[{"count": 1}], min_healthy="1s")


def fails(host: str, gateway: str, greeting: str) -> systems.System:
    """Return a system that runs well, and whose boot loader cannot be installed."""
    return systems.good(host, gateway, greeting).with_fault("boot-loader")


def test_the_reason_and_the_log_of_a_host_have_the_installer_s_last_words(scene: Scene) -> None:
    (host,) = scene.hosts("web1")
    before = scene.runs(host)
    control = scene.control(["web1"], policy=AT_ONCE)
    done = control.deploy(scene.build(fails, ["web1"], "v2"))
    assert done.returncode == 2, done.stdout + control.log()
    assert scene.runs(host) == before
    reason = control.rollout("r-1")["hosts"]["web1"]["reason"]
    assert "the boot loader could not be installed: boot loader: failed on purpose" in reason
    logs = control.ctl("logs", "r-1", "web1")
    assert logs.returncode == 0, logs.stderr
    assert "boot loader: failed on purpose" in logs.stdout.partition("== profile and boot loader")[2]
    assert control.deploy(scene.build(fails, ["web1"], "v3"), "--goal", "boot").returncode == 2
    assert scene.runs(host) == before
    reason = control.rollout("r-2")["hosts"]["web1"]["reason"]
    assert "nothing was staged: the boot loader could not be installed: boot" in reason
    assert "failed on purpose" in control.ctl("logs", "r-2", "web1").stdout
