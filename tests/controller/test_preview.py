"""What a deploy would bring, without doing it: evaluated at one commit, compared where both systems are here."""

from __future__ import annotations

import pytest

from fleetd.controller.preview import Preview
from fleetd.controller.resolve import Asked, specify
from fleetd.errors import SourceError, ToplevelError, UsageError
from fleetd.model.build import Told, untold
from fleetd.model.fleet import Fleet, Host, Installable, Prebuilt, ToplevelSource
from fleetd.model.goal import Goal
from fleetd.model.policy import Policy
from fleetd.model.store_path import StorePath
from fleetd.nix.diff import diff
from fleetd.ports import PathInfo
from fleetd.rollout.spec import Kind, RolloutSpec

FLAKE = "git+file:///infra"


def toplevel(host: str, label: str) -> StorePath:
    return StorePath(f"/nix/store/{label * 32}-nixos-system-{host}-{label}")


class Nix:
    """A builder, store and comparer in memory: derivations are named after their toplevels."""

    def __init__(self) -> None:
        self.present: set[str] = set()
        self.locked = f"{FLAKE}?rev=1"
        self.evaluated: list[str] = []
        self.built_roots: list[str] = []
        self.wrong: set[str] = set()

    async def lock(self, flake: str, *, timeout_s: float, root: str | None = None) -> str:
        if not self.locked:
            raise SourceError("a tree with changes")
        return self.locked

    async def evaluate(self, name: str, source: ToplevelSource, *, timeout_s: float, root: str | None = None) -> str:
        assert isinstance(source, Installable)
        self.evaluated.append(source.text)
        if name in self.wrong:
            raise SourceError(f"{name} has no disk")
        return f"{toplevel(name, '2')}.drv"

    async def build(self, derivation: str, root: str, *, timeout_s: float, told: Told = untold) -> StorePath:
        path = StorePath(derivation.removesuffix(".drv"))
        self.built_roots.append(root)
        self.present.add(path)
        return path

    async def built(self, target: str) -> StorePath | None:
        path = target.removesuffix(".drv")
        return StorePath(path) if path in self.present else None

    async def compare(self, old: StorePath, new: StorePath) -> object:
        infos = [(PathInfo(path, "", b"", (), 100, (), ""),) for path in (old, new)]
        return diff(*infos)

    async def check_toplevel(self, path: StorePath, host: Host) -> None:
        if f"-{host.name}-" not in path:
            raise ToplevelError("of another host")


def spec_of(*names: str, sources: dict[str, ToplevelSource] | None = None) -> RolloutSpec:
    fleet = Fleet({name: Host(name, (name,)) for name in names}, policies={"default": Policy()}, flake=FLAKE)
    asked = Asked(Kind.DEPLOY, FLAKE, FLAKE, "*", Goal.SWITCH, "test", "", None)
    given = {name: (sources or {}).get(name, Installable(f"{FLAKE}#{name}")) for name in names}
    return specify(fleet, Policy(), given, asked, 60)


def preview(nix: Nix) -> Preview:
    return Preview(nix, nix, nix)  # type: ignore[arg-type]  # what it needs of them


@pytest.mark.asyncio
async def test_hosts_are_evaluated_at_one_commit_and_an_error_stays_with_its_host() -> None:
    nix = Nix()
    nix.wrong = {"web2"}
    ready: dict[str, ToplevelSource] = {"web3": Prebuilt(toplevel("web3", "9"))}
    targets, errors = await preview(nix).targets(spec_of("web1", "web2", "web3", sources=ready))
    assert targets == {"web1": f"{toplevel('web1', '2')}.drv", "web3": toplevel("web3", "9")}
    assert errors == [{"host": "web2", "message": "web2 has no disk"}]
    assert sorted(nix.evaluated) == [f"{FLAKE}?rev=1#web1", f"{FLAKE}?rev=1#web2"]


@pytest.mark.asyncio
async def test_a_tree_with_changes_can_be_looked_at() -> None:
    nix = Nix()
    nix.locked = ""
    await preview(nix).targets(spec_of("web1"))
    assert nix.evaluated == [f"{FLAKE}#web1"]


@pytest.mark.asyncio
async def test_only_what_is_here_is_compared_and_nothing_is_built_for_a_plan() -> None:
    nix = Nix()
    names = ("web1", "web2", "web3", "web4")
    current: dict[str, object] = {name: toplevel(name, "1") for name in names}
    current["web4"] = None
    nix.present = {toplevel(n, "1") for n in names} | {toplevel("web1", "2"), toplevel("web3", "2")}
    nix.present.remove(toplevel("web3", "1"))
    targets = {name: f"{toplevel(name, '2')}.drv" for name in names}
    found = await preview(nix).differences(current, targets)
    assert list(found) == ["web1"]
    assert (found["web1"]["download_paths"], found["web1"]["download_bytes"]) == (1, 100)
    assert nix.built_roots == []


@pytest.mark.asyncio
async def test_one_host_is_built_and_compared() -> None:
    nix = Nix()
    old = toplevel("web1", "1")
    nix.present = {old}
    document = await preview(nix).difference(Host("web1", ("web1",)), old, spec_of("web1"))
    assert (document["host"], document["from"], document["to"]) == ("web1", old, toplevel("web1", "2"))
    assert nix.built_roots == ["diff/web1"]


@pytest.mark.asyncio
async def test_what_cannot_be_compared_is_told_before_anything_is_built() -> None:
    nix = Nix()
    host, spec = Host("web1", ("web1",)), spec_of("web1")
    with pytest.raises(UsageError, match="not known what runs there"):
        await preview(nix).difference(host, None, spec)
    with pytest.raises(UsageError, match="is not in the control node's store"):
        await preview(nix).difference(host, toplevel("web1", "1"), spec)
    assert (nix.evaluated, nix.built_roots) == ([], [])
    nix.present = {toplevel("web1", "1")}
    foreign = spec_of("web1", sources={"web1": Prebuilt(toplevel("web2", "2"))})
    with pytest.raises(ToplevelError, match="of another host"):
        await preview(nix).difference(host, toplevel("web1", "1"), foreign)
