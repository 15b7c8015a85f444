"""Servers that lie, stop, hang and end: the push says what happened, in bounded time, and lets go of everything."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import pytest

from fleetd.errors import OutcomeUnknown, PushError, SourceError, Unreachable
from fleetd.model.fleet import Host
from fleetd.model.store_path import StorePath
from fleetd.ports import ByteChannel, HostLink, PathInfo, PushReport
from fleetd.push.pusher import ServePusher
from fleetd.push.serve import (
    OUR_VERSION,
    SERVER_MAGIC,
    add_to_store,
    encode_int,
    encode_texts,
    hello,
    query_valid_paths,
)
from fleetd.push.stale import MARK
from fleetd.push.transfer import PushSettings
from fleetd.rollout.roots import WantedRoots
from fleetd.rollout.transitions import RETRIED_COPY_CODES
from tests.push.channel import FakeHosts, SaidChannel

GREETING = encode_int(SERVER_MAGIC) + encode_int(OUR_VERSION)
ACK = encode_int(1)
CONTENT = b"n" * 1000
SETTINGS = PushSettings(stall_s=0.4, last_words_s=1, write_bytes=1000, in_flight_bytes=4000)


def path_info(name: str, content: bytes = CONTENT) -> PathInfo:
    path = StorePath(f"/nix/store/{'a' * 32}-{name}")
    return PathInfo(path, "", hashlib.sha256(content).digest(), (), len(content), (), "")


A, B = path_info("a"), path_info("b")
ALL, TOP, NONE = encode_texts([A.path, B.path]), encode_texts([B.path]), encode_texts([])
ASKED = len(hello() + query_valid_paths([A.path, B.path], lock=True, substitute=False))
SENT = [ASKED + count * len(add_to_store(A) + CONTENT) for count in (1, 2)]
"""Bytes written when one path, and when both, have left."""

BOTH_TAKEN = [(0, GREETING + NONE), (SENT[0], ACK), (SENT[1], ACK)]
HONEST = [*BOTH_TAKEN, (SENT[1] + 1, TOP)]
Said = bytes | list[tuple[int, bytes]]


class FakeStore:
    async def closure(self, toplevel: StorePath) -> tuple[PathInfo, ...]:
        del toplevel
        return (A, B)

    async def check_toplevel(self, toplevel: StorePath, host: Host) -> None:
        raise NotImplementedError(toplevel, host)

    async def keep_only(self, wanted: Callable[[], WantedRoots]) -> None:
        raise NotImplementedError(wanted)


def archive(path: str) -> Iterator[bytes]:
    del path
    yield from (CONTENT[:400], CONTENT[400:])


def pusher(hosts: FakeHosts, settings: PushSettings = SETTINGS) -> ServePusher:
    return ServePusher(hosts, FakeStore(), archive, None, settings)


async def push(
    *channels: ByteChannel, host: str = "web1", substitute: bool = False, timeout_s: float = 10
) -> PushReport:
    hosts = FakeHosts({})
    hosts.instead = list(channels)
    to = Host(host, ("10.0.0.1",), substitute=substitute)
    return await pusher(hosts).push(to, B.path, root="r", progress=lambda *_: None, timeout_s=timeout_s)


def rooted(status: int = 0, stderr: str = "") -> SaidChannel:
    return SaidChannel(b"", status=status, stderr=stderr)


@pytest.mark.asyncio
async def test_an_honest_server() -> None:
    server = SaidChannel(HONEST, hangs=True)
    assert await push(server, rooted()) == PushReport(2, 2000)
    assert server.written.count(CONTENT) == 2
    assert server.closed


@pytest.mark.parametrize(
    ("said", "stderr", "status", "code", "words"),
    [
        (b"", "bash: nix-store: command not found", 127, "no-nix", "PATH"),
        (GREETING[:12], "", 1, "lost", "without a word"),
        (encode_int(SERVER_MAGIC) + encode_int(0x0204), "", 0, "too-old", "2.4"),
        (encode_int(SERVER_MAGIC) + encode_int(0x0901), "", 0, "rejected", "9.1"),
        (GREETING + encode_int(3), "", 0, "rejected", "announces 3 paths"),
        (GREETING + encode_texts(["/nix/store/other"]), "", 0, "rejected", "not asked about"),
        (GREETING + NONE + encode_int(2), "", 0, "rejected", "acknowledge"),
        (GREETING + NONE + ACK, "error: No space left on device", 1, "disk-full", "No space left"),
        (GREETING + NONE + ACK + b"\1\0\0", "error: lacks a signature by a trusted key", 1, "rejected", "signed"),
        (GREETING + NONE, "", None, "lost", "link was lost"),
        (GREETING + NONE + ACK + ACK, "", 0, "rejected", "acknowledge .*-b"),
        ([*BOTH_TAKEN, (SENT[1] + 1, NONE)], "", 0, "lost", "-b is not valid there"),
        (BOTH_TAKEN, "", 1, "lost", "without a word"),
    ],
    ids=lambda value: "" if isinstance(value, (bytes, list)) else str(value)[:30],
)
@pytest.mark.asyncio
async def test_a_server_that_lies_or_ends(said: Said, stderr: str, status: int | None, code: str, words: str) -> None:
    server = SaidChannel(said, stderr=stderr, status=status)
    with pytest.raises(PushError, match=words) as caught:
        await push(server, rooted())
    assert caught.value.code == code
    assert "web1" in str(caught.value)
    assert server.closed


@pytest.mark.parametrize(
    ("room", "words"),
    [
        ("ext2/ext3 4096 0 9999", "2 paths of 2000 bytes .* has 0 bytes free"),
        ("xfs 1 1999 9999", "has 1999 bytes free"),
        ("xfs 1 2000 1", "has 1 inodes free"),
        ("xfs 1 2000 2", ""),
        ("xfs 1 2000 0", ""),
        ("btrfs 1 0 0", ""),
        ("unknown", ""),
        ("xfs 1 -5 x", ""),
    ],
)
@pytest.mark.asyncio
async def test_what_does_not_fit_is_refused_before_a_byte_is_sent(room: str, words: str) -> None:
    server = SaidChannel(HONEST, hangs=True)
    rooting = SaidChannel(f"{room}\n".encode(), status=0)
    if not words:
        assert await push(server, rooting) == PushReport(2, 2000)
        return
    with pytest.raises(PushError, match=words) as caught:
        await push(server, rooting)
    assert (caught.value.code, server.written.count(CONTENT)) == ("disk-full", 0)
    assert server.closed
    assert rooting.closed


@pytest.mark.parametrize(
    "said",
    [b"", GREETING, GREETING + NONE, GREETING + NONE + ACK, BOTH_TAKEN],
    ids=["silent", "greeted", "answered", "took one", "took both"],
)
@pytest.mark.asyncio
async def test_a_server_that_hangs_in_any_phase_is_stalled(said: Said) -> None:
    server = SaidChannel(said, hangs=True)
    begun = time.monotonic()
    with pytest.raises(PushError, match="nix-store --serve") as caught:
        await push(server, rooted(), SaidChannel(b"", status=3))  # no old server is found
    assert caught.value.code == "stalled"
    assert time.monotonic() - begun < 3
    assert server.closed


@pytest.mark.asyncio
async def test_only_substitution_may_be_silent() -> None:
    server = SaidChannel(GREETING, hangs=True)
    with pytest.raises(PushError, match="did not end within 1 s"):
        await push(server, substitute=True, timeout_s=1)
    asked = server.written[16:]
    assert asked[:24] == ACK + ACK + ACK, "valid paths, locked, substituted"


@pytest.mark.asyncio
async def test_a_writer_that_dies_first_still_learns_why() -> None:
    """The broken pipe is seen before the server's words are read."""
    server = SaidChannel(GREETING + NONE, hangs=True, dead_after=1500, stderr="error: No space left on device")
    with pytest.raises(PushError, match="No space left") as caught:
        await push(server)
    assert caught.value.code == "disk-full"


