"""The listener: slow and greedy clients harm only themselves, and a socket belongs to whom it must."""

from __future__ import annotations

import asyncio
import json
import socket
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from fleetd.api import listener as listening
from fleetd.api.app import Api
from fleetd.api.listener import Listener
from fleetd.api.tokens import Tokens
from fleetd.controller.commands import Document
from fleetd.errors import ConfigError
from tests.fakes.control import FakeBlobs, FakeControl, FakeHistory

HEALTH = b"GET /v1/health HTTP/1.1\r\nHost: x\r\n\r\n"
ENOUGH_S = 20
"""How long a test waits for what must come; what it waits for is far sooner."""

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def opened(directory: Path, *places: str) -> AsyncIterator[Listener]:
    listener = Listener(Api(FakeControl(), FakeHistory(), Tokens(directory), {}, FakeBlobs()).application())
    await listener.open(places)
    try:
        yield listener
    finally:
        await listener.close()


async def health(stream: Stream) -> bytes:
    """Ask over an open connection and return the status line."""
    reader, writer = stream
    writer.write(HEALTH)
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), ENOUGH_S)
    length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-l"))
    await asyncio.wait_for(reader.readexactly(length), ENOUGH_S)
    return head.split(b"\r\n")[0]


async def drip(stream: Stream) -> None:
    """Send a head that never ends, a byte at a time, until the other side has enough of it."""
    reader, writer = stream
    gone = asyncio.ensure_future(reader.read())
    while not gone.done():
        writer.write(b"X")
        await asyncio.wait({gone}, timeout=0.05)
    writer.close()


@pytest.mark.asyncio
@pytest.mark.parametrize("requests_before", [0, 1])
async def test_a_head_that_drips_or_never_comes_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, requests_before: int
) -> None:
    monkeypatch.setattr(listening, "HEAD_TIMEOUT_S", 0.5)
    async with opened(tmp_path, "127.0.0.1:0") as listener:
        for start in (b"GET /v1/health HTTP/1.1\r\nX: ", b""):
            stream = await asyncio.open_connection("127.0.0.1", listener.ports[0])
            for _ in range(requests_before):
                assert b" 200 " in await health(stream)
            stream[1].write(start)
            if start:
                await asyncio.wait_for(drip(stream), ENOUGH_S)
            else:
                assert await asyncio.wait_for(stream[0].read(), ENOUGH_S) == b""
                stream[1].close()


@pytest.mark.asyncio
async def test_one_connection_too_many_is_told_and_the_socket_has_room_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening, "CONNECTIONS_LIMIT", 3)
    async with opened(tmp_path, "127.0.0.1:0", f"unix:{tmp_path}/s") as listener:
        port = listener.ports[0]
        taken = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        for stream in taken:
            assert b" 200 " in await health(stream)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        answer = await asyncio.wait_for(reader.read(), ENOUGH_S)
        writer.close()
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 503 ")
        assert json.loads(body)["kind"] == "overloaded"
        local = await asyncio.open_unix_connection(str(tmp_path / "s"))
        assert b" 200 " in await health(local)
        taken.pop()[1].close()
        for _ in range(200):
            stream = await asyncio.open_connection("127.0.0.1", port)
            if b" 200 " in await health(stream):
                taken.append(stream)
                break
            stream[1].close()
            await asyncio.sleep(0.05)
        else:
            raise AssertionError("a place that was given up is never free again")
        for _reader, open_writer in (*taken, local):
            open_writer.close()


def leave_a_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))


@pytest.mark.asyncio
async def test_the_socket_of_a_crash_is_replaced_and_shared_with_the_group_alone(tmp_path: Path) -> None:
    path = tmp_path / "run" / "s"
    path.parent.mkdir()
    leave_a_socket(path)
    async with opened(tmp_path, f"unix:{path}"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        stream = await asyncio.open_unix_connection(str(path))
        assert b" 200 " in await health(stream)
        stream[1].close()


def make_file(path: Path) -> None:
    path.write_text("precious")


def make_parent_a_file(path: Path) -> None:
    path.parent.rmdir()
    path.parent.write_text("")


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("spoil", "told"), [(make_file, "is no socket; move it away"), (make_parent_a_file, "cannot listen on unix:")]
)
async def test_a_place_that_cannot_be_a_socket_is_told(
    tmp_path: Path, spoil: Callable[[Path], None], told: str
) -> None:
    path = tmp_path / "run" / "s"
    path.parent.mkdir()
    spoil(path)
    with pytest.raises(ConfigError, match=told):
        async with opened(tmp_path, f"unix:{path}"):
            pass
    assert not path.exists() or path.read_text() == "precious"


@pytest.mark.asyncio
async def test_an_address_in_use_is_told_and_nothing_is_left_listening(tmp_path: Path) -> None:
    async with opened(tmp_path, f"unix:{tmp_path}/s", "127.0.0.1:0") as first:
        with pytest.raises(ConfigError, match="another program, perhaps another fleetd, listens"):
            async with opened(tmp_path, f"unix:{tmp_path}/s"):
                pass
        with pytest.raises(ConfigError, match=r"cannot listen on 127\.0\.0\.1:\d+: .*in use"):
            async with opened(tmp_path, f"unix:{tmp_path}/t", f"127.0.0.1:{first.ports[0]}"):
                pass
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_unix_connection(str(tmp_path / "t"))
        stream = await asyncio.open_unix_connection(str(tmp_path / "s"))
        assert b" 200 " in await health(stream)
        stream[1].close()


@pytest.mark.asyncio
@pytest.mark.parametrize("place", ["/run/x.sock", "localhost", "localhost:x", "localhost:99999", ":1", "unix"])
async def test_an_odd_address_is_told(tmp_path: Path, place: str) -> None:
    with pytest.raises(ConfigError, match="neither unix:/path nor host:port"):
        async with opened(tmp_path, place):
            pass


@pytest.mark.asyncio
async def test_a_path_that_is_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is no address"):
        async with opened(tmp_path, f"unix:{tmp_path}/a\0b"):
            pass


@pytest.mark.asyncio
async def test_a_request_without_an_answer_does_not_hold_up_the_end(tmp_path: Path) -> None:
    asked = asyncio.Event()

    class Endless(FakeControl):
        async def fleet(self) -> Document:
            asked.set()
            await asyncio.Event().wait()
            return {}

    listener = Listener(Api(Endless(), FakeHistory(), Tokens(tmp_path), {}, FakeBlobs()).application())
    await listener.open((f"unix:{tmp_path}/s",))
    _reader, writer = await asyncio.open_unix_connection(tmp_path / "s")
    writer.write(b"GET /v1/fleet HTTP/1.1\r\nHost: x\r\n\r\n")
    await asyncio.wait_for(asked.wait(), ENOUGH_S)
    await asyncio.wait_for(listener.close(), ENOUGH_S)
    writer.close()
