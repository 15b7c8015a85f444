"""What is done for a host that does not come back: a last question first, and every end told."""

from __future__ import annotations

from typing import Any

import pytest

from fleetd.errors import FleetdError, HostIdentityError, LoginRefused, OutcomeUnknown, Unreachable
from fleetd.executor.power import Power
from fleetd.model.fence import Fence
from fleetd.model.fleet import Host
from fleetd.model.program import Aid, ControlCommand, ProgramEnd
from fleetd.rollout import events as e
from fleetd.rollout.decision import Unlock

COMMAND = ControlCommand(("bmc", "cycle"), 5.0)
HOST = Host("h1", ("10.0.0.1",), unlock=ControlCommand(("unlock",), 5.0), power_cycle=COMMAND)
INTENT = e.PowerCycleIntended(1.0, "r-1", "h1", Fence(1, 7), 900.0)
WELL = ProgramEnd(True, "bmc ended with 0", "off, on")


class World:
    """A host that answers, or does not, with a program and a place for logs."""

    def __init__(self, answers: FleetdError | None, end: ProgramEnd = WELL) -> None:
        self.answers = answers
        self.end = end
        self.ran: list[ControlCommand] = []
        self.kept = ""
        self.expected = 0

    def now(self) -> float:
        return 5.0

    async def facts(self, _host: Host, *, timeout_s: float) -> None:
        assert timeout_s > 60
        if self.answers is not None:
            raise self.answers

    def expect(self, _host: Host) -> None:
        self.expected += 1

    async def run(self, command: ControlCommand, _host: Host) -> ProgramEnd:
        self.ran.append(command)
        return self.end

    async def add(self, rollout: str, host: str, text: str) -> None:
        self.kept += f"{rollout} {host} {text}"

    async def cycle(self, host: Host | None = HOST) -> e.PowerCycled:
        me: Any = self
        return await Power(me, me, me, me).cycle(INTENT, host)


@pytest.mark.asyncio
@pytest.mark.parametrize("silence", [Unreachable("no answer"), OutcomeUnknown("no reply")])
async def test_a_host_that_is_silent_to_the_last_gets_its_power_cycled(silence: FleetdError) -> None:
    world = World(silence)
    assert await world.cycle() == e.PowerCycled(5.0, "r-1", "h1", INTENT.fence, True, "its power was cycled")
    assert (world.ran, world.expected) == ([COMMAND], 1)
    assert world.kept == "r-1 h1 == power cycle: bmc ended with 0\noff, on\n"


@pytest.mark.asyncio
@pytest.mark.parametrize("answer", [None, LoginRefused("no such key"), HostIdentityError("another key")])
async def test_a_host_that_answers_in_whatever_way_keeps_its_power(answer: FleetdError | None) -> None:
    world = World(answer)
    cycled = await world.cycle()
    assert (cycled.done, world.ran) == (False, [])
    assert cycled.reason.startswith("its power was left alone: ")


@pytest.mark.asyncio
async def test_a_command_that_fails_is_told_as_that() -> None:
    world = World(Unreachable("no answer"), ProgramEnd(False, "bmc ended with 1", "no such outlet"))
    cycled = await world.cycle()
    assert (cycled.done, cycled.reason) == (False, "its power was to be cycled, and bmc ended with 1")
    assert "no such outlet" in world.kept


@pytest.mark.asyncio
@pytest.mark.parametrize("host", [None, Host("h1", ("10.0.0.1",))])
async def test_what_the_fleet_file_no_longer_says_is_not_done(host: Host | None) -> None:
    world = World(Unreachable("no answer"))
    assert not (await world.cycle(host)).done
    assert world.ran == []


@pytest.mark.asyncio
async def test_each_try_to_unlock_is_numbered_in_the_log() -> None:
    world: Any = World(Unreachable("no answer"), ProgramEnd(False, "unlock ended with 255", "no route"))
    power = Power(world, world, world, world)
    assert power.aids(HOST) == (Aid.UNLOCK, Aid.POWER_CYCLE)
    assert power.aids(None) == ()
    unlocked = await power.unlock(Unlock("r-1", "h1", 3, 2, 15.0), HOST)
    assert (unlocked.step, unlocked.again_s) == (3, 15.0)
    assert world.kept == "r-1 h1 == unlock, try 2: unlock ended with 255\nno route\n"
