"""A host builds its own system: from derivations that were sent, with its own Nix, and no longer than anybody waits."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleetd.errors import PushError, SourceError
from fleetd.model.build import BuildNews
from fleetd.model.fleet import FileAttribute, Host
from fleetd.model.store_path import StorePath
from fleetd.nix.builder import NixBuilder
from fleetd.nix.nar import dump
from fleetd.nix.on_target import TargetBuilder
from fleetd.nix.store import NixStore
from fleetd.push.pusher import ServePusher
from fleetd.push.transfer import PushSettings
from tests.nix.private_store import PrivateStore, temporary_directory
from tests.push.channel import FakeHosts, SaidChannel

HOST = Host("web1", ("10.0.0.1",), builds_itself=True)
ROOT = "r-1-next"
MARK = f"fleetd-test-{os.getpid()}"
"""In the words of an endless builder: Nix leaves it nothing of our environment to be known by."""

SYSTEMS = """
let
  part = name: script: derivation {
    inherit name; system = builtins.currentSystem; builder = "/bin/sh"; args = [ "-c" script ];
    source = builtins.toFile "source" "of ${name}";
  };
  kernel = part "kernel" "echo CC kernel >&2; echo linux > $out";
in {
  good = part "nixos-system-web1-1" "echo ${kernel} > $out";
  bad = part "nixos-system-web1-2" "echo no compiler >&2; exit 7";
  endless = part "nixos-system-web1-3" "while :; do : MARK; done";
  two = derivation {
    name = "two"; system = builtins.currentSystem; builder = "/bin/sh"; outputs = [ "out" "dev" ]; args = [ "-c" "" ];
  };
}
"""


class Rig:
    """A control node and a host, each with a store of its own; what one builds the other does not have."""

    def __init__(self, place: Path) -> None:
        self.control, self.host = PrivateStore(place / "control"), PrivateStore(place / "host")
        self.builder = NixBuilder(place / "roots", self.control.env, self.control.root)
        self.store = NixStore(place / "roots", self.control.env, self.control.root)
        self.hosts = FakeHosts(self.host.env)
        self.roots = self.host.root / "nix/var/nix/gcroots/fleetd"
        settings = PushSettings(root_directory=str(self.roots), last_words_s=3)
        self.pusher = ServePusher(
            self.hosts, self.store, lambda path: dump(str(self.control.real(path))), None, settings
        )
        self.targets = TargetBuilder(self.hosts, str(self.roots))
        self.file = place / "systems.nix"
        self.file.write_text(SYSTEMS.replace("MARK", MARK))
        self.news: list[BuildNews] = []

    async def sent(self, attribute: str) -> tuple[StorePath, StorePath]:
        """Evaluate here and send the derivation; returns it and what it will be."""
        source = FileAttribute(str(self.file), attribute)
        derivation = StorePath(await self.builder.evaluate(attribute, source, timeout_s=30))
        toplevel = await self.builder.output(derivation, timeout_s=30)
        await self.pusher.push(HOST, derivation, root="r-1-drv-next", progress=lambda _sent, _total: None, timeout_s=50)
        return derivation, toplevel

    async def build(self, derivation: StorePath, toplevel: StorePath, timeout_s: float = 50) -> None:
        await self.targets.build(HOST, derivation, toplevel, root=ROOT, timeout_s=timeout_s, told=self.news.append)

    def builders(self) -> int:
        """Processes that work on the host's store, builders included."""
        found = 0
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit():
                    of_store = os.fsencode(self.host.root) in (entry / "environ").read_bytes()
                    found += of_store or MARK.encode() in (entry / "cmdline").read_bytes()
            except OSError:
                continue
        return found

    async def is_quiet(self) -> bool:
        for _ in range(150):
            if not self.builders():
                return True
            await asyncio.sleep(0.1)
        return False


@pytest.fixture
def rig() -> Iterator[Rig]:
    with temporary_directory() as place:
        yield Rig(place)


@pytest.mark.asyncio
async def test_a_derivation_is_sent_with_all_it_needs_and_built_there(rig: Rig) -> None:
    derivation, toplevel = await rig.sent("good")
    assert toplevel.endswith("-nixos-system-web1-1")
    await rig.build(derivation, toplevel)
    assert rig.host.is_valid(toplevel)
    assert not rig.control.is_valid(toplevel), "nothing was built here"
    assert (rig.roots / ROOT).readlink() == Path(toplevel)
    assert "kernel> CC kernel" in [line for one in rig.news for line in one.lines]
    assert rig.news[-1].progress.built == 2
    (rig.roots / "r-1-drv-next").unlink()
    rig.host.run("nix-store", "--gc")
    assert rig.host.is_valid(toplevel)
    # The copy of another rollout, or of its toplevel, finds it there and sends nothing.
    report = await rig.pusher.push(HOST, toplevel, root=ROOT, progress=lambda _sent, _total: None, timeout_s=50)
    assert (report.paths, report.bytes) == (0, 0)
    # Once more is harmless.
    derivation, toplevel = await rig.sent("good")
    await rig.build(derivation, toplevel)


