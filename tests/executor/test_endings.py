"""Every question ends though its adapter hangs, and an order is followed to its end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from random import Random
from typing import Any

from fleetd.executor.activity import Activity
from fleetd.executor.broken import Outcome
from fleetd.executor.executor import QUESTION_TIMEOUT_S, Executor, Job
from fleetd.executor.hooks import HookRuns
from fleetd.executor.on_host import OnHost
from fleetd.executor.orders import VALID_S
from fleetd.executor.power import Power
from fleetd.executor.sources import Sources
from fleetd.model.fence import Fence
from fleetd.model.fleet import Fleet, Host
from fleetd.model.policy import Policy
from fleetd.rollout import events as e
from fleetd.rollout.decision import Capacity, Extend, Inspect, Observe, ProbeRound, Reach
from fleetd.rollout.observations import Inspected, Probed, Reached
from fleetd.rollout.sightings import Sighted
from fleetd.rollout.states import Task
from tests.rollout.worlds import spec_of, system
from tests.simulation.sim_hooks import SimHookRunner
from tests.simulation.sim_host import SimHost
from tests.simulation.sim_machine import SimMachine
from tests.simulation.sim_ports import (
    SimBuilder,
    SimCommits,
    SimHosts,
    SimProbe,
    SimPrograms,
    SimPusher,
    SimStore,
    SimTargets,
    Uplink,
    Weather,
)
from tests.simulation.virtual_time import VirtualClock, VirtualLoop

SPEC = spec_of(("h1",))
FENCE = Fence(1, 7)
TASK = Task(system("h1", 2))


class Hangs:
    """No method returns."""

    def __getattr__(self, name: str) -> Callable[..., Coroutine[None, None, Any]]:
        async def method(*_args: object, **_kwargs: object) -> None:
            await asyncio.sleep(10 * QUESTION_TIMEOUT_S)

        return method


def outcomes_of(start: Callable[[Executor], None], *, hangs: bool = False) -> Sequence[Outcome]:
    """Start something over adapters that hang, or over one simulated machine, and return what is reported."""
    loop = VirtualLoop()
    clock, rng, found = VirtualClock(loop), Random(1), list[Outcome]()
    machines = {"h1": SimMachine(SimHost("h1", system("h1", 1)), {}, loop, lambda _machine: None)}
    whole: tuple[Any, ...] = (
        SimHosts(machines, Weather(), rng),
        SimStore(),
        SimBuilder(rng),
        SimPusher(machines, Weather(), rng),
        SimTargets(machines, Weather(), rng),
        SimProbe(machines, rng),
    )
    commits: Any = Hangs() if hangs else SimCommits()
    hosts, store, builder, pusher, targets, probe = (Hangs(),) * 6 if hangs else whole

    async def run() -> None:
        activity = Activity(clock)
        executor = Executor(
            clock=clock,
            on_host=OnHost(clock, hosts, store),
            sources=Sources(clock, builder, store, activity, commits),
            pusher=pusher,
            targets=targets,
            probe=probe,
            fleet=lambda: Fleet({"h1": Host("h1", ("10.0.0.1",))}),
            limits=Capacity(),
            power=Power(clock, OnHost(clock, hosts, store), SimPrograms(machines, lambda _machine: None)),
            hooks=HookRuns(clock, SimHookRunner(machines, None, rng, Uplink())),
            activity=activity,
        )
        executor.report = found.append
        start(executor)
        await asyncio.sleep(20 * QUESTION_TIMEOUT_S)
        assert executor.capacity() == Capacity(), "a slot is still taken"
        await executor.close()

    try:
        loop.run_until_complete(run())
    finally:
        loop.close()
    return found


def intent(kind: type, **fields: object) -> e.IntentEvent:
    made: e.IntentEvent = kind(at=1.0, rollout="r-1", host="h1", fence=FENCE, deadline=2e9, **fields)
    return made


TRIAL = intent(e.TrialIntended, old=system("h1", 1), machine_id="machine-h1", passed_before=())


def test_a_question_that_hangs_is_ended_and_proves_nothing() -> None:
    def ask(executor: Executor) -> None:
        executor.ask(Inspect("r-1", "h1", 3, ("web",)), SPEC)
        executor.ask(Reach("r-1", "h1", 4), SPEC)
        executor.ask(ProbeRound("r-1", "h1", 5, ("web",), ("login",), ("login",), system("h1", 2), None, 2.0), SPEC)

    found = {type(outcome): outcome for outcome in outcomes_of(ask, hangs=True)}
    inspected, reached, probed = found[Inspected], found[Reached], found[Probed]
    assert isinstance(inspected, Inspected)
    assert (inspected.step, inspected.facts) == (3, None)
    assert inspected.unreachable
    assert isinstance(reached, Reached)
    assert (reached.step, bool(reached.unreachable)) == (4, True)
    assert isinstance(probed, Probed)
    assert (probed.step, probed.results) == (5, ())


def test_a_look_that_hangs_is_ended_and_gives_its_slot_back() -> None:
    (seen,) = outcomes_of(lambda executor: executor.observe(Observe("h1", ())), hangs=True)
    assert isinstance(seen, Sighted)
    assert (seen.host, seen.facts, bool(seen.unreachable)) == ("h1", None, True)
    (seen,) = outcomes_of(lambda executor: executor.observe(Observe("h1", SPEC.checks)))
    assert isinstance(seen, Sighted)
    assert seen.facts is not None
    assert seen.facts.current == system("h1", 1)
    assert [result.check for result in seen.results] == ["web"]


def test_an_order_that_cannot_leave_is_told_from_one_whose_outcome_is_unknown() -> None:
    def cut_off(executor: Executor) -> None:
        executor.start(Job(TRIAL, SPEC, Task(None), None, None))

    found = outcomes_of(cut_off)
    assert [type(outcome) for outcome in found] == [e.OrderRejected]  # no toplevel: the helper refuses


def test_a_trial_is_followed_until_the_host_stands_still() -> None:
    def copy_then_try(executor: Executor) -> None:
        executor.start(Job(intent(e.CopyIntended), SPEC, TASK, None, None))

        def report(outcome: Outcome) -> None:
            found.append(outcome)
            if isinstance(outcome, e.CopyDone):
                executor.start(Job(TRIAL, SPEC, TASK, None, None))

        executor.report = report

    found: list[Outcome] = []
    outcomes_of(copy_then_try)
    last = found[-1]
    assert isinstance(last, e.HostReported)
    assert last.state.value == "trial"
    assert last.ours


class StandingClock(VirtualClock):
    """The clock of a control node that may stand still, as a virtual machine that is moved does."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__(loop)
        self.stood_s = 0.0

    def now(self) -> float:
        return super().now() - self.stood_s


