"""A push to Nix's own server: what arrives is what Nix would have copied, and a push that was cut goes on."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from fleetd.errors import OutcomeUnknown, PushError, ToplevelError, UsageError
from fleetd.model.fleet import Host
from fleetd.model.store_path import StorePath
from fleetd.nix.cache import BinaryCache
from fleetd.nix.nar import dump
from fleetd.nix.store import NixStore
from fleetd.ports import ByteChannel, PathInfo, PushReport
from fleetd.process import nix
from fleetd.push.archives import SharedArchives
from fleetd.push.pusher import ServePusher
from fleetd.push.serve import add_to_store, hello
from fleetd.push.stripes import STRIPES
from fleetd.push.transfer import PushSettings
from tests.nix.private_store import TOLD, Collector, PrivateStore, temporary_directory, text_file
from tests.push.channel import FakeHosts, SubprocessChannel

HOST = Host("web1", ("10.0.0.1",))
ROOT = "r1-next"


class Rig:
    """A control node and a host, each with a store of its own."""

    def __init__(self, place: Path) -> None:
        self.control = PrivateStore(place / "control")
        self.host = PrivateStore(place / "host")
        self.store = NixStore(place / "roots", self.control.env, self.control.root)
        self.hosts = FakeHosts(self.host.env)
        self.roots = self.host.root / "nix/var/nix/gcroots/fleetd"
        self.settings = PushSettings(root_directory=str(self.roots), last_words_s=3)
        self.progress: list[tuple[int, int]] = []
        self.pusher = ServePusher(self.hosts, self.store, self.archive, None, self.settings)

    def archive(self, path: str) -> Iterator[bytes]:
        return dump(str(self.control.real(path)))

    async def push(self, toplevel: StorePath, root: str = ROOT) -> PushReport:
        self.progress.clear()
        return await self.pusher.push(
            HOST, toplevel, root=root, progress=lambda *seen: self.progress.append(seen), timeout_s=50
        )


@pytest.fixture
def rig() -> Iterator[Rig]:
    with temporary_directory() as place:
        yield Rig(place)


def odd_tree(path: Path) -> None:
    (path / "deep" / "/".join("d" * 20)).mkdir(parents=True)
    (path / "deep" / "/".join("d" * 20) / "end").write_text("here")
    (path / "empty directory").mkdir()
    (path / "empty file").touch()
    for name in (b"caf\xe9", b"a\nb", b" ", b"...", b"-n", "ünï".encode(), b"'\"$(x)", b"z" * 255):
        (path / name.decode(errors="surrogateescape")).write_bytes(name)
    (path / "run").write_text("#!/bin/sh\n")
    (path / "run").chmod(0o755)
    (path / "to nowhere").symlink_to("../../no where")
    (path / "absolute").symlink_to("/nix/store")
    (path / "sized").write_bytes(b"x" * 300_000)


def closure(store: PrivateStore, name: str = "nixos-system-web1-1") -> StorePath:
    """Five paths; references in two levels, one of a path to itself, and small paths beside one of many chunks."""
    leaf = store.register("leaf", text_file("leaf"))
    odd = store.register("odd-1.0+x_y?=", odd_tree, deriver=store.path("odd.drv"))
    middle = store.register("middle", text_file(f"{leaf} {odd}"), [leaf, odd])
    itself = store.register("itself", text_file(store.path("itself")), [store.path("itself")])

    def toplevel(path: Path) -> None:
        path.mkdir()
        (path / "parts").write_text(f"{middle} {itself} {leaf}")

    return store.register(name, toplevel, [itself, leaf, middle])


@pytest.mark.asyncio
async def test_what_arrives_equals_what_was_sent(rig: Rig) -> None:
    """All that Nix records of a path arrives, also who made it, who signed it and how it is addressed."""
    source = rig.control.add("source", "addressed by its content")
    inner = closure(rig.control)
    toplevel = rig.control.register("outer", text_file(f"{inner} {source}"), sorted([inner, source]))
    rig.control.sign(toplevel)
    report = await rig.push(toplevel)
    paths = [info.path for info in await rig.store.closure(toplevel)]
    assert report.paths == len(paths) == 7
    rig.host.verify(*paths)
    here = rig.control.info(toplevel)
    assert rig.host.info(toplevel) == here
    told = {word for entry in here.values() for word in entry}
    assert told == TOLD, "something is not compared, since no path has it"
    assert rig.progress[0] == (0, report.bytes)
    assert rig.progress[-1] == (report.bytes, report.bytes)


@pytest.mark.asyncio
async def test_the_root_keeps_the_closure_alive(rig: Rig) -> None:
    toplevel = closure(rig.control)
    await rig.push(toplevel)
    assert (rig.roots / ROOT).readlink() == Path(toplevel)
    rig.host.run("nix-store", "--gc")
    assert rig.host.is_valid(toplevel)
    (rig.roots / ROOT).unlink()
    rig.host.run("nix-store", "--gc")
    assert not rig.host.is_valid(toplevel)


@pytest.mark.asyncio
async def test_a_collector_during_the_push_takes_nothing(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was on the host already has no root of its own; only the question's lock keeps it."""
    toplevel = closure(rig.control)
    await rig.push(toplevel)
    (rig.roots / ROOT).unlink()
    collected: list[str] = []

    plain = SubprocessChannel.write

    def collecting(channel: SubprocessChannel, data: bytes) -> None:
        if data == b"go\n":
            rig.host.run("nix-store", "--gc")
            collected.append("once")
        plain(channel, data)

    monkeypatch.setattr(SubprocessChannel, "write", collecting)
    report = await rig.push(toplevel)
    assert collected == ["once"]
    assert report.paths == 0
    assert rig.host.is_valid(toplevel)


