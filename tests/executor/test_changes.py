"""What failed is compared where both systems are there; else nothing is said, and nothing waits."""

from __future__ import annotations

import pytest

from fleetd.errors import SourceError
from fleetd.executor.changes import LINE_CHARACTERS, Changes
from fleetd.model.difference import SystemDiff
from fleetd.model.store_path import StorePath
from fleetd.rollout import events as e
from fleetd.rollout.blame import TellChanges
from tests.executor.test_executor import FakeClock
from tests.rollout.worlds import system

ASKED = TellChanges("r-1", "web1", system("web1", 1), system("web1", 2), ("web.service",))


class Store:
    """A comparer, and the logs; ``missing`` is not in the store, ``line`` is what differs."""

    def __init__(
        self, line: str = "units web.service", missing: StorePath | None = None, *, broken: bool = False
    ) -> None:
        self.line, self.missing, self.broken = line, missing, broken
        self.logs: list[str] = []

    async def built(self, target: str) -> StorePath | None:
        return None if target == self.missing else StorePath(target)

    async def compare(self, old: StorePath, new: StorePath) -> SystemDiff:
        raise NotImplementedError

    async def blame(self, old: StorePath, new: StorePath, failing: object) -> str:
        if self.broken:
            raise SourceError("the store does not say")
        return self.line

    async def add(self, rollout: str, host: str, text: str) -> None:
        self.logs.append(f"{rollout} {host} {text}")

    async def get(self, rollout: str, host: str) -> str | None:
        return None


async def told_by(store: Store) -> e.ChangesTold | None:
    return await Changes(FakeClock(), store, store).tell(ASKED)


@pytest.mark.asyncio
async def test_it_is_said_in_a_line_and_kept_in_the_host_s_log() -> None:
    store = Store()
    assert await told_by(store) == e.ChangesTold(100.0, "r-1", "web1", "units web.service")
    assert store.logs == [f"r-1 web1 == changed from {ASKED.old}\nunits web.service\n"]


@pytest.mark.asyncio
async def test_a_long_line_is_cut_where_it_becomes_a_record() -> None:
    told = await told_by(Store("x" * 5000))
    assert told is not None
    assert len(told.text) == LINE_CHARACTERS


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "store",
    [Store(missing=ASKED.old), Store(missing=ASKED.new), Store(broken=True), Store("")],
    ids=["old", "new", "broken", "same"],
)
async def test_what_cannot_be_compared_is_not_told(store: Store) -> None:
    assert await told_by(store) is None
    assert store.logs == []
