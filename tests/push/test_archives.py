"""One read for many hosts: all get every byte, nobody waits for anybody, memory is bounded, corruption is told."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetd.errors import PushError
from fleetd.model.store_path import StorePath
from fleetd.ports import PathInfo
from fleetd.push.archives import SharedArchives
from fleetd.push.serve import add_to_store

PIECE = 100


class Disk:
    """Paths with contents, and how often each was read."""

    def __init__(self, sizes: list[int]) -> None:
        self.contents = {self.path(n): bytes([n % 256]) * size for n, size in enumerate(sizes)}
        self.infos = [self.info(path, content) for path, content in self.contents.items()]
        self.reads: list[str] = []

    @staticmethod
    def path(number: int) -> StorePath:
        return StorePath(f"/nix/store/{'a' * 32}-{number}")

    @staticmethod
    def info(path: StorePath, content: bytes) -> PathInfo:
        return PathInfo(path, "", hashlib.sha256(content).digest(), (), len(content), (), "")

    def dump(self, path: str) -> Iterator[bytes]:
        self.reads.append(path)
        content = self.contents[StorePath(path)]
        for first in range(0, len(content), PIECE):
            yield content[first : first + PIECE]


def shared(disk: Disk, held_bytes: int = 10**6) -> SharedArchives:
    return SharedArchives(disk.dump, lambda info: info, held_bytes)


async def whole(archives: SharedArchives, info: PathInfo) -> bytes:
    return b"".join([piece async for piece in archives.pieces(info)])


@pytest.mark.asyncio
async def test_hosts_side_by_side_read_once() -> None:
    disk = Disk([1000, 1, 250])
    archives = shared(disk)

    async def host() -> list[bytes]:
        got = []
        for info in disk.infos:
            pieces = []
            async for piece in archives.pieces(info):
                pieces.append(piece)
                await asyncio.sleep(0)
            got.append(b"".join(pieces))
        return got

    with archives.in_use():
        for got in await asyncio.gather(*(host() for _ in range(5))):
            assert got == list(disk.contents.values())
    assert disk.reads == [info.path for info in disk.infos]
    assert archives.read_bytes == 1251


@pytest.mark.asyncio
async def test_a_slow_host_holds_nobody_up_and_gets_everything() -> None:
    disk = Disk([5000, 5000])
    archives = shared(disk, held_bytes=1000)
    with archives.in_use():
        slow = archives.pieces(disk.infos[0])
        beginning = [await anext(slow)]
        # Nothing has to happen in the slow one for this to end.
        for info in disk.infos:
            assert await whole(archives, info) == disk.contents[info.path]
        assert b"".join(beginning + [piece async for piece in slow]) == disk.contents[disk.infos[0].path]


@settings(deadline=None)
@given(
    st.lists(st.integers(1, 900), min_size=1, max_size=6),
    st.integers(100, 2000),
    st.lists(st.integers(0, 3), max_size=120),
)
def test_any_order_of_steps_gives_every_byte_within_the_bound(sizes: list[int], limit: int, steps: list[int]) -> None:
    disk = Disk(sizes)
    archives = shared(disk, held_bytes=limit)

    async def run() -> None:
        async def all_pieces() -> object:
            for info in disk.infos:
                async for piece in archives.pieces(info):
                    yield piece

        hosts = [all_pieces() for _ in range(4)]
        got = [bytearray() for _ in hosts]
        with archives.in_use():
            for step in [*steps, *(n for n in range(4) for _ in range(80))]:
                got[step] += await anext(hosts[step], b"")  # type: ignore[call-overload]
                assert archives.held_bytes <= limit
        assert all(bytes(data) == b"".join(disk.contents.values()) for data in got)

    asyncio.run(run())


@pytest.mark.parametrize("damage", [b"x" * 999, b"x" * 1001, b"y" * 1000, b"x" * 5000])
@pytest.mark.asyncio
async def test_what_is_corrupt_keeps_its_last_piece_from_everyone(damage: bytes) -> None:
    disk = Disk([1000])
    info = disk.infos[0]
    disk.contents[info.path] = damage
    archives = shared(disk)
    with archives.in_use():
        for _ in range(3):
            got = 0
            with pytest.raises(PushError, match="is not what its store says") as caught:
                async for piece in archives.pieces(info):
                    got += len(piece)
            assert got < 1000
            assert caught.value.code == "hash-mismatch"
        # Repaired meanwhile: the next one reads again.
        disk.contents[info.path] = b"\0" * 1000
        assert await whole(archives, info) == b"\0" * 1000


@pytest.mark.asyncio
async def test_the_last_one_lets_go_of_everything() -> None:
    disk = Disk([1000])
    archives = shared(disk)
    with archives.in_use():
        with archives.in_use():
            await whole(archives, disk.infos[0])
        assert archives.held_bytes == 1000
    assert archives.held_bytes == 0
    await whole(archives, disk.infos[0])
    assert len(disk.reads) == 2


def test_a_head_is_signed_once() -> None:
    disk = Disk([1])
    signed: list[str] = []

    def sign(info: PathInfo) -> PathInfo:
        signed.append(info.path)
        return info

    archives = SharedArchives(disk.dump, sign)
    with archives.in_use():
        heads = {archives.head(disk.infos[0]) for _ in range(3)}
    assert heads == {add_to_store(disk.infos[0])}
    assert len(signed) == 1