@pytest.mark.parametrize(
    ("root", "code"),
    [
        (rooted(1, "mkdir: cannot create directory: Permission denied"), "rejected"),
        (rooted(1, "ln: No space left on device"), "disk-full"),
        (SaidChannel(b"", status=None), "lost"),
    ],
)
@pytest.mark.asyncio
async def test_a_root_that_cannot_be_made(root: SaidChannel, code: str) -> None:
    server = SaidChannel(GREETING + ALL + TOP, hangs=True)
    with pytest.raises(PushError, match="root") as caught:
        await push(server, root)
    assert caught.value.code == code
    assert server.closed
    assert root.closed


@pytest.mark.asyncio
async def test_the_server_outlives_the_making_of_the_root() -> None:
    """Its temporary roots are all that keeps the closure until then."""
    server = SaidChannel(GREETING + ALL + TOP, hangs=True)
    seen: list[bool] = []

    class Watching(SaidChannel):
        async def wait(self, timeout_s: float) -> int:
            seen.append(server.closed)
            return await super().wait(timeout_s)

    await push(server, Watching(b"", status=0))
    assert seen == [False]


@pytest.mark.asyncio
async def test_no_link_and_no_channel() -> None:
    class NoLink(FakeHosts):
        async def link(self, host: Host, *, timeout_s: float, fresh: bool = False) -> FakeHosts:
            raise Unreachable("no route")

    class NoChannel(FakeHosts):
        async def open(self, argv: object, *, privileged: bool = False) -> ByteChannel:
            raise OutcomeUnknown("cannot open a channel")

    host = Host("web1", ("10.0.0.1",))
    with pytest.raises(Unreachable):
        await pusher(NoLink({})).push(host, B.path, root="r", progress=lambda *_: None, timeout_s=5)
    with pytest.raises(PushError) as caught:
        await pusher(NoChannel({})).push(host, B.path, root="r", progress=lambda *_: None, timeout_s=5)
    assert caught.value.code == "lost"


