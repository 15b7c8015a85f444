"""Going back takes four minutes, more than any default that could cut it short, and still ends on the old system.

What could cut it: systemd's 90 s for the start or the stop of a unit, the 180 s of a switch that waits for systemd, and
any limit of an ssh connection. Both ways back are here, the one that is ordered and the one that the guard begins; the
two hosts take their four minutes at the same time.
"""

from __future__ import annotations

import pytest
from lab import LabHost
from lab import system as systems
from lab.control import policy_with
from lab.look import ENDS_S
from lab.scene import Scene
from lab.seed import seed_with

SLOW_S = 240
SLOW_FROM_NOW = "/run/slow-from-now"
pytestmark = [pytest.mark.lab, pytest.mark.timeout(3 * SLOW_S)]


def old_system(host: LabHost) -> systems.System:
    """Return a system with a unit that is up at once at boot, and takes four minutes when it is started again."""
    start = f"/bin/sh -c 'if test -e {SLOW_FROM_NOW}; then sleep {SLOW_S}; fi'"
    text = systems.service(start, Type="oneshot", RemainAfterExit="yes")
    return systems.good(host.name, host.wiring.gateway, "v1").with_unit("slow", text)


def test_a_way_back_of_four_minutes_still_ends(scene: Scene) -> None:
    ordered, guarded = hosts = scene.hosts("web5", "web6", seed=seed_with(old_system))
    before = [scene.runs(host) for host in hosts]
    for host in hosts:
        host.inside("touch", SLOW_FROM_NOW)
    policy = policy_with(revert_timeout="6m", progress_deadline="20m")
    bad = {"web5": systems.answers_500, "web6": systems.network_down}
    controls = [scene.control([host.name], policy=policy) for host in hosts]
    names = [
        control.deploy_detached(scene.build(bad[host.name], [host.name], "v2"))
        for control, host in zip(controls, hosts, strict=True)
    ]
    for control, name in zip(controls, names, strict=True):
        final = control.wait_final(name, timeout_s=SLOW_S + 2 * ENDS_S)
        assert final["phase"] == "rolled-back", final
    assert [scene.runs(host) for host in hosts] == before
    assert [scene.page(host) for host in hosts] == ["greeting v1"] * 2
    assert (scene.record(ordered, "by"), scene.record(guarded, "by")) == ("order", "guard")
    for host in hosts:
        # One way back, which was never cut and begun again, and which really took so long.
        assert scene.record(host, "attempts") == "1"
        assert host.inside("systemctl", "is-active", "slow.service").stdout.strip() == "active"
        assert scene.took_s(host, "slow.service") >= SLOW_S
