"""One run of a hook: what it is told, and what is told of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from fleetd.errors import FleetdError, OutcomeUnknown, Unreachable
from fleetd.executor.hooks import HookRuns
from fleetd.model.fence import Fence
from fleetd.model.fleet import Host
from fleetd.model.hook import Hook, HookEnd, OnHookFailure, When, Where
from fleetd.model.program import ProgramEnd
from fleetd.rollout import events as e
from fleetd.rollout.states import Direction, Task
from tests.rollout.worlds import spec_of, system

DRAIN = Hook("drain", "*", When.BEFORE, Where.CONTROLLER, ("drain",), 60.0, OnHookFailure.FAIL)
HOST = Host("h1", ("unix:/run/h1", "10.0.0.1"))
INTENT = e.HookIntended(1.0, "r-1", "h1", Fence(1, 7), 99.0, "drain", "copied", 2)
WELL = ProgramEnd(True, "drain ended with 0", "3 pods evicted")


class World:
    """A machine that runs hooks as it is told, and a place for logs."""

    def __init__(self, end: ProgramEnd | FleetdError = WELL) -> None:
        self.end = end
        self.about: dict[str, str] = {}
        self.ran: list[tuple[str, str]] = []
        self.kept = ""

    def now(self) -> float:
        return 5.0

    async def on_controller(self, hook: Hook, _host: Host, about: Mapping[str, str], *, alone: str) -> ProgramEnd:
        return self._run("controller", alone, about)

    async def on_host(
        self, hook: Hook, _host: Host, about: Mapping[str, str], *, alone: str, contact_s: float
    ) -> ProgramEnd:
        return self._run("host", alone, about)

    def _run(self, where: str, alone: str, about: Mapping[str, str]) -> ProgramEnd:
        self.ran.append((where, alone))
        self.about = dict(about)
        if isinstance(self.end, FleetdError):
            raise self.end
        return self.end

    async def add(self, rollout: str, host: str, text: str) -> None:
        self.kept += f"{rollout} {host} {text}"

    async def run(self, hook: Hook = DRAIN, host: Host | None = HOST) -> e.HookEnded:
        me: Any = self
        spec = replace(spec_of(("h1",)), hooks=(hook,))
        task = Task(system("h1", 2), Direction.ROLLBACK, attempt=3)
        return await HookRuns(me, me, me).run(spec, task, INTENT, host, "abc123")


@pytest.mark.asyncio
async def test_it_is_told_of_its_host_and_what_it_said_is_kept() -> None:
    world = World()
    assert await world.run() == e.HookEnded(5.0, "r-1", "h1", INTENT.fence, "drain", HookEnd.WELL)
    assert world.ran == [("controller", "r-1/h1")]
    assert world.about == {
        "FLEETD_HOOK": "drain",
        "FLEETD_WHEN": "before",
        "FLEETD_TRY": "2",
        "FLEETD_HOST": "h1",
        "FLEETD_ADDRESS": "10.0.0.1",
        "FLEETD_STATE": "copied",
        "FLEETD_ROLLOUT": "r-1",
        "FLEETD_ACTIVATION": "r-1/h1/rollback/3",
        "FLEETD_KIND": "deploy",
        "FLEETD_DIRECTION": "rollback",
        "FLEETD_GOAL": "switch",
        "FLEETD_REVISION": "abc123",
        "FLEETD_TOPLEVEL": system("h1", 2),
    }
    assert world.kept == "r-1 h1 == hook drain (before), try 2: drain ended with 0\n3 pods evicted\n"


@pytest.mark.asyncio
async def test_where_it_runs_is_what_the_fleet_file_says() -> None:
    world = World()
    await world.run(replace(DRAIN, where=Where.HOST))
    assert world.ran == [("host", "r-1/h1")]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("end", "word", "reason"),
    [
        (ProgramEnd(False, "drain ended with 1", "trying\n503"), HookEnd.FAILED, "drain ended with 1: 503"),
        (ProgramEnd(False, "drain did not end within 1m", ""), HookEnd.FAILED, "drain did not end within 1m"),
        (Unreachable("h1: no answer"), HookEnd.FAILED, "h1: no answer"),
        (OutcomeUnknown("h1: the link was lost"), HookEnd.UNKNOWN, "h1: the link was lost"),
    ],
)
async def test_how_it_ended_is_told_and_what_nobody_saw_is_unknown(
    end: ProgramEnd | FleetdError, word: HookEnd, reason: str
) -> None:
    ended = await World(end).run()
    assert (ended.end, ended.reason) == (word, reason)


@pytest.mark.asyncio
async def test_a_host_that_the_fleet_file_no_longer_names_runs_none() -> None:
    world = World()
    assert (await world.run(host=None)).end is HookEnd.FAILED
    assert world.ran == []
