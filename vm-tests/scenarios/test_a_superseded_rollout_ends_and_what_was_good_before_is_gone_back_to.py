"""A later rollout takes the place of an earlier one: its system may be bad, and is never what anybody goes back to."""

from __future__ import annotations

import pytest
from lab import system as systems
from lab.control import policy_with
from lab.scene import Scene

pytestmark = pytest.mark.lab

NAMES = ["web1", "web2"]
LONG_SOAK = [{"name": "canary", "on": "web1", "soak": "1h"}, {"percent": 50}]
SUPERSEDE = ("--supersede", "--policy", "quick")


def test_a_superseded_rollout_ends_and_what_was_good_before_is_gone_back_to(scene: Scene) -> None:
    canary, other = hosts = scene.hosts(*NAMES)
    before = [scene.runs(host) for host in hosts]
    quick = policy_with(waves=[{"name": "canary", "on": "web1", "soak": "1s"}]).replace(".default", ".quick")
    control = scene.control(NAMES, policy=policy_with(waves=LONG_SOAK, progress_deadline="3h") + quick)
    second = scene.build(systems.good, NAMES, "v2")
    first = control.deploy_detached(second)
    scene.until(lambda: control.rollout(first)["phase"] == "soaking", "the canary soaks")
    assert scene.runs(canary) == (second["web1"],) * 3
    # Without the word it waits for the other one, as long as that takes.
    third = {**scene.build(systems.good, ["web1"], "v3"), **scene.build(systems.answers_500, ["web2"], "v3")}
    waiting = control.deploy_detached(third)
    scene.until(lambda: bool(control.rollout(waiting)["blocked_by"]), "it is told what the second one waits for")
    assert control.rollout(first)["phase"] == "soaking"
    assert control.ctl("abort", waiting).returncode == 0
    bad = control.deploy(third, *SUPERSEDE)
    assert bad.returncode == 2, bad.stdout + control.log()
    assert control.rollout(first)["phase"] == "superseded"
    assert [scene.runs(host) for host in hosts] == before, "v2 never proved itself: v1 is what was good"
    assert control.rollout("r-3")["phase"] == "rolled-back"
    good = control.deploy(scene.build(systems.good, NAMES, "v4"), *SUPERSEDE)
    assert good.returncode == 0, good.stdout + control.log()
    assert [scene.page(host) for host in (canary, other)] == ["greeting v4"] * 2


def test_a_rollout_that_takes_hosts_back_is_not_superseded(scene: Scene) -> None:
    hosts = scene.hosts(*NAMES)
    control = scene.control(NAMES, policy=policy_with(waves=[{"name": "canary", "on": "web1", "soak": "1s"}]))
    slow = systems.build(systems.slow_revert("web1", scene.gateway, "v2", 8))
    words = control.toplevel_words(scene.build(systems.good, NAMES, "v3"))
    bad = control.deploy_detached({"web1": slow, **scene.build(systems.answers_500, ["web2"], "v2")})
    control.wait_for(bad, "web1", "rolling-back")
    later = control.id_in(control.ctl("--json", "deploy", "--detach", "--supersede", *words))
    assert control.rollout(bad)["hosts"]["web1"]["state"] == "rolling-back", "the machine is too slow for this test"
    assert control.wait_final(bad)["phase"] == "rolled-back"
    assert control.wait_final(later)["phase"] == "succeeded"
    assert [scene.page(host) for host in hosts] == ["greeting v3"] * 2
    # There and back, and there again.
    assert [scene.switches(host) for host in hosts] == [3, 3]
