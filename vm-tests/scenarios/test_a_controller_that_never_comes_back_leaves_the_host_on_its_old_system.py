"""The controller dies for good after the trial began: the guard alone takes the host back, by its own deadline."""

from __future__ import annotations

import pytest
from lab import system as systems
from lab.scene import Scene

pytestmark = pytest.mark.lab


def test_a_controller_that_never_comes_back_leaves_the_host_on_its_old_system(scene: Scene) -> None:
    (host,) = scene.hosts("web4")
    before = scene.runs(host)
    control = scene.control(["web4"])
    name = control.deploy_detached(scene.build(systems.good, ["web4"], "v2"))
    control.wait_for(name, "web4", "trial")
    control.kill()
    scene.wait_state(host, "reverted")
    assert scene.record(host, "by") == "guard"
    assert scene.runs(host) == before
    assert scene.page(host) == "greeting v1"
    # By its own clock: the way back began within a second or two of the deadline that the host itself had noted.
    began = scene.began_s(host, "fleetd-revert-*")
    deadline = float(scene.record(host, "deadline"))
    assert deadline < began < deadline + 10, (began, deadline)


def test_a_controller_that_dies_during_the_switch_leaves_the_host_on_its_old_system(scene: Scene) -> None:
    (host,) = scene.hosts("web5")
    before = scene.runs(host)
    control = scene.control(["web5"])
    held = systems.good("web5", scene.gateway, "v2").with_fault("pause-after-stop", 5)
    name = control.deploy_detached({"web5": systems.build(held)})
    control.wait_for(name, "web5", "switching")
    scene.wait_state(host, "switching")
    control.kill()
    scene.wait_state(host, "reverted")
    assert scene.record(host, "by") == "guard"
    assert scene.runs(host) == before
    assert scene.page(host) == "greeting v1"