def test_a_control_node_that_stood_still_renews_again() -> None:
    """Its orders are bound to the host's boot clock as it thinks that it is by now."""
    loop = VirtualLoop()
    clock, rng, renewed = StandingClock(loop), Random(1), list[bool]()
    machines = {"h1": SimMachine(SimHost("h1", system("h1", 1)), {}, loop, lambda _machine: None)}
    host, hosts = Host("h1", ("10.0.0.1",)), SimHosts(machines, Weather(), rng)
    spec = spec_of(("h1",), Policy())  # a trial of it survives three minutes of silence

    async def run() -> None:
        on_host = OnHost(clock, hosts, SimStore())
        await SimPusher(machines, Weather(), rng).push(
            host, system("h1", 2), root="r", progress=lambda *_: None, timeout_s=600
        )
        assert isinstance(TRIAL, e.TrialIntended)
        trial = await on_host.carry_out(spec, TASK, TRIAL, host)
        assert isinstance(trial, e.HostReported)
        assert trial.state.value == "trial", trial
        await asyncio.sleep(VALID_S + 10)
        clock.stood_s = VALID_S + 10
        for _time in range(2):
            question = Extend("r-1", "h1", TASK.attempt, TASK.direction, FENCE)
            await on_host.extend(question, spec, host, lambda told: renewed.append(told.done))

    try:
        loop.run_until_complete(run())
    finally:
        loop.close()
    assert renewed == [False, True]
