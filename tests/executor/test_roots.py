"""Roots follow the world: one task, the newest wish last, and another try when it fails."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest

from fleetd.errors import FleetdError
from fleetd.executor.activity import Activity
from fleetd.executor.executor import ROOTS_AGAIN_S, Executor
from fleetd.executor.sources import Sources
from fleetd.rollout.decision import Capacity
from fleetd.rollout.roots import WantedRoots


class FakeClock:
    def __init__(self) -> None:
        self.slept: list[float] = []

    def now(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(0)


class FakeStore:
    def __init__(self) -> None:
        self.failures = 0
        self.kept: list[str] = []
        self.running = 0
        self.go = asyncio.Event()

    async def keep_only(self, wanted: Callable[[], WantedRoots]) -> None:
        self.running += 1
        assert self.running == 1, "one at a time"
        await self.go.wait()
        self.running -= 1
        if self.failures:
            self.failures -= 1
            raise FleetdError("the disk is full")
        self.kept += wanted().paths


def executor(store: FakeStore, clock: FakeClock) -> Executor:
    nothing = cast(Any, None)
    sources = Sources(clock, nothing, cast(Any, store), nothing, nothing)
    return Executor(
        clock=clock,
        on_host=nothing,
        sources=sources,
        pusher=nothing,
        targets=nothing,
        probe=nothing,
        fleet=nothing,
        limits=Capacity(),
        power=nothing,
        hooks=nothing,
        activity=Activity(clock),
    )


def wish(path: str) -> Callable[[], WantedRoots]:
    return lambda: WantedRoots((path,), frozenset())


async def settled() -> None:
    for _ in range(50):
        await asyncio.sleep(0)


@pytest.mark.asyncio
async def test_the_newest_wish_is_the_last() -> None:
    store, clock = FakeStore(), FakeClock()
    made = executor(store, clock)
    for path in "abc":
        made.keep_roots(wish(path))
        await asyncio.sleep(0)
    store.go.set()
    await settled()
    assert store.kept == ["a", "c"]
    made.keep_roots(wish("d"))
    await settled()
    assert store.kept == ["a", "c", "d"]


@pytest.mark.asyncio
async def test_what_fails_is_tried_again() -> None:
    store, clock = FakeStore(), FakeClock()
    store.go.set()
    store.failures = 2
    made = executor(store, clock)
    made.keep_roots(wish("a"))
    await settled()
    assert store.kept == ["a"]
    assert clock.slept == [ROOTS_AGAIN_S] * 2


@pytest.mark.asyncio
async def test_closing_ends_it() -> None:
    store, clock = FakeStore(), FakeClock()
    made = executor(store, clock)
    made.keep_roots(wish("a"))
    await settled()
    await made.close()
    await settled()
    assert store.kept == []
    assert all(task is asyncio.current_task() for task in asyncio.all_tasks())
