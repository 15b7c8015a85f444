"""What is wanted survives a real collector, what is not wanted does not, and the same again changes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from fleetd.errors import FleetdError, UsageError
from fleetd.model.store_path import StorePath
from fleetd.nix import roots as module
from fleetd.nix.builder import NixBuilder
from fleetd.nix.roots import root_link
from fleetd.nix.store import NixStore
from fleetd.rollout.roots import WantedRoots
from tests.nix.private_store import PrivateStore, temporary_directory, text_file

ELSEWHERE = StorePath("/nix/store/" + "0" * 32 + "-nixos-system-web1-0")


class Rig:
    def __init__(self, place: Path) -> None:
        self.nix = PrivateStore(place / "store")
        self.roots = place / "roots"
        self.store = NixStore(self.roots, self.nix.env)
        self.builder = NixBuilder(self.roots, self.nix.env, self.nix.root)

    def paths(self, count: int) -> list[StorePath]:
        return [self.nix.register(f"nixos-system-web1-{n}", text_file(f"{n}")) for n in range(count)]

    async def keep(self, *paths: str, rollouts: Sequence[str] = (), store: NixStore | None = None) -> None:
        await (store or self.store).keep_only(lambda: WantedRoots(tuple(paths), frozenset(rollouts)))

    def collect(self) -> None:
        self.nix.run("nix-store", "--gc")

    def links(self) -> dict[str, str]:
        return {str(link.relative_to(self.roots)): str(link.readlink()) for link in self.roots.glob("*/*")}


@pytest.fixture
def rig() -> Iterator[Rig]:
    with temporary_directory() as place:
        yield Rig(place)


@pytest.mark.asyncio
async def test_what_is_wanted_is_kept_and_nothing_else(rig: Rig) -> None:
    a, b, c = rig.paths(3)
    await rig.keep(a, b)
    rig.collect()
    assert [rig.nix.is_valid(path) for path in (a, b, c)] == [True, True, False]
    before = rig.links()
    await rig.keep(a, b)
    assert rig.links() == before, "the same again changes nothing"
    await rig.keep(b)
    rig.collect()
    assert [rig.nix.is_valid(path) for path in (a, b)] == [False, True]
    await rig.keep()
    rig.collect()
    assert not rig.nix.is_valid(b)


@pytest.mark.asyncio
async def test_what_only_a_host_has_is_no_error(rig: Rig) -> None:
    (a,) = rig.paths(1)
    await rig.keep(ELSEWHERE, a)
    rig.collect()
    assert rig.nix.is_valid(a)
    await rig.keep(ELSEWHERE)
    assert rig.links() == {}


@pytest.mark.asyncio
async def test_many_paths_are_kept_in_batches(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH", 3)
    paths = rig.paths(8)
    await rig.keep(*paths[:5])
    await rig.keep(*paths)
    rig.collect()
    assert all(rig.nix.is_valid(path) for path in paths)
    assert sorted(rig.links().values()) == sorted(paths)


@pytest.mark.asyncio
async def test_a_new_process_registers_links_that_nix_does_not_know(rig: Rig) -> None:
    """As after the state directory was restored on another machine."""
    (a,) = rig.paths(1)
    await rig.keep(a)
    for link in (rig.nix.root / "nix/var/nix/gcroots/auto").iterdir():
        link.unlink()
    again = NixStore(rig.roots, rig.nix.env)
    await rig.keep(a, store=again)
    rig.collect()
    assert rig.nix.is_valid(a)
    assert list(rig.links().values()) == [a]


@pytest.mark.asyncio
async def test_roots_of_rollouts_that_ended_are_dropped(rig: Rig) -> None:
    a, b = rig.paths(2)
    await rig.builder.build(a, "r-1/web1", timeout_s=30)
    await rig.builder.build(b, "r-10/web1", timeout_s=30)
    await rig.keep(rollouts=["r-10"])
    rig.collect()
    assert [rig.nix.is_valid(path) for path in (a, b)] == [False, True]


@pytest.mark.asyncio
async def test_a_rollout_that_begins_meanwhile_is_no_leftover(rig: Rig) -> None:
    (a,) = rig.paths(1)

    def wanted() -> WantedRoots:
        # The world of this moment does not know it; its first root is made before the directory is tidied.
        link = root_link(rig.roots, "r-2/web1")
        link.parent.mkdir(parents=True)
        rig.nix.run("nix-store", "--realise", a, "--add-root", str(link), "--indirect")
        return WantedRoots((), frozenset())

    await rig.store.keep_only(wanted)
    rig.collect()
    assert rig.nix.is_valid(a)


@pytest.mark.asyncio
async def test_what_cannot_be_made_drops_nothing(rig: Rig) -> None:
    a, b = rig.paths(2)
    await rig.keep(a)
    broken = NixStore(rig.roots, {"PATH": "/nonexistent"})
    with pytest.raises(FleetdError, match="nix-store"):
        await rig.keep(b, store=broken)
    rig.collect()
    assert rig.nix.is_valid(a)
    (rig.roots / "file").write_text("")
    with pytest.raises(FleetdError, match="cannot be brought up to date"):
        await rig.keep(a, store=NixStore(rig.roots / "file", rig.nix.env))


@pytest.mark.asyncio
async def test_a_link_in_place_of_a_directory_is_not_followed(rig: Rig) -> None:
    victim = rig.roots.parent / "victim"
    victim.mkdir()
    rig.roots.mkdir()
    (rig.roots / "r1").symlink_to(victim)
    await rig.keep()
    assert victim.is_dir()


@pytest.mark.parametrize(
    "name", ["", "/", "..", "../etc", "r1/../../etc", "/etc", "r1//web1", "-r", "a b", "r1/", ".git"]
)
def test_no_root_leads_out_of_its_directory(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="name of a root"):
        root_link(tmp_path, name)
