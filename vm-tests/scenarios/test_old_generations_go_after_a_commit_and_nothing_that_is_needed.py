"""A host that keeps two generations: older ones go with each commit, and nothing that boots or is gone back to."""

from __future__ import annotations

import re

import pytest
from lab import system as systems
from lab.control import policy_with
from lab.host import LabHost
from lab.scene import Scene

pytestmark = pytest.mark.lab

PROFILE = "/nix/var/nix/profiles/system"
QUICK = policy_with(waves=[], min_healthy="1s")


def generations(host: LabHost) -> list[str]:
    """Return the systems of the host's generations, the oldest first."""
    said = host.inside("nix-env", "-p", PROFILE, "--list-generations").stdout
    return [host.readlink(f"{PROFILE}-{line.split()[0]}-link") for line in said.splitlines()]


def menu(host: LabHost) -> set[str]:
    """Return the systems that the boot menu lists."""
    said = host.inside("sh", "-c", "cat /boot/loader/entries/*.conf").stdout
    return set(re.findall(r"init=(\S+)/init", said))


def missing(host: LabHost, wanted: set[str]) -> set[str]:
    """Return which of these systems are not whole on the host."""
    return {one for one in wanted if host.inside("nix-store", "--check-validity", one, check=False).returncode != 0}


def test_old_generations_go_and_what_boots_or_is_gone_back_to_stays(scene: Scene) -> None:
    (host,) = scene.hosts("web1")
    control = scene.control(["web1"], policy=QUICK, keys={"web1": {"keep_generations": {"newest": 2}}})
    ran = [scene.runs(host)[0]]
    for number in range(2, 7):
        new = scene.build(systems.good, ["web1"], f"v{number}")
        done = control.deploy(new)
        assert done.returncode == 0, done.stdout + control.log()
        ran.append(new["web1"])
        # A collector may come at any time: every entry of the boot menu still leads to a whole system.
        host.inside("nix-collect-garbage", timeout_s=60)
        assert missing(host, menu(host) | set(generations(host))) == set()
    # The first is what was booted, the fourth was good before the one before the last.
    assert generations(host) == [ran[0], *ran[3:]]
    assert missing(host, {ran[1]}) == {ran[1]}
    assert scene.runs(host) == (ran[-1],) * 3
    back = control.ctl("rollback", "--on", "web1")
    assert back.returncode == 0, back.stdout + back.stderr + control.log()
    assert scene.runs(host) == (ran[-2],) * 3
    host.power_cycle()
    assert scene.runs(host) == (ran[-2],) * 3


def test_without_the_key_all_of_them_stay(scene: Scene) -> None:
    (host,) = scene.hosts("web1")
    control = scene.control(["web1"], policy=QUICK)
    for number in (2, 3, 4):
        assert control.deploy(scene.build(systems.good, ["web1"], f"v{number}")).returncode == 0, control.log()
    assert len(generations(host)) == 4