@pytest.mark.parametrize("opens", [0, 1, 2], ids=["server", "root", "old servers"])
@pytest.mark.asyncio
async def test_a_host_that_starts_no_command_is_not_waited_for(opens: int) -> None:
    class Deaf(FakeHosts):
        async def open(self, argv: Sequence[str], *, privileged: bool = False) -> ByteChannel:
            if len(self.opened) == opens:
                await asyncio.Event().wait()
            return await super().open(argv, privileged=privileged)

    hosts = Deaf({})
    said: Said = HONEST if opens == 1 else GREETING + NONE
    hosts.instead = [SaidChannel(said, hangs=True), rooted()]
    settings = replace(SETTINGS, link_timeout_s=0.4, root_timeout_s=0.4)
    host = Host("web1", ("10.0.0.1",))
    with pytest.raises(PushError) as caught:
        await pusher(hosts, settings).push(host, B.path, root="r", progress=lambda *_: None, timeout_s=30)
    assert "the copy did not end" not in str(caught.value)
    assert caught.value.code == ("stalled" if opens == 2 else "lost")


@pytest.mark.asyncio
async def test_a_second_try_that_is_cut_is_cleared_away_by_the_next_copy() -> None:
    """It left a server as well as a first try would."""
    hosts = FakeHosts({})
    old_servers_ended, cut = SaidChannel(b"", status=0), SaidChannel(GREETING + NONE, status=None)
    hosts.instead = [SaidChannel(GREETING, hangs=True), rooted(), old_servers_ended, cut, rooted()]
    pushing = pusher(hosts)

    async def push_again() -> PushReport:
        return await pushing.push(Host("web1", ("10.0.0.1",)), B.path, root="r", progress=lambda *_: None, timeout_s=10)

    with pytest.raises(PushError) as caught:
        await push_again()
    assert caught.value.code == "lost"
    hosts.opened.clear()
    hosts.instead = [SaidChannel(b"", status=0), SaidChannel(HONEST, hangs=True), rooted()]
    assert await push_again() == PushReport(2, 2000)
    assert hosts.opened[0][0][-1] == MARK, "old servers first"


