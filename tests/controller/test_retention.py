"""Retention: old rollouts leave, and whoever reads the shortened journal finds the same world without them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from fleetd.clock import SystemClock
from fleetd.controller.commands import AbortRollout, ClearHost
from fleetd.controller.folding import fold, record_of_baseline
from fleetd.controller.loop import Controller
from fleetd.controller.retention import shorten
from fleetd.controller.verbs import clearing
from fleetd.errors import GoneError, JournalError, NotFoundError
from fleetd.ports import Record
from fleetd.rollout import events as e
from fleetd.rollout import gates
from fleetd.rollout.baseline import baseline_of, cut_of, forget, is_needed, missing
from fleetd.rollout.stored import BASELINE, Span
from fleetd.rollout.world import World
from tests.controller.rig import FLEET, controlling, delivery
from tests.controller.rig import world_of as world_in
from tests.controller.test_loop import Notes
from tests.fakes.journal import Disk, MemoryJournal
from tests.journal.earlier import NAMES, recorded
from tests.rollout.test_owed import passed_over
from tests.rollout.worlds import spec_of, system
from tests.simulation.scenario import draw
from tests.simulation.simulation import simulate

EVER = 1e18
VOLATILE = ("observations", "agenda", "contacts", "openings", "looks", "looking", "locking", "rollouts", "patrol")
"""Of a world: what no record says. Rollouts are compared one by one."""


def world_of(records: Sequence[Record]) -> World:
    world = World()
    for record in records:
        fold(world, record)
    return world


def several(seed: int) -> list[Record]:
    """Return a journal of some worlds' records, one after the other, as if they had been one fleet's."""
    rng, whole, at = Random(seed), list[Record](), 0.0
    for name in rng.sample(NAMES, 4):
        shift, term = len(whole), max((record.term for record in whole), default=0)
        numbers = max((int(record.rollout[2:]) for record in whole if record.rollout), default=0)
        begin = next((record.at for record in recorded(name)), 0.0)
        for record in recorded(name):
            data: Any = _renumbered(record, term, shift, numbers)
            rollout = _later(record.rollout, numbers)
            moved = Record(
                record.seq + shift,
                record.term + term,
                record.at - begin + at,
                rollout,
                record.host,
                record.kind,
                1,
                data,
            )
            whole.append(moved)
        at = whole[-1].at + 86400.0
    return whole


def _later(rollout: str, numbers: int) -> str:
    return f"r-{int(rollout[2:]) + numbers}" if rollout else ""


def _renumbered(record: Record, term: int, shift: int, numbers: int) -> dict[str, Any]:
    data: dict[str, Any] = dict(record.data)
    if "fence" in data:
        fence = data["fence"]
        data["fence"] = {**fence, "term": fence["term"] + term, "seq": fence["seq"] + shift}
    if record.kind == "ControllerStarted":
        data["term"] += term
    if record.kind == "RolloutRequested":
        key = data["spec"]["key"]
        data["spec"] = {**data["spec"], "id": _later(data["spec"]["id"], numbers), "key": key and f"{key}+{numbers}"}
    if record.kind == "RolloutSuperseded":
        data["by"] = _later(data["by"], numbers)
    return data


async def shortened(disk: Disk, world: World, keys: dict[str, str], before: float = EVER) -> int:
    journal = MemoryJournal(disk)
    await journal.open(only_look=True)
    try:
        return await shorten(world, journal, keys, before)
    finally:
        await journal.close()


def assert_same(mine: World, read: World) -> None:
    """Everything that the journal says of a world."""
    assert list(mine.rollouts) == list(read.rollouts)
    for name, rollout in mine.rollouts.items():
        again = read.rollouts[name]
        assert (rollout.header, rollout.hosts, rollout.changed) == (again.header, again.hosts, again.changed)
    for word in vars(mine):
        if word not in VOLATILE and not word.startswith("_"):
            assert getattr(mine, word) == getattr(read, word), word
    assert sorted(mine.unproven()) == sorted(read.unproven())
    assert [name for name, _rollout in mine.active()] == [name for name, _rollout in read.active()]


@pytest.mark.parametrize("seed", range(25))
def test_a_shortened_journal_says_the_same_of_all_but_what_has_gone(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """By runs of any size, with or without a limit of age, again and again."""
    rng = Random(seed)
    monkeypatch.setattr("fleetd.controller.retention.RECORDS_A_RUN", rng.choice((1, 50, 20_000)))
    monkeypatch.setattr("fleetd.controller.retention.PAGE", rng.choice((1, 7, 1000)))
    records = several(seed)
    whole, world, disk = world_of(records), world_of(records), Disk(list(records), records[-1].term)
    before = rng.choice((EVER, records[len(records) // 2].at))
    while asyncio.run(shortened(disk, world, {}, before)):
        assert disk.records[0].kind == BASELINE
        assert disk.records[1:] == records[disk.records[0].seq :]
        assert_same(world, world_of(disk.records))
    assert world.records == whole.records
    assert world.fleetwide == whole.fleetwide
    assert sorted(world.unproven()) == sorted(whole.unproven())
    assert [name for name, _rollout in world.active()] == [name for name, _rollout in whole.active()]
    for host in (*whole.fleetwide.unwell, *(name for name, record in whole.records.items() if record.stranded)):
        # A person can still say of it what could be said before.
        clear = ClearHost(host, "kim")
        assert clearing(world, clear, 1.0) == clearing(whole, clear, 1.0)
    for name in whole.rollouts.keys() - world.rollouts.keys():
        assert not is_needed(whole, name)
        assert isinstance(missing(world, name), GoneError)
    assert type(missing(world, "r-999")) is NotFoundError


def test_what_was_found_between_rollouts_outlives_them_and_keeps_none() -> None:
    """What is owed, what failed there, who is unwell: by a host that is away for longer than rollouts are kept."""
    built = passed_over()
    world, found = built.world, e.HostFoundUnwell(built.now, "h2", e.Ailment.UNREACHABLE, "no answer")
    world.apply(found)
    world.remember("h1", replace(world.record("h1"), failed=(system("h1", 3),), policy="calm", state_lost=True))
    assert not is_needed(world, "r-1")
    line = record_of_baseline(baseline_of(world))
    again = world_of([replace(line, data=json.loads(json.dumps(line.data)))])
    forget(world, ("r-1",))
    assert_same(world, again)
    assert again.owing == {"h2": None}
    assert again.fleetwide.unwell == {"h2": "no answer"}
    assert clearing(again, ClearHost("h2", "kim"), 1.0) == (e.HostExcused(1.0, "h2", "kim", ""),)


@pytest.mark.parametrize("seed", [3, 5, 9, 17, 34])
def test_what_a_simulated_fleet_wrote_can_be_shortened_whenever_it_is_over(seed: int) -> None:
    disk = Disk()
    simulate(draw(Random(seed), seed=seed), disk=disk)
    disk.owner = None
    world = world_of(disk.records)
    asyncio.run(shortened(disk, world, {}))
    assert_same(world, world_of(disk.records))


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_controller_that_dies_in_it_starts_again_with_the_same_world(when: str) -> None:
    records = several(1)
    disk, world = Disk(list(records), records[-1].term), world_of(records)

    def dies(_records: Sequence[Record]) -> None:
        raise JournalError("the disk is gone")

    journal = MemoryJournal(disk, **{when: dies})

    async def run() -> None:
        await journal.open(only_look=True)
        await shorten(world, journal, {}, EVER)

    with pytest.raises(JournalError):
        asyncio.run(run())
    again = world_of(disk.records)
    assert (disk.records == records) == (when == "before")
    assert again.records == world_of(records).records
    assert again.seq == records[-1].seq
    if when == "after":
        assert_same(world, again)


def test_a_daemon_goes_on_after_a_baseline_and_numbers_stay_its_own() -> None:
    records = several(3)
    disk = Disk(list(records), records[-1].term)
    executor: Any = Notes()
    controller = Controller(clock=SystemClock(), journal=MemoryJournal(disk), executor=executor)

    async def live() -> None:
        await controller.start()
        highest = controller.world.numbered
        assert await controller.shorten(-1.0) > 0
        asked = asyncio.create_task(controller.submit(spec_of(("h1",))))
        await asyncio.sleep(0)
        await controller.tick()
        assert (await asked).rollout == f"r-{highest + 1}"
        assert_same(controller.world, world_of(disk.records))

    asyncio.run(live())


@pytest.mark.asyncio
async def test_a_real_journal_is_shortened_under_a_daemon_and_what_went_is_told_as_gone(tmp_path: Path) -> None:
    (tmp_path / "fleet.toml").write_text(FLEET)
    async with controlling(tmp_path) as intake:
        first = (await intake.submit(delivery())).rollout
        await intake.submit(AbortRollout(first, "kim"))
        async with asyncio.timeout(60):
            while list(world_in(intake).active()):
                await intake.changed(world_in(intake).seq, 1.0)
        second = (await intake.submit(delivery("two", key="hook:ci:d-2"))).rollout
        records = world_in(intake).records
        assert await intake._controller.shorten(-1.0) > 0
        for ask in (intake.explain, intake.progress):
            with pytest.raises(GoneError, match=f"{first} ended so long ago"):
                await ask(first)
        assert second in await intake.explain(second)
        seq = world_in(intake).seq
    async with controlling(tmp_path) as intake:
        world = world_in(intake)
        assert (list(world.rollouts), world.seq, world.records) == ([second], seq + 1, records)
        with pytest.raises(GoneError):
            await intake.explain(first)
        # Its key is forgotten with it, and the other's is not.
        assert (await intake.submit(delivery("two", key="hook:ci:d-2"))).rollout == second
        assert (await intake.submit(delivery())).rollout == "r-3"


def test_a_commit_that_was_deployed_by_what_has_gone_is_still_the_one_to_go_on_from() -> None:
    world = world_of(recorded(NAMES[0]))
    world.deployed["git+ssh://x/y"] = "git+ssh://x/y?rev=1"
    spec = spec_of(("h1",))
    assert gates.deployed_before(world, replace(spec, flake="git+ssh://x/y?ref=main")) == "git+ssh://x/y?rev=1"
    assert gates.deployed_before(world, replace(spec, flake="git+ssh://x/z?ref=main")) == ""


def span(name: str, first: int, last: int, at: float = 1.0) -> Span:
    return Span(name, first, last, at)


@pytest.mark.parametrize(
    ("spans", "keep", "most", "cut"),
    [
        ([], (), 99, 0),
        ([span("r-1", 2, 9)], (), 99, 9),
        ([span("r-1", 2, 9)], ("r-1",), 99, 0),
        ([span("r-1", 2, 9), span("r-2", 10, 20)], (), 99, 20),
        ([span("r-1", 2, 9), span("r-2", 10, 20)], (), 12, 9),
        ([span("r-1", 2, 9), span("r-2", 5, 20)], (), 12, 20),
        ([span("r-1", 2, 9), span("r-2", 5, 20)], ("r-2",), 99, 0),
        ([span("r-1", 2, 9), span("r-2", 10, 20)], ("r-2",), 99, 9),
        ([span("r-1", 2, 9), span("r-2", 10, 20, 7.0)], (), 99, 9),
        ([span("r-1", 2, 30), span("r-2", 5, 20), span("r-3", 31, 40)], (), 3, 30),
    ],
)
def test_a_cut_lies_where_no_rollout_is_on_both_sides(
    spans: list[Span], keep: tuple[str, ...], most: int, cut: int
) -> None:
    assert cut_of(spans, keep, 5.0, most) == cut
