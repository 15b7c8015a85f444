"""What a person may say of a rollout or a host while it goes on, and when it is said twice."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
from pathlib import Path
from typing import Any, cast

import pytest

from fleetd.controller.commands import AbortRollout, ClearHost, RollBackRollout, SkipHost
from fleetd.controller.intake import Intake
from fleetd.errors import RefusedError
from fleetd.journal.sqlite import FILE
from fleetd.model.fence import NO_FENCE
from fleetd.model.store_path import parse_store_path
from fleetd.rollout.decision import CancelCopy
from fleetd.rollout.states import Copying, Effect, Failed, Flight, Live, Lost, Pending, Stranded, Task
from tests.controller.rig import FLEET, controlling, delivery, put, world_of

PATH = parse_store_path(f"/nix/store/{'1' * 32}-nixos-system-web1-2")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "fleet.toml").write_text(FLEET)
    return tmp_path


async def ended(intake: Intake, phase: str) -> bool:
    """Wait until a rollout is in a phase."""
    for _ in range(1000):
        if dict(intake.figures().rollouts)[phase]:
            return True
        await asyncio.sleep(0.01)
    return False


@pytest.mark.asyncio
@pytest.mark.parametrize("state", ["lost", "stranded"])
async def test_a_person_clears_a_host_that_holds_things_up(place: Path, state: str) -> None:
    async with controlling(place) as intake:
        await intake.submit(delivery())
        with pytest.raises(RefusedError, match="web1 is neither lost, stranded"):
            await intake.submit(ClearHost("web1", "kim"))
        hosts = world_of(intake).rollouts["r-1"].hosts
        task, live = Task(PATH), Live(PATH, (), NO_FENCE, 0.0)
        lost, stranded = Lost(task, live, "no answer", 1.0), Stranded(task, "no way back", 1.0)
        put(world_of(intake), "r-1", "web1", lost if state == "lost" else stranded)
        if state == "lost":
            (document,) = await intake.hosts("web1")
            assert [(b["text"], b["type"]) for b in cast(Any, document["blocked_by"])] == [
                ("no answer", "fleetctl clear web1")
            ]
        accepted = await intake.submit(ClearHost("web1", "kim", "it burned down"))
        assert (accepted.rollout, accepted.repeated) == ("r-1", False)
        assert isinstance(hosts["web1"], Failed)
        (document,) = await intake.hosts("web1")
        assert document["blocked_by"] == []
        with pytest.raises(RefusedError):
            await intake.submit(ClearHost("web1", "kim"))
        with contextlib.closing(sqlite3.connect(f"file:{place / FILE}?mode=ro", uri=True)) as disk:
            rows = disk.execute("select host, data from journal where kind = 'HostCleared'").fetchall()
    assert [(host, json.loads(data)) for host, data in rows] == [("web1", {"by": "kim", "reason": "it burned down"})]


@pytest.mark.asyncio
async def test_a_verb_that_is_said_again_is_said_once(place: Path) -> None:
    async with controlling(place) as intake:
        await intake.submit(delivery())
        abort = AbortRollout("r-1", "kim", "no")
        assert [(await intake.submit(abort)).repeated for _ in range(2)] == [False, True]
        assert await ended(intake, "aborted")
        assert (await intake.submit(abort)).repeated, "also when it has come to its end by then"
        with pytest.raises(RefusedError, match="r-1 is aborted already"):
            await intake.submit(RollBackRollout("r-1", "kim"))
        await intake.submit(delivery(key="hook:ci:d-2"))
        back = RollBackRollout("r-2", "kim")
        assert [(await intake.submit(back)).repeated for _ in range(2)] == [False, True]


@pytest.mark.asyncio
async def test_a_host_stranded_in_two_rollouts_is_cleared_once(place: Path) -> None:
    async with controlling(place) as intake:
        await intake.submit(delivery())
        await intake.submit(delivery(key="hook:ci:d-2"))
        for rollout in ("r-1", "r-2"):
            put(world_of(intake), rollout, "web1", Stranded(Task(PATH), "no way back", 1.0))
        assert (await intake.submit(ClearHost("web1", "kim", "it is in order"))).rollout == "r-2"
        assert [type(of.hosts["web1"]) for of in world_of(intake).rollouts.values()] == [Failed, Failed]
        with pytest.raises(RefusedError, match="nothing waits for it"):
            await intake.submit(ClearHost("web1", "kim"))


@pytest.mark.asyncio
@pytest.mark.parametrize("copies", [True, False])
async def test_skipping_a_host_ends_the_copy_that_is_under_way(place: Path, copies: bool) -> None:
    async with controlling(place) as intake:
        await intake.submit(delivery())
        asked: list[object] = []
        cast(Any, intake)._controller._executor.ask = lambda question, _spec: asked.append(question)
        flight = Flight(Effect.COPY, NO_FENCE, 9e9)
        put(world_of(intake), "r-1", "web1", Copying(Task(PATH), flight) if copies else Pending(Task(PATH)))
        await intake.submit(SkipHost("r-1", "web1", "kim"))
        cancelled = [question for question in asked if isinstance(question, CancelCopy)]
        assert cancelled == ([CancelCopy("r-1", "web1", NO_FENCE)] if copies else [])
