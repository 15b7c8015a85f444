"""Several channels, one stream: every byte in order, and no process or directory is left however it ends."""

from __future__ import annotations

import asyncio
import os
import random
import secrets
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from fleetd.errors import OutcomeUnknown
from fleetd.ports import ByteChannel
from fleetd.push.stripes import REJOIN, StripedChannel
from tests.push.channel import FakeHosts, SubprocessChannel

STRIPE = 1000


OURS = f"{os.getpid():08x}"


@pytest.fixture(autouse=True)
def named_for_this_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other runs on this machine have places of their own, which come and go."""
    real = secrets.token_hex
    monkeypatch.setattr("fleetd.push.stripes.secrets.token_hex", lambda size: OURS + real(size)[len(OURS) :])


def left_behind() -> set[str]:
    return {place.name for place in Path("/tmp").glob(f"fleetd-{OURS}" + "[0-9a-f]" * 24)}


async def echo(data: bytes, pieces: int) -> bytes:
    """Send through stripes to ``cat``, and return what it says."""
    channel = await StripedChannel.open(FakeHosts({}), ["cat"], stripe_bytes=STRIPE)
    try:
        size = max(1, len(data) // pieces)
        for first in range(0, len(data), size):
            channel.write(data[first : first + size])
            await channel.drain()
        channel.write_eof()
        said = bytearray()
        while piece := await channel.read(65536):
            said += piece
        assert await channel.wait(5) == 0
        return bytes(said)
    finally:
        await channel.close()


@pytest.mark.parametrize("size", [0, 1, STRIPE - 1, STRIPE, STRIPE + 1, 4 * STRIPE, 25 * STRIPE + 7])
@pytest.mark.parametrize("pieces", [1, 10])
@pytest.mark.asyncio
async def test_every_byte_arrives_in_order(size: int, pieces: int) -> None:
    before = left_behind()
    data = random.Random(size).randbytes(size)
    assert await echo(data, pieces) == data
    assert left_behind() == before


@pytest.mark.asyncio
async def test_bytes_that_look_like_lengths_are_bytes() -> None:
    data = b"1\n0\n-5\n\n" * 1000
    assert await echo(data, 3) == data


@pytest.mark.asyncio
async def test_a_command_that_ends_early_ends_it_all() -> None:
    before = left_behind()
    hosts = FakeHosts({})
    channel = await StripedChannel.open(hosts, ["sh", "-c", "echo no room >&2; exit 3"], stripe_bytes=STRIPE)
    try:
        assert await channel.read(100) == b""
        assert await channel.wait(5) == 3
        assert "no room" in channel.stderr_tail()
    finally:
        await channel.close()
    await ended(hosts)
    assert left_behind() == before


@pytest.mark.asyncio
async def test_a_link_that_dies_ends_everything_on_the_host() -> None:
    """All that a dead link does there is to end what the commands read."""
    before = left_behind()
    hosts = FakeHosts({})
    channel = await StripedChannel.open(hosts, ["cat"], stripe_bytes=STRIPE)
    channel.write(b"x" * (3 * STRIPE + 1))
    await channel.drain()
    for one in hosts.channels:
        one.write_eof()
    await ended(hosts)
    assert left_behind() == before
    await channel.close()


@pytest.mark.parametrize("kept", [0, 3, 200, 1000, 1005])
@pytest.mark.asyncio
async def test_nothing_is_joined_behind_a_stripe_that_was_cut(kept: int) -> None:
    """A dead link may have brought all of a later stripe and half of an earlier one."""
    hosts = FakeHosts({})
    channel = await StripedChannel.open(hosts, ["cat"], stripe_bytes=STRIPE)
    data = random.Random(1).randbytes(8 * STRIPE)
    second = hosts.channels[2]
    assert isinstance(second, SubprocessChannel)
    plain, left = second.write, kept

    def cut(data: bytes) -> None:
        nonlocal left
        plain(data[:left])
        left -= min(left, len(data))

    setattr(second, "write", cut)  # noqa: B010 - of this one only
    channel.write(data)
    await channel.drain()
    channel.write_eof()
    said = bytearray()
    while piece := await channel.read(65536):
        said += piece
    assert data.startswith(said)
    assert len(said) <= 2 * STRIPE
    await channel.close()
    await ended(hosts)


@pytest.mark.asyncio
async def test_a_stripe_that_never_comes_holds_nothing_up() -> None:
    before = left_behind()
    hosts = FakeHosts({})
    place = Path(f"/tmp/fleetd-{secrets.token_hex(16)}")
    main = await hosts.open(["sh", "-c", REJOIN, "sh", str(place), "4", "cat"])
    await until((place / "3").exists)
    main.write_eof()
    await ended(hosts)
    assert left_behind() == before
    await main.close()


@pytest.mark.asyncio
async def test_a_channel_that_cannot_be_opened_closes_the_others() -> None:
    hosts = FakeHosts({})
    plain = hosts.open

    async def third_fails(argv: list[str], *, privileged: bool = False) -> ByteChannel:
        if argv[-1].endswith("/1"):
            raise OutcomeUnknown("cannot open a channel")
        return await plain(argv, privileged=privileged)

    hosts.open = third_fails  # type: ignore[method-assign,assignment]  # one method of a fake
    with pytest.raises(OutcomeUnknown):
        await StripedChannel.open(hosts, ["cat"])
    await ended(hosts)


async def ended(hosts: FakeHosts) -> None:
    """Every command ends by itself, and so does all that it started; no directory is left."""
    for channel in hosts.channels:
        assert isinstance(channel, SubprocessChannel)
        await channel.wait(10)
    places = [argv[4] for argv, _privileged in hosts.opened if argv[2] == REJOIN]
    await until(lambda: not any(Path(place).exists() for place in places))
    await until(lambda: not any(place in words for words in command_lines() for place in places))


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110 - other processes tell nobody
            await asyncio.sleep(0.05)


def command_lines() -> Iterator[str]:
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            yield (process / "cmdline").read_text(errors="replace")
