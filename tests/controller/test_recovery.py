"""A journal that was restored: simulated hosts say what it does not know, and everything under way is ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import replace
from random import Random

import pytest

from fleetd.controller.loop import Controller
from fleetd.controller.recovering import closing
from fleetd.controller.recovery import Recovery, Report
from fleetd.errors import JournalError
from fleetd.model.facts import HelperState
from fleetd.model.fence import NO_FENCE, Fence
from fleetd.ports import Record
from fleetd.rollout import events as e
from fleetd.rollout.states import Deferred, LiveState, Lost, Skipped
from fleetd.rollout.world import World
from tests.fakes.journal import Disk, MemoryJournal
from tests.rollout.test_owed import passed_over
from tests.simulation.scenario import Request, Scenario, names, spec_of, system
from tests.simulation.sim_machine import GOOD
from tests.simulation.sim_ports import SimHosts, Weather
from tests.simulation.simulation import Simulation
from tests.simulation.virtual_time import VirtualLoop

HOSTS = names(4)
SCENARIO = Scenario(
    seed=1,
    hosts=HOSTS,
    waves=(1, 2),
    soak_s=15.0,
    behaviours={system("h3", 2): replace(GOOD, healthy=False)},
    requests=(Request(0.0, "deploy"), Request(400.0, "deploy")),
)
"""Two rollouts of which the first fails at its third host and takes the others back."""


class Place:
    """A simulated fleet whose control node dies for good after some appends, and whose journal is an earlier one."""

    def __init__(self, scenario: Scenario, dies_after: int, kept: int) -> None:
        self.loop = VirtualLoop()
        self.failures: list[BaseException] = []
        self.simulation = Simulation(scenario, self.loop, self.failures)
        for machine in self.simulation.machines.values():
            machine.changed = lambda _machine: None  # the watch follows one journal, and here there are two
        self.dies_after, self.kept = dies_after, kept
        self.dies_when: Callable[[Record], bool] = lambda _record: False
        self.appends: list[int] = []
        self.disk = Disk()

    async def live_and_die(self) -> None:
        """Run until the controller dies; ``disk`` is then what was backed up."""
        whole = Disk()
        simulation = self.simulation
        for request in simulation.scenario.requests:
            self.loop.call_later(request.at_s, simulation._waiting.append, request)
        gone = asyncio.Event()

        def after(records: Sequence[Record]) -> None:
            self.appends.append(len(whole.records))
            if len(self.appends) >= self.dies_after or any(map(self.dies_when, records)):
                gone.set()
                raise JournalError("the disk is gone")

        journal = MemoryJournal(whole, after=after)
        before = set(asyncio.all_tasks())
        controller = Controller(clock=simulation.clock, journal=journal, executor=simulation._executor())
        await controller.start()
        life = asyncio.create_task(controller.run())
        asks = asyncio.create_task(simulation._ask(controller))
        await asyncio.wait({life, asyncio.create_task(gone.wait())}, timeout=3000.0, return_when="FIRST_COMPLETED")
        del asks
        for task in set(asyncio.all_tasks()) - before:
            task.cancel()
        await asyncio.sleep(0)
        self.lost = whole.records[self.kept :]
        self.disk = Disk(whole.records[: self.kept], max((r.term for r in whole.records[: self.kept]), default=0))

    def recovery(self, journal: MemoryJournal | None = None) -> Recovery:
        hosts = SimHosts(self.simulation.machines, Weather(), Random(1))
        journal = journal or MemoryJournal(self.disk)
        return Recovery(
            clock=self.simulation.clock, journal=journal, hosts=hosts, fleet=self.simulation.fleet, contact_s=10.0
        )

    async def recover(self, *, only_look: bool = False) -> tuple[Report, World]:
        recovery = self.recovery()
        try:
            return await (recovery.look() if only_look else recovery.run()), recovery.world
        finally:
            self.disk.owner = None


def run(place: Place, work: object) -> None:
    try:
        place.loop.run_until_complete(work)  # type: ignore[arg-type]
    finally:
        for task in asyncio.all_tasks(place.loop):
            task.cancel()
        place.loop.run_until_complete(asyncio.sleep(0))
        place.loop.close()
    assert place.failures == []


def whole_length() -> tuple[int, int]:
    """Return how many appends and records an undisturbed run has."""
    place = Place(SCENARIO, 10**6, 0)
    run(place, place.live_and_die())
    return len(place.appends), place.appends[-1]


APPENDS, RECORDS = whole_length()


def assert_true_of(place: Place, world: World, report: Report) -> None:
    """Every host stands still on a system that works, and the world says so."""
    assert not list(world.active())
    assert not list(world.unproven())
    assert report.silent == {}
    for name, machine in place.simulation.machines.items():
        host, record = machine.host, world.record(name)
        assert not machine.under_way, f"{name} is {host.state}"
        assert host.current == host.profile == host.boot_default
        assert record.left in (host.current, None), f"{name} runs {host.current}, and the record says {record.left}"
        if host.state in (HelperState.COMMITTED, HelperState.REVERTED):
            assert record.left == record.wanted == host.current
        assert record.tried is None
        assert host.fence < Fence(world.term + 1, 0)
        assert world.gave(host.fence)


@pytest.mark.parametrize("seed", range(40))
def test_whatever_part_of_the_journal_is_lost_hosts_end_well_and_are_known(seed: int) -> None:
    """The control node dies at any moment, and comes back with any earlier journal, or with none at all."""
    rng = Random(seed)
    dies_after = rng.randint(3, APPENDS)
    place = Place(SCENARIO, dies_after, 0)

    async def live() -> None:
        await place.live_and_die()
        records = place.lost
        kept = rng.choice((0, rng.randint(0, len(records)), rng.randint(0, len(records))))
        place.disk = Disk(records[:kept], max((record.term for record in records[:kept]), default=0))
        await asyncio.sleep(rng.choice((1.0, 1.0, 20.0, 4000.0)))
        report, world = await place.recover()
        assert_true_of(place, world, report)
        known = {record.rollout for record in records if record.rollout}
        assert report.next_rollout > max((int(name[2:]) for name in known), default=0)
        await _goes_on(place)

    run(place, live())


async def _goes_on(place: Place) -> None:
    """A daemon that starts then deploys as ever."""
    simulation = place.simulation
    journal = MemoryJournal(place.disk)
    controller = Controller(clock=simulation.clock, journal=journal, executor=simulation._executor())
    await controller.start()
    life = asyncio.create_task(controller.run())
    accepted = await controller.submit(spec_of(SCENARIO, Request(0.0, "deploy"), 5))
    for _ in range(2000):
        if controller.world.rollouts[accepted.rollout].header.phase.is_final:
            break
        await asyncio.sleep(1.0)
    life.cancel()
    rollout = controller.world.rollouts[accepted.rollout]
    assert rollout.header.phase.value == "succeeded", (rollout.header.finish_reason, rollout.hosts)


def test_a_look_changes_nothing_and_says_what_would_be_done() -> None:
    place = Place(SCENARIO, APPENDS // 2, RECORDS // 4)

    async def live() -> None:
        await place.live_and_die()
        before = deepcopy((place.disk.records, place.disk.term))
        machines = {name: machine.host.fence for name, machine in place.simulation.machines.items()}
        report, _world = await place.recover(only_look=True)
        assert (place.disk.records, place.disk.term) == before
        assert {name: machine.host.fence for name, machine in place.simulation.machines.items()} == machines
        said = "\n".join(report.lines(only_look=True))
        assert f"the term would be raised to {report.term}" in said
        assert "which this journal never gave" in said
        assert "r-1: would be ended, phase needs-operator" in said

    run(place, live())


def test_a_host_out_of_reach_keeps_its_slot_until_it_answers() -> None:
    """Its journal says that it is in trial; it is asked by the daemon, as every lost host."""
    place = Place(SCENARIO, 10**6, 0)

    async def live() -> None:
        await place.live_and_die()
        records = place.lost
        kept = next(n for n, record in enumerate(records, 1) if record.kind == "TrialIntended")
        name = records[kept - 1].host
        place.disk = Disk(records[:kept], 1)
        place.simulation.machines[name].hears = False
        report, world = await place.recover()
        assert list(report.silent) == [name]
        assert isinstance(world.rollouts["r-1"].hosts[name], Lost)
        assert list(world.unproven()) == [("r-1", name)]
        assert "1 of 4 hosts are not known" in "\n".join(report.lines(only_look=False))
        assert place.disk.records[-1].data["silent"] == [name]

    run(place, live())


def test_a_fleet_of_which_nobody_answers_is_told_as_not_known() -> None:
    place = Place(SCENARIO, APPENDS // 2, RECORDS // 4)

    async def live() -> None:
        await place.live_and_die()
        for machine in place.simulation.machines.values():
            machine.hears = False
        for only_look in (True, False):
            report, world = await place.recover(only_look=only_look)
            assert list(report.silent) == list(HOSTS)
            assert "4 of 4 hosts are not known" in "\n".join(report.lines(only_look=only_look))
        assert not list(world.active())
        assert report.next_rollout == 101

    run(place, live())


def test_a_recovery_that_died_is_begun_again_and_keeps_the_daemon_from_starting() -> None:
    place = Place(SCENARIO, APPENDS // 2, RECORDS // 4)

    async def live() -> None:
        await place.live_and_die()

        def dies(records: Sequence[Record]) -> None:
            if records[-1].kind == "RecoveryEnded":
                raise JournalError("the disk is full")

        with pytest.raises(JournalError):
            await place.recovery(MemoryJournal(place.disk, before=dies)).run()
        place.disk.owner = None
        executor = place.simulation._executor()
        controller = Controller(clock=place.simulation.clock, journal=MemoryJournal(place.disk), executor=executor)
        with pytest.raises(JournalError, match="did not end: run `fleetd recover` again"):
            await controller.start()
        place.disk.owner = None
        report, world = await place.recover()
        assert_true_of(place, world, report)

    run(place, live())


def test_without_a_recovery_nothing_is_started_on_hosts_that_know_more_than_the_journal() -> None:
    place = Place(SCENARIO, 10**6, 0)

    async def live() -> None:
        await place.live_and_die()
        records = place.lost
        kept = next(n for n, record in enumerate(records, 1) if record.kind == "RollingStarted")
        place.disk = Disk(records[:kept], 1)
        machines = place.simulation.machines
        before = {name: (machine.host.current, machine.host.fence) for name, machine in machines.items()}
        journal = MemoryJournal(place.disk)
        controller = Controller(clock=place.simulation.clock, journal=journal, executor=place.simulation._executor())
        await controller.start()
        life = asyncio.create_task(controller.run())
        await asyncio.sleep(600.0)
        life.cancel()
        states = controller.world.rollouts["r-1"].hosts
        known = [name for name in HOSTS if before[name][1] != NO_FENCE]
        assert len(known) >= 3
        for name in known:
            assert (machines[name].host.current, machines[name].host.fence) == before[name]
            assert isinstance(states[name], Deferred | Skipped)
        assert any("fleetd recover" in state.reason for state in states.values() if isinstance(state, Deferred))

    run(place, live())


def test_what_is_in_trial_is_taken_back_by_an_order_and_waited_for() -> None:
    """Of a journal that is lost whole; the way back is slow, so that the host is asked many times."""
    slow = replace(SCENARIO, behaviours={system("h1", 2): replace(GOOD, revert_s=100.0)})
    place = Place(slow, 10**6, 0)
    place.dies_when = lambda record: record.kind == "HostReported" and record.data["state"] == "trial"

    async def live() -> None:
        await place.live_and_die()
        began_s = place.loop.time()
        report, world = await place.recover()
        assert_true_of(place, world, report)
        status = place.simulation.machines["h1"].status()
        assert (status.state, status.by) == (HelperState.REVERTED, "order")
        assert place.loop.time() - began_s < 110
        assert "activation r-1.h1.1 that this journal does not know is trial" in report.hosts["h1"]
        assert f"was left with {system('h1', 1)} by r-1.h1.1" in report.hosts["h1"]
        assert world.record("h1").left == system("h1", 1)

    run(place, live())


def test_what_was_owed_is_owed_no_more() -> None:
    """The lost part may say that the host is to have something else, or that nobody wants it any more."""
    built = passed_over()
    ended = [event for event in closing_of(built.world) if isinstance(event, e.HostNotOwed)]
    assert [(event.host, event.by) for event in ended] == [("h2", "fleetd recover")]
    assert not built.world.owing
    assert built.world.record("h2").wanted == built.world.record("h2").left


def closing_of(world: World) -> Iterator[e.Event]:
    for event in closing(world, {}, {"h2": "no answer"}, world.last_at):
        world.apply(event)
        yield event


def test_no_state_is_left_that_waits_for_an_order_of_the_lost_part() -> None:
    """``LiveState`` after a recovery is only Lost: everything else was told how it ended."""
    place = Place(SCENARIO, APPENDS // 3, RECORDS // 5)

    async def live() -> None:
        await place.live_and_die()
        _report, world = await place.recover()
        for rollout in world.rollouts.values():
            assert not any(isinstance(state, LiveState) for state in rollout.hosts.values())

    run(place, live())