@pytest.mark.asyncio
async def test_a_control_node_in_trouble_is_no_fault_of_the_host() -> None:
    class NoNix(FakeStore):
        async def closure(self, toplevel: StorePath) -> tuple[PathInfo, ...]:
            raise SourceError(f"{toplevel}: its metadata cannot be read: Connection refused")

    hosts = FakeHosts({})
    pushing = ServePusher(hosts, NoNix(), archive, None, SETTINGS)
    with pytest.raises(PushError, match="Connection refused") as caught:
        await pushing.push(Host("web1", ("10.0.0.1",)), B.path, root="r", progress=lambda *_: None, timeout_s=5)
    assert caught.value.code in RETRIED_COPY_CODES
    assert hosts.opened == []


@pytest.mark.asyncio
async def test_a_cancelled_push_lets_go() -> None:
    server = SaidChannel(GREETING + NONE, hangs=True)
    before = asyncio.all_tasks()
    task = asyncio.create_task(push(server))
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert server.closed
    assert asyncio.all_tasks() == before


@pytest.mark.asyncio
async def test_a_second_push_to_a_host_waits_for_the_first() -> None:
    """Two servers on one host would wait for each other's path locks; another host is not held up."""
    hosts = FakeHosts({})
    hosts.instead = [SaidChannel(GREETING, hangs=True) for _ in range(3)]
    shared = pusher(hosts, PushSettings(stall_s=60))

    async def one(name: str) -> None:
        host = Host(name, ("10.0.0.1",))
        with pytest.raises(PushError, match="did not end"):
            await shared.push(host, B.path, root="r", progress=lambda *_: None, timeout_s=0.4)

    tasks = [asyncio.create_task(one(name)) for name in ("web1", "web1", "web2")]
    await asyncio.sleep(0.2)
    opened = len(hosts.opened)
    await asyncio.gather(*tasks)
    assert opened == 4, "a server and a root for one of each"


class Slow(SaidChannel):
    """Takes nothing until it is let; counts what waits."""

    def __init__(self, said: Said, go: asyncio.Event, waiting: Callable[[int], None]) -> None:
        super().__init__(said, hangs=True)
        self._go = go
        self._waiting = waiting
        self._last = 0

    def write(self, data: bytes) -> None:
        super().write(data)
        self._last = len(data)

    async def drain(self) -> None:
        if len(self.written) > 400:  # past the question
            self._waiting(self._last)
            await self._go.wait()
            self._waiting(-self._last)


@pytest.mark.asyncio
async def test_bytes_in_flight_are_bounded_over_all_hosts() -> None:
    go, held, most = asyncio.Event(), 0, 0

    def waiting(change: int) -> None:
        nonlocal held, most
        held += change
        most = max(most, held)

    servers = {f"web{n}": Slow(HONEST, go, waiting) for n in range(12)}

    class Hosts(FakeHosts):
        async def link(self, host: Host, *, timeout_s: float, fresh: bool = False) -> FakeHosts:
            own = FakeHosts({})
            own.instead = [servers[host.name], rooted()]
            return own

    settings = PushSettings(stall_s=5, write_bytes=1000, in_flight_bytes=6000)
    shared = pusher(Hosts({}), settings)

    async def one(name: str) -> None:
        host = Host(name, ("10.0.0.1",))
        await shared.push(host, B.path, root="r", progress=lambda *_: None, timeout_s=20)

    async with asyncio.TaskGroup() as group:
        for name in servers:
            group.create_task(one(name))
        await asyncio.sleep(0.2)
        assert 0 < held <= 6000
        go.set()
    assert most <= 6000
    assert all(server.closed for server in servers.values())


def test_a_link_is_what_the_port_says() -> None:
    link: HostLink = FakeHosts({})
    assert link is not None
