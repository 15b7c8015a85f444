"""The loop's own promises: durable before visible, and nothing half done when the disk fails."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from typing import Any

import pytest

from fleetd.controller import loop
from fleetd.controller.commands import AbortRollout
from fleetd.controller.loop import INBOX_LIMIT, Controller
from fleetd.errors import JournalError, NotFoundError, OverloadedError, UsageError
from fleetd.executor.executor import Job
from fleetd.model.fence import Fence
from fleetd.ports import Record
from fleetd.rollout import events as e
from fleetd.rollout.decision import Capacity, Question
from fleetd.rollout.observations import Extended
from fleetd.rollout.spec import RolloutSpec
from fleetd.rollout.versions import FIRST
from tests.fakes.journal import Disk, MemoryJournal
from tests.rollout.worlds import spec_of
from tests.simulation.virtual_time import VirtualClock, VirtualLoop


class Notes:
    """An executor that only writes down what it was given."""

    def __init__(self) -> None:
        self.started: list[Job] = []
        self.asked: list[Question] = []
        self.report: Any = None

    def capacity(self) -> Capacity:
        return Capacity()

    def keep_roots(self, wanted: object) -> None:
        del wanted

    def start(self, job: Job) -> None:
        self.started.append(job)

    def ask(self, question: Question, spec: RolloutSpec) -> None:
        self.asked.append(question)


class Rig:
    """A controller over a disk that a test can make fail."""

    def __init__(self, disk: Disk | None = None) -> None:
        self.disk = disk or Disk()
        self.fail = False
        self.notes = Notes()
        self.loop = VirtualLoop()
        self.journal = MemoryJournal(self.disk, before=self._before)
        executor: Any = self.notes
        self.clock = VirtualClock(self.loop)
        self.controller = Controller(clock=self.clock, journal=self.journal, executor=executor)

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Run to the end, once."""
        try:
            self.loop.run_until_complete(work)
        finally:
            self.loop.close()

    def _before(self, _records: Sequence[Record]) -> None:
        if self.fail:
            raise JournalError("the disk is full")


def test_a_disk_that_fails_ends_the_loop_unanswered_and_with_nothing_started() -> None:
    rig = Rig()

    async def run() -> None:
        await rig.controller.start()
        asked = asyncio.create_task(rig.controller.submit(spec_of(("h1",))))
        await asyncio.sleep(0)
        rig.fail = True
        with pytest.raises(JournalError):
            await rig.controller.tick()
        for _ in range(5):
            await asyncio.sleep(0)
        assert not asked.done(), "answered though nothing is durable"
        assert rig.notes.started == []
        assert rig.notes.asked == []
        asked.cancel()

    rig.run(run())
    again = Rig(Disk(rig.disk.records, rig.disk.term))
    again.run(again.controller.start())
    assert again.controller.world.rollouts == {}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kind": "Gossip"}, r"record 2 \(Gossip\) was written by a newer fleetd, or is damaged: .* unknown kind"),
        ({"version": 2}, "record 2 .* version 2 .* up to 1.* Start the .*fleetd recover"),
        ({"data": {}}, "record 2 .* missing fields.* restore it from a backup"),
        ({"rollout": "r-9", "kind": "RolloutStarted", "data": {}}, "record 2 .* corrupt"),
    ],
)
def test_a_record_that_cannot_be_folded_stops_the_start_and_names_its_place(change: dict[str, Any], words: str) -> None:
    first = Record(1, 1, 1.0, "", "", "ControllerStarted", FIRST, {"term": 1, "away_s": 0.0})
    bad = replace(Record(2, 1, 2.0, "", "", "ControllerStarted", FIRST, {"term": 2, "away_s": 0.0}), **change)
    rig = Rig(Disk([first, bad], 1))
    with pytest.raises(JournalError, match=words):
        rig.run(rig.controller.start())


def test_requests_that_cannot_be_are_refused_and_leave_no_record() -> None:
    rig = Rig()

    async def refused(command: Any) -> BaseException:
        asked = asyncio.create_task(rig.controller.submit(command))
        await asyncio.sleep(0)
        await rig.controller.tick()
        with pytest.raises((NotFoundError, UsageError)) as found:
            await asked
        return found.value

    async def run() -> None:
        await rig.controller.start()
        before = len(rig.disk.records)
        assert isinstance(await refused(AbortRollout("r-7", "somebody")), NotFoundError)
        assert len(rig.disk.records) == before

    rig.run(run())


def test_more_requests_than_the_inbox_holds_are_refused_at_once() -> None:
    rig = Rig()

    async def run() -> None:
        await rig.controller.start()
        waiting = [asyncio.create_task(rig.controller.submit(spec_of(("h1",)))) for _ in range(INBOX_LIMIT)]
        await asyncio.sleep(0)
        with pytest.raises(OverloadedError):
            await rig.controller.submit(spec_of(("h1",)))
        for task in waiting:
            task.cancel()

    rig.run(run())


def test_an_outcome_of_nothing_that_is_under_way_is_kept_for_people_and_changes_nothing() -> None:

    rig = Rig()

    async def run() -> None:
        await rig.controller.start()
        asked = asyncio.create_task(rig.controller.submit(spec_of(("h1",))))
        await asyncio.sleep(0)
        await rig.controller.tick()
        await asked
        before = dict(rig.controller.world.rollouts["r-1"].hosts)
        late = e.CopyDone(1.0, "r-1", "h1", Fence(1, 99), 1, 1)
        rig.controller.report(late)
        rig.controller.report(replace(late, rollout="r-77"))
        rig.notes.started.clear()
        await rig.controller.tick()
        kinds = [record.kind for record in rig.disk.records]
        assert kinds.count("OutcomeRejected") == 1
        after = rig.controller.world.rollouts["r-1"].hosts["h1"]
        assert type(after) is type(before["h1"])

    rig.run(run())


def test_who_is_gone_before_the_refusal_ends_no_loop() -> None:
    rig = Rig()

    async def run() -> None:
        await rig.controller.start()
        asked = asyncio.create_task(rig.controller.submit(AbortRollout("r-9", "kim")))
        await asyncio.sleep(0)
        asked.cancel()
        await asyncio.sleep(0)
        await rig.controller.tick()
        again = asyncio.create_task(rig.controller.submit(spec_of(("h1",))))
        await asyncio.sleep(0)
        await rig.controller.tick()
        assert (await again).rollout == "r-1"

    rig.run(run())


def test_a_clock_that_was_set_back_between_two_starts_stops_no_time() -> None:
    disk = Disk()
    before = Rig(disk)

    async def start() -> None:
        await before.controller.start()

    before.clock.set_by_s = 86400.0
    before.run(start())
    disk.owner = None
    rig = Rig(disk)

    async def run() -> None:
        await rig.controller.start()
        began = rig.controller.world.last_at
        running = asyncio.create_task(rig.controller.run())
        await asyncio.sleep(600)
        await rig.controller.submit(spec_of(("h1",)))
        assert rig.controller.world.last_at - began >= 600
        running.cancel()

    rig.run(run())


def test_more_outcomes_than_a_tick_takes_wait_for_no_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "OUTCOMES_A_TICK", 2)
    rig = Rig()

    async def run() -> None:
        await rig.controller.start()
        for _ in range(5):
            rig.controller.report(Extended(0.0, "r-9", "h1", 1, True))
        taken = 0
        while (due := await rig.controller.tick()) is not None:
            assert due <= rig.clock.now()
            taken += 1
        assert taken == 2
        assert await rig.controller.tick() is None

    rig.run(run())
