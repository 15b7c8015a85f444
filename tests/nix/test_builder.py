"""Evaluation and builds with a real Nix, and its own words when they fail."""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleetd.errors import SourceError, UsageError
from fleetd.model.build import BuildNews
from fleetd.model.fleet import FileAttribute, Installable, Prebuilt
from fleetd.model.store_path import StorePath
from fleetd.nix.builder import NixBuilder
from fleetd.nix.evaluator import Evaluable
from tests.nix.private_store import PrivateStore, temporary_directory, text_file

MARK = f"fleetd-test-{os.getpid()}"
"""In the words of an endless builder: Nix leaves it nothing of our environment to be known by."""

HOSTS = """
let host = name: script: derivation {
  inherit name; system = builtins.currentSystem; builder = "/bin/sh"; args = [ "-c" script ];
}; in {
  web1 = host "nixos-system-web1-1" "echo hi > $out";
  web2 = throw "web2 has no \\u001b[31mdisk";
  web3 = host "nixos-system-web3-1" "echo no compiler >&2; exit 7";
  web4 = host "nixos-system-web4-1" "while :; do : MARK; done";
  number = 3;
  list = [ (host "a" "") (host "b" "") ];
}
"""
FLAKE = """
{ outputs = _: { web1 = derivation { name = "nixos-system-web1-1"; system = "x86_64-linux"; builder = "/bin/sh"; }; }; }
"""


class Rig:
    def __init__(self, place: Path) -> None:
        self.nix = PrivateStore(place / "store")
        self.roots = place / "roots"
        self.builder = NixBuilder(self.roots, self.nix.env, self.nix.root)
        self.file = place / "hosts.nix"
        self.file.write_text(HOSTS.replace("MARK", MARK))
        self.flake = place / "flake"
        self.flake.mkdir()
        (self.flake / "flake.nix").write_text(FLAKE)

    async def evaluate(self, attribute: str) -> str:
        return await self.builder.evaluate(attribute, FileAttribute(str(self.file), attribute), timeout_s=30)

    def git(self, *words: str) -> str:
        config = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main")
        argv = ["git", *config, "-C", str(self.flake), *words]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def rig() -> Iterator[Rig]:
    with temporary_directory() as place:
        yield Rig(place)


@pytest.mark.asyncio
async def test_a_file_is_evaluated_built_and_kept(rig: Rig) -> None:
    derivation = await rig.evaluate("web1")
    toplevel = await rig.builder.build(derivation, "r1/web1", timeout_s=30)
    assert toplevel.endswith("-nixos-system-web1-1")
    assert rig.nix.real(toplevel).read_text() == "hi\n"
    rig.nix.run("nix-store", "--gc")
    assert rig.nix.is_valid(toplevel)
    (rig.roots / "r1/web1").unlink()
    rig.nix.run("nix-store", "--gc")
    assert not rig.nix.is_valid(toplevel)


@pytest.mark.asyncio
async def test_a_collector_between_evaluation_and_build_takes_nothing(rig: Rig) -> None:
    source = FileAttribute(str(rig.file), "web1")
    derivation = await rig.builder.evaluate("web1", source, timeout_s=30, root="r1/web1.drv")
    assert (rig.roots / "r1/web1.drv").readlink() == Path(derivation)
    rig.nix.run("nix-store", "--gc")
    assert rig.nix.real(await rig.builder.build(derivation, "r1/web1", timeout_s=30)).read_text() == "hi\n"


