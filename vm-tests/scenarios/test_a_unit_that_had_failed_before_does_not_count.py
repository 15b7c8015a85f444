"""A unit that had failed before the deploy, and still does, is no reason to take the host back."""

from __future__ import annotations

import pytest
from lab import system as systems
from lab.scene import Scene

pytestmark = pytest.mark.lab


def test_a_unit_that_had_failed_before_does_not_count(scene: Scene) -> None:
    (host,) = scene.hosts("web6")
    host.ssh("systemd-run", "--unit=old-trouble", "false", check=False)
    host.ssh("systemctl", "is-failed", "old-trouble")
    control = scene.control(["web6"])
    revision = scene.build(systems.good, ["web6"], "v2")
    done = control.deploy(revision)
    assert done.returncode == 0, done.stdout + control.log()
    assert scene.runs(host) == (revision["web6"],) * 3


def test_a_unit_of_both_systems_that_had_failed_before_does_not_count(scene: Scene) -> None:
    (host,) = scene.hosts("web5")
    flag = "/run/let-it-fail"
    text = systems.service(f"/bin/sh -c 'test ! -e {flag}'", Type="oneshot", RemainAfterExit="yes")
    host.inside("touch", flag)
    old = systems.good("web5", scene.gateway, "v1").with_unit("shaky", text)
    new = systems.good("web5", scene.gateway, "v2").with_unit("shaky", text)
    scene.switch_by_hand(host, systems.build(old))
    host.inside("systemctl", "is-failed", "shaky.service")
    control = scene.control(["web5"])
    revision = {"web5": systems.build(new)}
    done = control.deploy(revision)
    # The switch itself ends with exit 4 (a failed unit on the host), and yet nothing got worse by it.
    assert done.returncode == 0, done.stdout + control.log()
    assert scene.runs(host) == (revision["web5"],) * 3
