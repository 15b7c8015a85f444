"""A garbage collector that runs all the time, on the control node and on every host, takes nothing that a rollout or
the way back needs; and what nobody needs any more it gets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from conftest import Scene
from lab import LabHost
from lab import system as systems
from lab.control import NIX_CONFIG, Control
from lab.run import quiet, run
from lab.seed import copy_to

pytestmark = pytest.mark.lab

NAMES = ("web1", "web2")
ROOTS = "/nix/var/nix/gcroots/fleetd"
OWN_STORE = 'mount --bind "$0/nix" /nix && exec "$@"'


class OwnStore:
    """A control node whose ``/nix`` is its own: the machine's store belongs to others."""

    def __init__(self, control: Control, place: Path) -> None:
        self.control = control
        self.place = place
        (place / "nix/store").mkdir(parents=True)
        control.prefix = ("unshare", "--mount", "sh", "-c", OWN_STORE, str(place))

    def take(self, toplevels: Mapping[str, str]) -> Mapping[str, str]:
        for toplevel in toplevels.values():
            copy_to(self.place, toplevel)
        return toplevels

    def collect(self) -> None:
        """As on a machine of its own: what the lab's hosts run is no root here, so their processes are not seen."""
        inside = ("nsenter", "-t", str(self.control.pid), "--mount", "--", "unshare", "--pid", "--fork", "--mount-proc")
        run(*inside, "env", f"NIX_CONFIG={NIX_CONFIG}", "nix-collect-garbage", timeout_s=60)

    def has(self, path: str) -> bool:
        return quiet("nix-store", "--store", f"local?root={self.place}", "--check-validity", path)


def collect(store: OwnStore, hosts: Sequence[LabHost]) -> None:
    store.collect()
    for host in hosts:
        # With old generations: only roots hold what was there before.
        host.inside("nix-collect-garbage", "-d", timeout_s=60)


def copies_rooted(host: LabHost) -> list[str]:
    return sorted(link for link in host.inside("ls", ROOTS).stdout.split() if link.endswith("-next"))


def test_a_collector_at_any_moment_takes_nothing_that_is_needed(scene: Scene, tmp_path: Path) -> None:
    hosts = scene.hosts(*NAMES)
    control = scene.control(NAMES, start=False)
    store = OwnStore(control, tmp_path / "own")
    control.start()
    first = {host.name: scene.runs(host)[0] for host in hosts}
    second = store.take(scene.build(systems.good, NAMES, "v2"))
    name = control.deploy_detached(second)
    seen = set()
    while (rollout := control.rollout(name))["finished_at"] is None:
        seen |= {host["state"] for host in rollout["hosts"].values()}
        collect(store, hosts)
    assert rollout["phase"] == "succeeded", f"{rollout}\n{control.log()}"
    assert {"trial", "committed"} <= seen, "the collector ran in the middle of it"
    collect(store, hosts)
    for host in hosts:
        assert copies_rooted(host) == [], "a trial's own roots have replaced the copy's"
        assert store.has(second[host.name]), "what hosts run stays on the control node"

    # The way back: the first system was never on the control node, and on the hosts only a root holds it.
    assert not store.has(first["web1"])
    back = control.ctl("rollback")
    assert back.returncode == 0, back.stdout + back.stderr + control.log()
    for host in hosts:
        assert scene.runs(host) == (first[host.name],) * 3


def test_what_nobody_needs_any_more_is_given_back(scene: Scene, tmp_path: Path) -> None:
    (host,) = scene.hosts("web4")
    control = scene.control(["web4"], start=False)
    store = OwnStore(control, tmp_path / "own")
    control.start()
    revisions = [store.take(scene.build(systems.good, ["web4"], f"v{n}"))["web4"] for n in (2, 3, 4)]
    bad = store.take(scene.build(systems.answers_500, ["web4"], "v5"))["web4"]
    for toplevel in revisions:
        done = control.deploy({"web4": toplevel})
        assert done.returncode == 0, done.stdout + control.log()
    assert control.deploy({"web4": bad}).returncode == 2
    # A daemon that starts again finds its roots again, and keeps no more and no less.
    control.kill()
    control.start()
    collect(store, [host])
    kept = [store.has(path) for path in (*revisions, bad)]
    assert kept == [False, True, True, False], "current, last good, and the one before it"
    here = [host.inside("nix-store", "--check-validity", path, check=False).returncode == 0 for path in revisions]
    assert here == [False, True, True]
    assert scene.runs(host) == (revisions[2],) * 3
    assert copies_rooted(host) == []