@pytest.mark.asyncio
async def test_what_is_collected_before_it_has_a_root_is_evaluated_again(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluator = rig.builder._evaluator
    plain = evaluator.derivation
    collected: list[StorePath] = []

    async def collecting(name: str, source: Evaluable, *, timeout_s: float, fresh: bool) -> StorePath:
        path = await plain(name, source, timeout_s=timeout_s, fresh=fresh)
        if len(collected) < limit:
            await asyncio.to_thread(rig.nix.run, "nix-store", "--gc")
            collected.append(path)
        return path

    monkeypatch.setattr(evaluator, "derivation", collecting)
    source, limit = FileAttribute(str(rig.file), "web1"), 1
    derivation = await rig.builder.evaluate("web1", source, timeout_s=30, root="r1/web1.drv")
    assert rig.nix.is_valid(derivation)
    (rig.roots / "r1/web1.drv").unlink()
    limit = 3
    with pytest.raises(SourceError, match="collected 2 times"):
        await rig.builder.evaluate("web1", source, timeout_s=30, root="r1/web1.drv")


@pytest.mark.asyncio
async def test_a_prebuilt_toplevel_is_taken_as_it_is(rig: Rig) -> None:
    path = rig.nix.register("nixos-system-web1-9", text_file("x"))
    derivation = await rig.builder.evaluate("web1", Prebuilt(path), timeout_s=5)
    assert await rig.builder.build(derivation, "r1/web1", timeout_s=30) == path
    assert (rig.roots / "r1/web1").readlink() == Path(path)
    with pytest.raises(SourceError, match="cannot be had"):
        await rig.builder.build("/nix/store/" + "0" * 32 + "-nixos-system-web1-1", "r1/web1", timeout_s=30)


@pytest.mark.asyncio
async def test_the_same_root_takes_the_newer_build(rig: Rig) -> None:
    old = rig.nix.register("nixos-system-web1-9", text_file("x"))
    await rig.builder.build(old, "r1/web1", timeout_s=30)
    new = await rig.builder.build(await rig.evaluate("web1"), "r1/web1", timeout_s=30)
    assert (rig.roots / "r1/web1").readlink() == Path(new)


@pytest.mark.parametrize(
    ("attribute", "words"),
    [
        ("web2", r"web2: web2 in .*hosts.nix does not evaluate: error: .*web2 has no \w*.*disk"),
        ("web9", "attribute 'web9' .*not found"),
        ("number", "does not evaluate to a derivation"),
        ("list", "which is not one derivation"),
    ],
)
@pytest.mark.asyncio
async def test_what_does_not_evaluate_says_so_in_nix_own_words(rig: Rig, attribute: str, words: str) -> None:
    with pytest.raises(SourceError, match=words) as caught:
        await rig.evaluate(attribute)
    assert "\x1b" not in str(caught.value)
    assert await rig.evaluate("web1"), "the other hosts are not touched by it"


@pytest.mark.asyncio
async def test_what_does_not_build_says_so_in_nix_own_words(rig: Rig) -> None:
    derivation = await rig.evaluate("web3")
    with pytest.raises(SourceError, match="exit code 7") as caught:
        await rig.builder.build(derivation, "r1/web3", timeout_s=30)
    assert str(caught.value).endswith("the end of its log:\nnixos-system-web3-1> no compiler")
    assert "@nix" not in str(caught.value)
    assert not (rig.roots / "r1/web3").is_symlink()


@pytest.mark.asyncio
async def test_a_build_tells_how_far_it_is(rig: Rig) -> None:
    rig.file.write_text(
        """let part = name: inputs: derivation {
          inherit name inputs; system = builtins.currentSystem; builder = "/bin/sh";
          args = [ "-c" "echo part of $name >&2; echo $inputs > $out" ];
        }; in part "whole" [ (part "left" []) (part "right" []) ]"""
    )
    derivation = await rig.builder.evaluate("web1", FileAttribute(str(rig.file), ""), timeout_s=30)
    news: list[BuildNews] = []
    await rig.builder.build(derivation, "r1/web1", timeout_s=30, told=news.append)
    lines = [line for one in news for line in one.lines]
    assert {f"{name}> part of {name}" for name in ("left", "right", "whole")} <= set(lines)
    assert (news[-1].progress.built, news[-1].progress.to_build, news[-1].progress.failed) == (3, 3, 0)
    assert {name for one in news for name in one.progress.running} <= {"left", "right", "whole"}
    assert max(one.progress.running_count for one in news) >= 1


@pytest.mark.asyncio
async def test_what_does_not_need_what_failed_is_built_all_the_same(rig: Rig) -> None:
    rig.file.write_text(
        """let part = name: script: inputs: derivation {
          inherit name inputs; system = builtins.currentSystem; builder = "/bin/sh"; args = [ "-c" script ];
        }; in part "whole" "" [ (part "bad" "exit 3" []) (part "good" "echo > $out" []) (part "wrong" "exit 4" []) ]"""
    )
    derivation = await rig.builder.evaluate("web1", FileAttribute(str(rig.file), ""), timeout_s=30)
    news: list[BuildNews] = []
    with pytest.raises(SourceError) as caught:
        await rig.builder.build(derivation, "r1/web1", timeout_s=30, told=news.append)
    assert all(f"exit code {code}" in str(caught.value) for code in (3, 4)), "every failure is told at once"
    assert news[-1].progress.failed >= 2
    assert any(entry.name.endswith("-good") for entry in rig.nix.real("/nix/store").iterdir())


def builds_of(root: Path) -> int:
    found = 0
    for entry in Path("/proc").iterdir():
        try:
            known = os.fsencode(root) in (entry / "environ").read_bytes() if entry.name.isdigit() else False
            found += known or (entry.name.isdigit() and MARK.encode() in (entry / "cmdline").read_bytes())
        except OSError:
            continue
    return found


@pytest.mark.asyncio
async def test_a_build_out_of_time_is_ended_with_its_builder(rig: Rig) -> None:
    derivation = await rig.evaluate("web4")
    begun = time.monotonic()
    with pytest.raises(SourceError, match="did not end within 1 s"):
        await rig.builder.build(derivation, "r1/web4", timeout_s=1)
    assert time.monotonic() - begun < 10
    assert builds_of(rig.nix.root) == 0


@pytest.mark.asyncio
async def test_a_flake_is_evaluated_and_its_tree_is_not_written(rig: Rig) -> None:
    source = Installable(f"path:{rig.flake}#web1")
    assert (await rig.builder.evaluate("web1", source, timeout_s=30)).endswith("-nixos-system-web1-1.drv")
    assert os.listdir(rig.flake) == ["flake.nix"]
    with pytest.raises(SourceError, match="does not provide attribute"):
        await rig.builder.evaluate("web2", Installable(f"path:{rig.flake}#web2"), timeout_s=30)


@pytest.mark.asyncio
async def test_a_path_is_locked_to_its_contents(rig: Rig) -> None:
    locked = await rig.builder.lock(f"path:{rig.flake}", timeout_s=30, root="r1/_source")
    assert "narHash=sha256-" in locked
    derivation = await rig.builder.evaluate("web1", Installable(f"{locked}#web1"), timeout_s=30)
    (rig.flake / "flake.nix").write_text(FLAKE.replace("web1-1", "web1-2"))
    assert await rig.builder.evaluate("web1", Installable(f"{locked}#web1"), timeout_s=30) == derivation
    # What was locked is in the store only; kept there, a collector between evaluations of one rollout is no harm.
    rig.nix.run("nix-store", "--gc")
    assert await rig.builder.evaluate("web1", Installable(f"{locked}#web1"), timeout_s=30) == derivation
    (rig.roots / "r1/_source").unlink()
    rig.nix.run("nix-store", "--gc")
    with pytest.raises(SourceError, match="does not evaluate"):
        await rig.builder.evaluate("web1", Installable(f"{locked}#web1"), timeout_s=30)


@pytest.mark.asyncio
async def test_a_repository_is_locked_to_its_commit(rig: Rig) -> None:
    rig.git("init", "-q")
    rig.git("add", "flake.nix")
    rig.git("commit", "-q", "-m", "one")
    commit = rig.git("rev-parse", "HEAD")
    locked = await rig.builder.lock(f"git+file://{rig.flake}", timeout_s=30)
    assert f"rev={commit}" in locked
    (rig.flake / "flake.nix").write_text(FLAKE.replace("web1-1", "web1-2"))
    with pytest.raises(SourceError, match="not committed"):
        await rig.builder.lock(f"git+file://{rig.flake}", timeout_s=30)
    rig.git("commit", "-q", "-a", "-m", "two")
    installable = Installable(f"{locked}#web1")
    assert (await rig.builder.evaluate("web1", installable, timeout_s=30)).endswith("web1-1.drv")


@pytest.mark.parametrize("flake", ["nixpkgs", "path:/no/where", "--help", ""])
@pytest.mark.asyncio
async def test_a_flake_that_is_none_is_refused(rig: Rig, flake: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(rig.roots.parent)
    with pytest.raises(SourceError, match=r"(?s)cannot be locked: .*error: "):
        await rig.builder.lock(flake, timeout_s=30)


@pytest.mark.asyncio
async def test_a_missing_nix_and_a_bad_root_name(rig: Rig) -> None:
    nowhere = NixBuilder(rig.roots, {"PATH": "/nonexistent"})
    with pytest.raises(SourceError, match="nix"):
        await nowhere.lock("path:/x", timeout_s=5)
    with pytest.raises(UsageError, match="name of a root"):
        await rig.builder.build("/nix/store/x", "../../etc/x", timeout_s=5)
    rig.roots.write_text("not a directory")
    with pytest.raises(SourceError, match="directory of roots"):
        await rig.builder.build(StorePath("/nix/store/x"), "r1/web1", timeout_s=5)


@pytest.mark.asyncio
async def test_many_at_once(rig: Rig) -> None:
    found = await asyncio.gather(*(rig.evaluate("web1") for _ in range(4)))
    assert len(set(found)) == 1
