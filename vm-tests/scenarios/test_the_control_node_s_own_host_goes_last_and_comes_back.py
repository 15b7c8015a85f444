"""fleetd deploys the host that it runs on: last, alone, across its own restart; one whose new daemon dies goes back."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from lab import LabHost
from lab import system as systems
from lab.control import Control, policy_with
from lab.errors import LabError
from lab.run import run, until
from lab.scene import Scene
from lab.seed import copy_to, seed_with

from fleetd.errors import FleetdError

pytestmark = pytest.mark.lab

OWN, OTHER = "web1", "web2"
FLEETD = f"{Path(sys.executable).parent}/fleetd --config /srv/config.toml"
POLICY = policy_with(contact_timeout="18s", rollback_scope="host", waves=[], max_parallel=2)


def with_daemon(host: LabHost, greeting: str, command: str = FLEETD) -> systems.System:
    """Return a system whose fleetd is this tree's: this machine's files, read only, with the host's own store."""
    unit = systems.service(
        command,
        unit="StartLimitIntervalSec=0\n",
        Environment=f"FOR={greeting} NIX_CONF_DIR=/srv/nix TMPDIR=/srv/tmp",
        RootDirectory="/control",
        MountAPIVFS="yes",
        BindPaths="/nix /srv",
        BindReadOnlyPaths="/etc/machine-id",
        Restart="always",
        RestartSec="1",
    )
    return systems.good(host.name, host.wiring.gateway, greeting).with_unit("fleetd", unit)


def seed(host: LabHost) -> None:
    """Give the one host its daemon, and both their first system."""
    if host.name == OWN:
        seed_with(lambda own: with_daemon(own, "v1"))(host)
        place = host.root / "control"
        place.mkdir()
        run("mount", "--bind", "/", place)
        run("mount", "-o", "remount,bind,ro", place)
    else:
        seed_with(lambda other: systems.good(other.name, other.wiring.gateway, "v1"))(host)


def furnish(scene: Scene, own: LabHost) -> Control:
    """Write the files of the daemon on its host, and return a hand that reaches it there."""
    control = scene.control([OWN, OTHER], policy=POLICY, start=False)
    key = own.wiring.private_key
    own.inside("sh", "-c", "umask 077; cat >/srv/key", text_in=key.read_text())
    for name in ("fleet.toml", "config.toml"):
        text = (control.directory / name).read_text().replace(str(control.directory), "/srv")
        own.path("/srv").joinpath(name).write_text(text.replace(str(key), "/srv/key"))
    own.path("/srv/nix").mkdir()
    # Not a /tmp of its own: this tree may have been cloned into the real one.
    own.path("/srv/tmp").mkdir()
    own.path("/srv/nix/nix.conf").write_text("build-users-group =\nsandbox = false\nsubstituters =\n")
    control.speak_to(f"unix:/proc/{own.leader()}/root/srv/fleetd.sock")
    return control


def deploy(scene: Scene, control: Control, revision: dict[str, str]) -> dict[str, Any]:
    """Deploy, and return how it ended; while the daemon is away nobody answers, which is waited through."""
    for toplevel in revision.values():
        copy_to(scene.lab.hosts[OWN].root, toplevel)
    name = control.deploy_detached(revision)
    ended: list[dict[str, Any]] = []

    def over() -> bool:
        try:
            document = control.rollout(name)
        except FleetdError:
            return False
        if document["finished_at"] is not None:
            ended.append(document)
        return bool(ended)

    own = scene.lab.hosts[OWN]
    until(over, 150, lambda: f"no end: {own.inside('journalctl', '-u', 'fleetd', '-n', '20').stdout}")
    assert [wave["name"] for wave in ended[0]["waves"]] == ["rest", "control node"]
    return ended[0]


def test_the_control_node_s_own_host_goes_last_and_comes_back_if_its_daemon_does_not(scene: Scene) -> None:
    own, other = scene.hosts(OWN, OTHER, seed=seed)
    control = furnish(scene, own)

    def answers() -> bool:
        try:
            return control.ctl("status").returncode == 0
        except LabError:
            return False

    until(answers, 60, lambda: f"no daemon: {own.inside('journalctl', '-u', 'fleetd', '-n', '20').stdout}")
    first = scene.invocation(own, "fleetd")
    good = {OWN: systems.build(with_daemon(own, "v2")), OTHER: systems.build(plain(other, "v2"))}
    done = deploy(scene, control, good)
    assert (done["phase"], scene.invocation(own, "fleetd") != first) == ("succeeded", True), done
    before = {host.name: scene.runs(host)[0] for host in (own, other)}
    assert before == good
    bad = {OWN: systems.build(with_daemon(own, "v3", "/bin/false")), OTHER: systems.build(plain(other, "v3"))}
    done = deploy(scene, control, bad)
    assert done["phase"] not in ("succeeded", "incomplete"), done
    assert scene.runs(own) == (good[OWN],) * 3
    assert scene.runs(other) == (bad[OTHER],) * 3
    assert scene.untrue_claims(done, before) == []
    assert scene.began_s(other, "fleetd-commit-*") < scene.began_s(own, "fleetd-switch-*")


def plain(host: LabHost, greeting: str) -> systems.System:
    """Return a healthy system for the other host."""
    return systems.good(host.name, host.wiring.gateway, greeting)
