"""Who watches sees how far builds and copies are, and what a build said is kept, bounded, while it still builds."""

from __future__ import annotations

import asyncio

import pytest

from fleetd.executor import activity
from fleetd.executor.activity import Activity
from fleetd.model.build import BuildNews, BuildProgress
from fleetd.ports import build_log_of
from tests.fakes.control import FakeBlobs


class HandClock:
    """Sleeps until the test says that the time is up."""

    def __init__(self) -> None:
        self.tick = asyncio.Event()

    def now(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        del seconds
        await self.tick.wait()
        self.tick.clear()


@pytest.mark.asyncio
async def test_a_build_is_shown_while_it_runs_and_its_log_is_kept() -> None:
    clock, blobs = HandClock(), FakeBlobs()
    watched = Activity(clock, blobs)
    async with watched.building("r-1", "web1", "/nix/store/x.drv") as told:
        (shown,) = watched.of("r-1")
        assert (shown["name"], shown["step"], shown["line"], shown["copy"]) == ("web1", "building", "", None)
        told(BuildNews(BuildProgress(built=1, to_build=3, running_count=1, running=("gcc",)), ("gcc> CC a.o", "")))
        (shown,) = watched.of("r-1")
        assert shown["line"] == "gcc> CC a.o"
        assert isinstance(shown["build"], dict)
        assert (shown["build"]["built"], shown["build"]["to_build"], shown["build"]["running"]) == (1, 3, ["gcc"])
        assert watched.of("r-2") == []
        clock.tick.set()
        await asyncio.sleep(0.01)
        assert await blobs.get("r-1", build_log_of("web1")) == "== /nix/store/x.drv\ngcc> CC a.o\n\n"
        told(BuildNews(BuildProgress(), ("the end",)))
    assert watched.of("r-1") == []
    assert (await blobs.get("r-1", build_log_of("web1")) or "").endswith("\nthe end\n")
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("build-log/")]


@pytest.mark.asyncio
async def test_what_was_built_before_has_no_log_and_what_failed_has_one() -> None:
    blobs = FakeBlobs()
    watched = Activity(HandClock(), blobs)
    async with watched.building("r-1", "web1", "x") as told:
        told(BuildNews(BuildProgress(copied=1, to_copy=1), ()))
    assert blobs.texts == {}
    with pytest.raises(RuntimeError, match="broke"):
        async with watched.building("r-1", "web2", "x") as told:
            told(BuildNews(BuildProgress(), ("why",)))
            raise RuntimeError("broke")
    assert blobs.texts == {("r-1", "web2.build"): "== x\nwhy\n"}
    assert watched.of("r-1") == []


@pytest.mark.asyncio
async def test_a_build_that_says_more_than_is_kept_holds_no_more() -> None:
    blobs = FakeBlobs()
    watched = Activity(HandClock(), blobs)
    async with watched.building("r-1", "web1", "x") as told:
        for number in range(1000):
            told(BuildNews(BuildProgress(), (f"{number} {'y' * 1000}",)))
    text = blobs.texts["r-1", "web1.build"]
    assert len(text) <= activity.PENDING_CHARACTERS
    assert text.startswith("9") and "\n999 y" in text, "the newest lines"


@pytest.mark.asyncio
async def test_copies_are_shown_by_name_beside_builds() -> None:
    watched = Activity(HandClock())
    with watched.copying("r-1", "web2") as doing, watched.copying("r-1", "web1"):
        doing.sent, doing.total = 5, 9
        first, second = watched.of("r-1")
        assert (first["name"], second["name"], second["step"]) == ("web1", "web2", "copying")
        assert second["copy"] == {"sent_bytes": 5, "total_bytes": 9}
    assert watched.of("r-1") == []