@pytest.mark.asyncio
async def test_a_collector_that_has_just_read_the_roots_takes_nothing(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has not seen the root that is made now; by the time it looks at what servers hold, a copy would be over."""
    toplevel = closure(rig.control)
    collector = Collector(rig.host)
    plain = SubprocessChannel.write

    def collecting(channel: SubprocessChannel, data: bytes) -> None:
        if data == b"go\n":
            collector.begin()
            asyncio.get_running_loop().call_later(1, collector.go_on)
        plain(channel, data)

    monkeypatch.setattr(SubprocessChannel, "write", collecting)
    await rig.push(toplevel)
    await asyncio.to_thread(collector.end)
    assert rig.host.is_valid(toplevel)


@pytest.mark.asyncio
async def test_a_second_push_sends_nothing_and_moves_the_root(rig: Rig) -> None:
    first, second = closure(rig.control), closure(rig.control, "nixos-system-web1-2")
    await rig.push(first)
    assert (await rig.push(second)).paths == 1
    assert await rig.push(second) == PushReport(0, 0)
    assert (rig.roots / ROOT).readlink() == Path(second)


@pytest.mark.asyncio
async def test_roots_of_ended_rollouts_are_removed_and_no_others(rig: Rig) -> None:
    first, second = closure(rig.control), closure(rig.control, "nixos-system-web1-2")
    await rig.push(first, "r-1-next")
    await rig.push(first, "r-2-next")
    for name in ("old", "new", "helper"):
        (rig.roots / name).symlink_to(first)
    rig.pusher = ServePusher(
        rig.hosts, rig.store, rig.archive, None, rig.settings, live_roots=lambda: ["r-2-next", "r-3-next"]
    )
    await rig.push(second, "r-3-next")
    assert sorted(link.name for link in rig.roots.iterdir()) == ["helper", "new", "old", "r-2-next", "r-3-next"]
    rig.pusher = ServePusher(rig.hosts, rig.store, rig.archive, None, rig.settings, live_roots=list)
    await rig.push(second, "r-4-next")
    assert sorted(link.name for link in rig.roots.iterdir()) == ["helper", "new", "old", "r-4-next"]


@pytest.mark.asyncio
async def test_what_only_the_host_has_is_rooted_there(rig: Rig) -> None:
    """The system from before fleetd came was never on the control node."""
    toplevel = closure(rig.host)
    assert await rig.push(toplevel) == PushReport(0, 0)
    rig.host.run("nix-store", "--gc")
    assert rig.host.is_valid(toplevel)
    nowhere = rig.host.path("nixos-system-web1-9")
    with pytest.raises(ToplevelError, match="is not in the store"):
        await rig.push(nowhere)
    assert (rig.roots / ROOT).readlink() == Path(toplevel)


@pytest.mark.asyncio
async def test_a_far_host_gets_the_same_over_several_channels(rig: Rig) -> None:
    rig.hosts.round_trip = 0.05
    rig.settings = replace(rig.settings, striped_bytes=0)
    rig.pusher = ServePusher(rig.hosts, rig.store, rig.archive, None, rig.settings)
    toplevel = closure(rig.control)
    assert (await rig.push(toplevel)).paths == 5
    assert sum(argv[0] == "sh" and "cat >" in argv[2] for argv, _privileged in rig.hosts.opened) == STRIPES
    rig.host.verify(*(info.path for info in await rig.store.closure(toplevel)))
    assert rig.host.info(toplevel) == rig.control.info(toplevel)
    assert await rig.push(toplevel) == PushReport(0, 0)


@pytest.mark.asyncio
async def test_a_host_behind_a_proxy_is_asked_how_far_it_is(rig: Rig) -> None:
    rig.hosts.round_trip = None
    rig.settings = replace(rig.settings, striped_bytes=0, far_s=0.0)
    rig.pusher = ServePusher(rig.hosts, rig.store, rig.archive, None, rig.settings)
    assert (await rig.push(closure(rig.control))).paths == 5
    assert len(rig.hosts.opened) == 2 + 1 + STRIPES
    rig.settings = replace(rig.settings, far_s=60.0)
    rig.pusher = ServePusher(rig.hosts, rig.store, rig.archive, None, rig.settings)
    rig.hosts.opened.clear()
    assert (await rig.push(closure(rig.control, "nixos-system-web1-2"))).paths == 1
    assert len(rig.hosts.opened) == 2


@pytest.mark.asyncio
async def test_a_far_host_that_refuses_says_why(rig: Rig) -> None:
    rig.hosts.round_trip = 0.05
    rig.settings = replace(rig.settings, striped_bytes=0)
    rig.pusher = ServePusher(rig.hosts, rig.store, rig.archive, None, rig.settings)
    plain = rig.hosts.open

    async def full(argv: list[str], *, privileged: bool = False) -> ByteChannel:
        if "mkdir" in argv[2] and argv[2].startswith("set -u;"):
            argv = [*argv[:6], "sh", "-c", "echo No space left on device >&2; exit 1"]
        return await plain(argv, privileged=privileged)

    rig.hosts.open = full  # type: ignore[method-assign,assignment]  # one method of a fake
    with pytest.raises(PushError, match="its disk is full") as caught:
        await rig.push(closure(rig.control))
    assert caught.value.code == "disk-full"


@pytest.mark.asyncio
async def test_a_file_of_300_mb(rig: Rig) -> None:
    def large(path: Path) -> None:
        with path.open("wb") as file:
            file.truncate(300_000_000)

    path = rig.control.register("large", large)
    report = await rig.push(path)
    assert report.bytes > 300_000_000
    rig.host.verify(path)
    assert rig.host.info(path) == rig.control.info(path)
    assert rig.progress[-1] == (report.bytes, report.bytes)


@pytest.mark.asyncio
async def test_a_push_that_was_cut_anywhere_goes_on(rig: Rig) -> None:
    toplevel = closure(rig.control)
    whole = sum(info.nar_size for info in await rig.store.closure(toplevel))
    seen: list[int] = []
    for cut in (4, 16, 300, 900, 2_000, whole // 2, whole - 400, whole):
        rig.hosts.cut_after_bytes = cut
        with pytest.raises(PushError) as caught:
            await rig.push(toplevel)
        assert caught.value.code == "lost", caught.value
        assert not rig.host.is_valid(toplevel)
        seen.append(sum(rig.host.is_valid(info.path) for info in await rig.store.closure(toplevel)))
    assert seen == sorted(seen)
    assert seen[-1] > 0, "what arrived before a cut stays"
    rig.hosts.cut_after_bytes = None
    report = await rig.push(toplevel)
    assert report.paths == 5 - seen[-1]
    rig.host.verify(toplevel)
    assert rig.host.info(toplevel) == rig.control.info(toplevel)


@pytest.mark.parametrize("damage", ["flipped", "shorter", "longer", "gone"])
@pytest.mark.asyncio
async def test_what_is_corrupt_here_never_becomes_valid_there(rig: Rig, damage: str) -> None:
    leaf = rig.control.register("leaf", text_file("sound"))
    bad = rig.control.register("bad", text_file("x" * 400_000), [leaf])
    top = rig.control.register("top", text_file("top"), [bad])
    file = rig.control.real(bad)
    match damage:
        case "flipped":
            file.write_text("x" * 399_999 + "y")
        case "shorter":
            file.write_text("x" * 1000)
        case "longer":
            file.write_text("x" * 900_000)
        case "gone":
            file.unlink()
    with pytest.raises(PushError, match=bad) as caught:
        await rig.push(top)
    assert caught.value.code == "hash-mismatch"
    assert not rig.host.is_valid(bad)
    assert not (rig.roots / ROOT).is_symlink()
    channel = rig.hosts.channels[0]
    assert isinstance(channel, SubprocessChannel)
    assert channel.written_bytes < 600_000


@pytest.mark.asyncio
async def test_a_server_that_is_told_to_end_was_lost_and_refused_nothing(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host that reboots does that to it, and the copy is worth another try."""

    def large(path: Path) -> None:
        path.write_bytes(os.urandom(20_000_000))

    toplevel = rig.control.register("large", large)
    ended: list[SubprocessChannel] = []
    plain = SubprocessChannel.write

    def ending(channel: SubprocessChannel, data: bytes) -> None:
        plain(channel, data)
        if channel.written_bytes > 5_000_000 and not ended:
            ended.append(channel)
            channel.terminate()

    monkeypatch.setattr(SubprocessChannel, "write", ending)
    with pytest.raises(PushError) as refused:
        await rig.push(toplevel)
    assert refused.value.code == "lost", refused.value
    assert (await rig.push(toplevel)).paths == 1


@pytest.mark.asyncio
async def test_a_wrong_reference_is_told_by_nix(rig: Rig) -> None:
    """A server that finds a reference invalid ends; its words are in the error, and asking again is worth it."""
    toplevel = closure(rig.control)
    infos = await rig.store.closure(toplevel)
    rig.store._closures[toplevel] = infos[1:]
    with pytest.raises(PushError, match="is not valid") as caught:
        await rig.push(toplevel)
    assert caught.value.code == "lost"


@pytest.mark.asyncio
async def test_small_paths_are_gathered_and_not_waited_for(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write for each, or a round trip for each, is what makes a copy of thousands of small paths slow."""
    parts = [rig.control.register(f"part{number}", text_file("x" * 500)) for number in range(40)]
    toplevel = rig.control.register("whole", text_file("whole"), parts)
    writes: list[int] = []
    plain_write = SubprocessChannel.write

    def counted(channel: SubprocessChannel, data: bytes) -> None:
        writes.append(len(data))
        plain_write(channel, data)

    monkeypatch.setattr(SubprocessChannel, "write", counted)
    report = await rig.push(toplevel)
    assert report.paths == 41
    assert len(writes) == 4, "the question, all paths, the word to make the root, the question again"
    rig.host.verify(toplevel)


@pytest.mark.parametrize("root", ["", "../x", "a/b", ".hidden", "a b", "-f", "x\n"])
@pytest.mark.asyncio
async def test_a_root_has_a_plain_name(rig: Rig, root: str) -> None:
    with pytest.raises(UsageError, match="name of a root"):
        await rig.push(StorePath("/nix/store/x"), root)
    assert rig.hosts.opened == []


@pytest.mark.asyncio
async def test_a_push_needs_no_privileges(rig: Rig) -> None:
    await rig.push(closure(rig.control))
    server, root = rig.hosts.opened
    assert server == (("env", "FLEETD_PUSH=1", "nix-store", "--serve", "--write"), False)
    assert root[0][:2] == ("sh", "-c")
    assert not root[1], "a deploy user that may run nothing but the helper as root keeps its roots in its home"


@pytest.mark.asyncio
async def test_one_push_at_a_time_to_a_host(rig: Rig) -> None:
    toplevel = closure(rig.control)
    reports = await asyncio.gather(*(rig.push(toplevel) for _ in range(3)))
    assert sorted(report.paths for report in reports) == [0, 0, 5]


async def holding(rig: Rig, path: StorePath, argv: list[str]) -> SubprocessChannel:
    """A server that has half of a path: that of a link that died without a word still waits for the rest."""
    stale = await SubprocessChannel.start(argv, rig.host.env)
    info = (await rig.store.closure(path))[0]
    stale.write(hello() + add_to_store(info) + next(rig.archive(path)))
    await stale.drain()
    await asyncio.sleep(0.5)
    return stale


@pytest.mark.asyncio
async def test_an_old_server_of_somebody_else_is_found_and_left_alone(rig: Rig) -> None:
    path = rig.control.register("held", text_file("x" * 500_000))
    rig.pusher = ServePusher(rig.hosts, rig.store, rig.archive, None, replace(rig.settings, stall_s=1.5))
    stale = await holding(rig, path, ["nix-store", "--serve", "--write"])
    try:
        with pytest.raises(PushError, match="nix-store --serve") as caught:
            await rig.push(path)
        assert caught.value.code == "stalled"
        with pytest.raises(OutcomeUnknown):
            await stale.wait(0.2)  # it lives
    finally:
        await stale.close()
    assert (await rig.push(path)).paths == 1


@pytest.mark.asyncio
async def test_an_old_server_of_ours_is_ended(rig: Rig) -> None:
    path = rig.control.register("held", text_file("x" * 500_000))
    rig.pusher = ServePusher(rig.hosts, rig.store, rig.archive, None, replace(rig.settings, stall_s=1.5))
    ours = ["env", f"FLEETD_PUSH=test-{os.getpid()}", "nix-store", "--serve", "--write"]
    stale = await holding(rig, path, ours)
    assert (await rig.push(path)).paths == 1
    await stale.wait(1)
    await stale.close()
    rig.host.verify(path)


@pytest.mark.asyncio
async def test_after_a_cut_the_old_server_is_ended_first(rig: Rig) -> None:
    """Without waiting until nothing moves: that it may be there is known."""
    path = rig.control.register("held", text_file("x" * 500_000))
    rig.hosts.cut_after_bytes = 400
    with pytest.raises(PushError):
        await rig.push(path)
    rig.hosts.cut_after_bytes = None
    stale = await holding(rig, path, ["env", f"FLEETD_PUSH=test-{os.getpid()}", "nix-store", "--serve", "--write"])
    rig.hosts.opened.clear()
    assert (await rig.push(path)).paths == 1
    assert "grep -lzx" in rig.hosts.opened[0][0][2]
    await stale.close()
    rig.hosts.opened.clear()
    assert (await rig.push(path)).paths == 0
    assert rig.hosts.opened[0][0][0] == "env", "once"


def compressible(rig: Rig) -> StorePath:
    text = rig.control.register("text", text_file("all work and no play " * 20_000))
    return rig.control.register("nixos-system-web1-9", text_file(text), [text])


@pytest.mark.parametrize("round_trip", [0.0, 0.05])
@pytest.mark.asyncio
async def test_a_compressed_copy_is_the_same_and_smaller(rig: Rig, round_trip: float) -> None:
    rig.hosts.round_trip = round_trip
    toplevel = compressible(rig)
    host = replace(HOST, compress=True)
    report = await rig.pusher.push(host, toplevel, root=ROOT, progress=lambda *_: None, timeout_s=50)
    assert report.paths == 2
    sent = sum(channel.written_bytes for channel in rig.hosts.channels if isinstance(channel, SubprocessChannel))
    assert sent < report.bytes / 20
    rig.host.verify(*(info.path for info in await rig.store.closure(toplevel)))
    assert rig.host.info(toplevel) == rig.control.info(toplevel)


@pytest.mark.asyncio
async def test_a_host_without_zstd_says_so(rig: Rig, tmp_path: Path) -> None:
    for name in ("nix-store", "sh", "env", "mkdir", "ln", "sync", "grep"):
        (tmp_path / name).symlink_to(shutil.which(name) or "")
    rig.hosts = FakeHosts({**rig.host.env, "PATH": str(tmp_path)})
    rig.pusher = ServePusher(rig.hosts, rig.store, rig.archive, None, rig.settings)
    with pytest.raises(PushError, match="there is no zstd on its PATH"):
        await rig.pusher.push(
            replace(HOST, compress=True), compressible(rig), root=ROOT, progress=lambda *_: None, timeout_s=50
        )


@pytest.mark.asyncio
async def test_a_host_without_nix_says_so(rig: Rig, tmp_path: Path) -> None:
    for name in ("sh", "env", "mkdir", "ln", "sync"):
        (tmp_path / name).symlink_to(shutil.which(name) or "")
    rig.hosts = FakeHosts({**rig.host.env, "PATH": str(tmp_path)})
    rig.pusher = ServePusher(rig.hosts, rig.store, rig.archive, None, rig.settings)
    with pytest.raises(PushError, match="there is no nix-store on its PATH") as caught:
        await rig.push(closure(rig.control))
    assert caught.value.code == "no-nix"


@pytest.mark.asyncio
async def test_a_path_that_vanishes_between_question_and_copy(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody forces it away, temporary roots or not: what refers to it is refused, and the next copy sends it."""
    leaf = rig.control.register("leaf", text_file("leaf"))
    toplevel = rig.control.register("nixos-system-web1-9", text_file(leaf), [leaf])
    await rig.push(leaf)
    plain = SharedArchives.head
    gone: list[str] = []

    def forgetting(archives: SharedArchives, info: PathInfo) -> bytes:
        if not gone:
            gone.append(leaf)
            with sqlite3.connect(rig.host.root / "nix/var/nix/db/db.sqlite") as database:
                database.execute("delete from ValidPaths where path = ?", [leaf])
            database.close()
        return plain(archives, info)

    monkeypatch.setattr(SharedArchives, "head", forgetting)
    with pytest.raises(PushError, match="a path vanished there") as caught:
        await rig.push(toplevel)
    assert caught.value.code == "lost"
    assert (await rig.push(toplevel)).paths == 2
    rig.host.verify(leaf, toplevel)


@pytest.mark.parametrize("tenth", range(1, 10))
@pytest.mark.asyncio
async def test_a_push_cut_at_every_tenth_goes_on(rig: Rig, tenth: int) -> None:
    parts = [rig.control.register(f"part{n}", text_file(f"{n} " * 30_000)) for n in range(4)]
    toplevel = rig.control.register("nixos-system-web1-9", text_file("top"), sorted(parts))
    paths = [info.path for info in await rig.store.closure(toplevel)]
    rig.hosts.cut_after_bytes = sum(info.nar_size for info in await rig.store.closure(toplevel)) * tenth // 10
    with pytest.raises(PushError) as caught:
        await rig.push(toplevel)
    assert caught.value.code == "lost", caught.value
    arrived = sum(rig.host.is_valid(path) for path in paths)
    rig.hosts.cut_after_bytes = None
    report = await rig.push(toplevel)
    assert report.paths == len(paths) - arrived, "what arrived is not sent again"
    rig.host.verify(*paths)
    assert rig.host.info(toplevel) == rig.control.info(toplevel)


@pytest.mark.asyncio
async def test_a_host_fetches_from_the_cache_that_was_filled_once(rig: Rig, tmp_path: Path) -> None:
    cache = f"file://{tmp_path}/cache"
    published: list[StorePath] = []
    binary_cache = BinaryCache(cache, rig.control.env)

    async def publish(toplevel: StorePath) -> None:
        published.append(toplevel)
        await binary_cache.publish(toplevel)

    config = f"{rig.host.env['NIX_CONFIG']}\nsubstituters = {cache}\nrequire-sigs = false\n"
    rig.hosts = FakeHosts({**rig.host.env, "NIX_CONFIG": config})
    rig.pusher = ServePusher(rig.hosts, rig.store, rig.archive, None, rig.settings, publish=publish)
    toplevel = closure(rig.control)

    async def push(host: Host) -> PushReport:
        return await rig.pusher.push(host, toplevel, root=ROOT, progress=lambda *_: None, timeout_s=50)

    assert await push(replace(HOST, substitute=True)) == PushReport(0, 0)
    rig.host.verify(*(info.path for info in await rig.store.closure(toplevel)))
    await push(HOST)
    assert published == [toplevel], "not for hosts that do not substitute"


@pytest.mark.asyncio
async def test_a_cache_that_fails_costs_its_advantage_only(rig: Rig) -> None:
    cache = BinaryCache("file:///proc/no/such/cache", rig.control.env)
    rig.pusher = ServePusher(rig.hosts, rig.store, rig.archive, None, rig.settings, publish=cache.publish)
    toplevel = closure(rig.control)
    with capture_logs() as logs:
        host = replace(HOST, substitute=True)
        report = await rig.pusher.push(host, toplevel, root=ROOT, progress=lambda *_: None, timeout_s=50)
    assert report.paths == 5
    assert "cannot be copied to the binary cache file:///proc/no/such/cache" in logs[0]["error"]


@pytest.mark.asyncio
async def test_a_cache_that_failed_is_not_asked_for_every_host(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each host has a closure of its own, and each waits for the one before: minutes each are hours for all."""
    cache = BinaryCache("file:///proc/no/such/cache", rig.control.env)
    asked: list[str] = []

    async def counted(argv: list[str], *words: Any, **named: Any) -> bytes:
        asked.append(argv[-1])
        return await nix(argv, *words, **named)

    monkeypatch.setattr("fleetd.nix.cache.nix", counted)
    toplevels = [closure(rig.control, f"nixos-system-web{number}-1") for number in range(3)]
    said = await asyncio.gather(*map(cache.publish, toplevels), return_exceptions=True)
    assert [type(error) for error in said] == [PushError] * 3
    assert asked == toplevels[:1]
    assert "is left alone" in str(said[1])
    monkeypatch.setattr("fleetd.nix.cache.REST_S", -1.0)
    cache = BinaryCache("file:///proc/no/such/cache", rig.control.env)
    await asyncio.gather(*map(cache.publish, toplevels), return_exceptions=True)
    assert asked == [toplevels[0], *toplevels], "after its rest it is asked again"
