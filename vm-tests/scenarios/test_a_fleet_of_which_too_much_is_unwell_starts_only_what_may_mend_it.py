"""Hosts that no rollout has fall ill: nothing starts on well ones, a fix goes to the ill ones, and then all goes on."""

from __future__ import annotations

import pytest
from lab import system as systems
from lab.control import policy_with
from lab.scene import Scene

pytestmark = pytest.mark.lab

WELL, ILL = ["web1", "web2"], ["web3", "web4"]
NAMES = [*WELL, *ILL]
LOOKS = '[observe]\ninterval = "2s"\n'


def test_a_fleet_of_which_too_much_is_unwell_starts_only_what_may_mend_it(scene: Scene) -> None:
    hosts = scene.hosts(*NAMES)
    control = scene.control(NAMES, policy=policy_with(waves=[]), fleet="brake = 1\n", extra=LOOKS)

    def are_seen(names: list[str], state: str) -> bool:
        return all(control.host(name)["seen"]["state"] == state for name in names)

    scene.until(lambda: are_seen(NAMES, "well"), "every host is seen to be well")
    for host in hosts[2:]:
        host.inside("systemctl", "stop", "web.service")
    scene.until(lambda: are_seen(ILL, "unhealthy"), "two are seen to be ill")
    # Who is ill is in the journal: a daemon that has not looked yet knows it as well.
    control.kill()
    control.start()
    held = control.deploy_detached(scene.build(systems.good, WELL, "v2"))
    scene.until(lambda: waits(control.host("web1")) == ["brake"], "it is told what a host waits for")
    assert "unwell" in control.ctl("status").stdout
    mended = control.deploy(scene.build(systems.good, ILL, "v2"))
    assert mended.returncode == 0, mended.stdout + control.log()
    final = control.wait_final(held)
    assert final["phase"] == "succeeded", final["finish_reason"]
    assert [scene.page(host) for host in hosts] == ["greeting v2"] * 4
    # By the clock that all hosts have in common: what was well began once the first of the others had been mended.
    first_mended = min(scene.began_s(host, "fleetd-commit-*") for host in hosts[2:])
    assert all(scene.began_s(host, "fleetd-switch-*") > first_mended for host in hosts[:2])


def waits(host: dict[str, object]) -> list[str]:
    blocked = host["blocked_by"]
    assert isinstance(blocked, list)
    return [str(block["reason"]) for block in blocked]