@pytest.mark.asyncio
async def test_a_user_with_roots_at_home_builds_as_well(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    # As one that is not root: roots cannot be made where root has them.
    rig.roots.parent.mkdir(parents=True, exist_ok=True)
    rig.roots.write_text("no directory")
    home = rig.host.root / "home"
    monkeypatch.setenv("XDG_STATE_HOME", str(home))
    derivation, toplevel = await rig.sent("good")
    roots = home / "fleetd/roots"
    assert (roots / "r-1-drv-next").readlink() == Path(derivation)
    assert not rig.host.is_valid(toplevel), "to root a derivation builds nothing"
    rig.host.run("nix-store", "--gc")
    await rig.build(derivation, toplevel)
    assert (roots / ROOT).readlink() == Path(toplevel)


@pytest.mark.asyncio
async def test_what_does_not_build_there_says_so_in_nix_own_words(rig: Rig) -> None:
    derivation, toplevel = await rig.sent("bad")
    with pytest.raises(SourceError, match=r"does not build on web1: error: .*exit code 7") as caught:
        await rig.build(derivation, toplevel)
    assert "nixos-system-web1-2> no compiler" in str(caught.value)
    assert not (rig.roots / ROOT).is_symlink()
    with pytest.raises(SourceError, match="one output that is known before"):
        await rig.sent("two")


@pytest.mark.asyncio
async def test_what_is_built_must_be_what_was_announced(rig: Rig) -> None:
    derivation, _toplevel = await rig.sent("good")
    with pytest.raises(SourceError, match=r"it built .*-nixos-system-web1-1, and not /nix/store/x"):
        await rig.build(derivation, StorePath("/nix/store/x"))


@pytest.mark.asyncio
async def test_a_build_out_of_time_is_ended_there(rig: Rig) -> None:
    derivation, toplevel = await rig.sent("endless")
    with pytest.raises(
        SourceError, match=r"did not end within 3 s; it said last:\n(.*\n)*building nixos-system-web1-3"
    ):
        await rig.build(derivation, toplevel, timeout_s=3)
    assert await rig.is_quiet()


@pytest.mark.asyncio
async def test_a_build_that_nobody_waits_for_is_ended_there(rig: Rig) -> None:
    derivation, toplevel = await rig.sent("endless")
    begun = asyncio.Event()

    def told(news: BuildNews) -> None:
        if news.progress.running:
            begun.set()

    build = rig.targets.build(HOST, derivation, toplevel, root=ROOT, timeout_s=50, told=told)
    waiting = asyncio.create_task(build)
    await asyncio.wait_for(begun.wait(), 40)
    assert rig.builders() > 1
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert await rig.is_quiet()


HARD_OF_HEARING = """#!/bin/sh
first=
trap 'now=$(date +%s); first=${first:-$now}; [ $((now - first)) -lt 2 ] || exit 1' TERM
echo '@nix {"action":"start","id":1,"level":3,"parent":0,"text":"","type":105,"fields":["/nix/store/x.drv","",1,1]}'
while :; do sleep 0.1; done
"""
"""Sleeps on when it is told to end for the first time, or twice at once, as Nix does at an unlucky moment."""


@pytest.mark.parametrize("timeout_s", [50, 3])
@pytest.mark.asyncio
async def test_a_nix_that_misses_the_word_is_told_again(rig: Rig, timeout_s: int) -> None:
    programs = rig.host.root / "bin"
    programs.mkdir()
    (programs / "nix-store").write_text(HARD_OF_HEARING)
    (programs / "nix-store").chmod(0o755)
    rig.hosts = FakeHosts({**rig.host.env, "PATH": f"{programs}:{os.environ['PATH']}"})
    targets, begun = TargetBuilder(rig.hosts, str(rig.roots)), asyncio.Event()
    build = targets.build(
        HOST,
        StorePath("/nix/store/x.drv"),
        StorePath("/nix/store/x"),
        root=ROOT,
        timeout_s=timeout_s,
        told=lambda _news: begun.set(),
    )
    waiting = asyncio.create_task(build)
    await asyncio.wait_for(begun.wait(), 40)
    if timeout_s > 3:
        waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert await rig.is_quiet()


@pytest.mark.parametrize(
    ("said", "status", "code"),
    [
        (b"error: writing to file: No space left on device\n", 1, "disk-full"),
        (b"sh: 9: timeout: not found\n", 127, "no-nix"),
        (b"@nix {}\n", 143, "lost"),
        (b"", None, "lost"),
    ],
)
@pytest.mark.asyncio
async def test_what_is_no_fault_of_the_derivation(rig: Rig, said: bytes, status: int | None, code: str) -> None:
    rig.hosts.instead = [SaidChannel(said, status=status)]
    with pytest.raises(PushError, match="web1") as caught:
        await rig.build(StorePath("/nix/store/x.drv"), StorePath("/nix/store/x"))
    assert caught.value.code == code


@pytest.mark.asyncio
async def test_a_host_that_says_nothing_is_waited_for_no_longer_than_told(rig: Rig) -> None:
    rig.hosts.instead = [SaidChannel(b"", hangs=True)]
    with pytest.raises(SourceError, match=r"did not end within 0\.2 s$"):
        await rig.build(StorePath("/nix/store/x.drv"), StorePath("/nix/store/x"), timeout_s=0.2)
