"""What a large rollout costs the controller: ``python -m tests.bench.rollout [HOSTS…]`` (default: 1000 10000).

The real loop, planner, states and record codec over a journal in memory. Hosts are replaced by outcomes that arrive
after drawn durations, 1 % of them bad, so that nothing but the controller is measured. Four waves, policy defaults but
for shorter soaks. Figures, not a test: they depend on the machine.
"""

from __future__ import annotations

import asyncio
import resource
import sys
import time
from dataclasses import replace
from random import Random
from typing import Any

from fleetd.controller.loop import Controller
from fleetd.executor.executor import Job
from fleetd.model.check import Check, CheckOutcome, CheckResult, HttpCheck
from fleetd.model.facts import HelperState, Verdict
from fleetd.model.fence import NO_FENCE, Fence
from fleetd.model.fleet import Prebuilt
from fleetd.model.policy import FailureBudget, Policy, Size
from fleetd.rollout import events as e
from fleetd.rollout.decision import Capacity, Extend, Inspect, ProbeRound, Question
from fleetd.rollout.observations import Extended, Inspected, Probed
from fleetd.rollout.spec import HostPlan, RolloutSpec, Wave
from tests.fakes.journal import Disk, MemoryJournal
from tests.rollout.worlds import facts_of, spec_of, system
from tests.simulation.virtual_time import VirtualClock, VirtualLoop

POLICY = Policy(
    max_parallel=Size(percent=25),
    max_domains=99,
    failure_budget=FailureBudget(Size(count=1), Size(percent=5), Size(percent=5)),
)
CAPACITY = Capacity(evaluate=8, build=8, copy=64, order=256, probe=512, reach=64)
FAULTS = 0.01


class Outcomes:
    """An executor whose effects are nothing but the time that they take."""

    def __init__(self, clock: VirtualClock, loop: VirtualLoop, seed: int) -> None:
        self._clock = clock
        self._loop = loop
        self._rng = Random(seed)
        self._used = dict.fromkeys(("evaluate", "build", "copy", "order", "probe", "reach"), 0)
        self._obeyed: dict[str, Fence] = {}
        """By host, the fence of the last order that reached it."""
        self.report: Any = None

    def capacity(self) -> Capacity:
        return Capacity(**{slot: getattr(CAPACITY, slot) - used for slot, used in self._used.items()})

    def keep_roots(self, wanted: object) -> None:
        del wanted

    def tell_changes(self, asked: object) -> None:
        del asked

    def start(self, job: Job) -> None:
        intent, rng, place = job.intent, self._rng, (job.intent.rollout, job.intent.host, job.intent.fence)
        match intent:
            case e.BuildIntended():
                self._later("build", 0.5, lambda at: e.Built(at, *place, system(intent.host, 2)))
            case e.CopyIntended():
                self._later("copy", rng.uniform(1, 20), lambda at: e.CopyDone(at, *place, 9, 9))
            case e.TrialIntended():
                bad = rng.random() < FAULTS
                self._reported("order", rng.uniform(2, 30), place, HelperState.TRIAL, bad=bad)
            case e.CommitIntended():
                self._reported("order", rng.uniform(1, 5), place, HelperState.COMMITTED)
            case e.RevertIntended() | e.SettleIntended():
                self._reported("order", rng.uniform(2, 30), place, HelperState.REVERTED)
            case _:
                raise AssertionError(intent)

    def ask(self, question: Question, spec: RolloutSpec) -> None:
        del spec
        match question:
            case Inspect(rollout=rollout, host=host, step=step):
                facts = replace(facts_of(host, system(host, 1)), fence=self._obeyed.get(host, NO_FENCE))
                good = (CheckResult("web", CheckOutcome.PASS),)
                self._later("probe", 0.2, lambda at: Inspected(at, rollout, host, step, facts, good, ""))
            case ProbeRound(rollout=rollout, host=host, step=step, required=required, interval_s=interval_s):
                passed = tuple(CheckResult(name, CheckOutcome.PASS) for name in required)
                self._later("probe", 0.2, lambda at: Probed(at, rollout, host, step, passed, required, interval_s))
            case Extend(rollout=rollout, host=host, step=step):
                self._loop.call_later(0.1, lambda: self.report(Extended(0.0, rollout, host, step, True)))
            case _:
                raise AssertionError(question)

    def _reported(self, slot: str, after_s: float, place: Any, state: HelperState, *, bad: bool = False) -> None:
        of, host, fence = place
        self._obeyed[host] = fence
        verdict, reason = (Verdict.FAILED, "a unit failed") if bad else (Verdict.LIVE, "")
        self._later(
            slot, after_s, lambda at: e.HostReported(at, of, host, fence, state, True, verdict, "order", reason)
        )

    def _later(self, slot: str, after_s: float, outcome: Any) -> None:
        self._used[slot] += 1

        def arrive() -> None:
            self._used[slot] -= 1
            self.report(outcome(self._clock.now()))

        self._loop.call_later(after_s, arrive)


def spec(hosts: int) -> RolloutSpec:
    """Return a rollout through four waves."""
    names = tuple(f"h{number}" for number in range(1, hosts + 1))
    ends = (0, 1, 1 + hosts // 10, 1 + hosts // 2, hosts)
    soaks = (60.0, 300.0, 300.0, 0.0)
    waves = tuple(Wave(f"wave-{i + 1}", names[ends[i] : ends[i + 1]], soaks[i]) for i in range(4))
    plans = tuple(HostPlan(name, Prebuilt(system(name, 2)), f"d{i % 20}", (), ("web",)) for i, name in enumerate(names))
    check = Check("web", "*", HttpCheck("http://x/"))
    return replace(spec_of(names[:1], POLICY), checks=(check,), hosts=plans, waves=waves)


def run(hosts: int) -> str:
    """Run one rollout and return its figures."""
    loop = VirtualLoop()
    clock, disk = VirtualClock(loop), Disk()
    executor: Any = Outcomes(clock, loop, hosts)
    controller = Controller(clock=clock, journal=MemoryJournal(disk), executor=executor)
    ticks = 0

    def ticked() -> None:
        nonlocal ticks
        ticks += 1

    async def roll() -> str:
        await controller.start()
        life = asyncio.create_task(controller.run())
        asked = await controller.submit(spec(hosts))
        rollout = controller.world.rollouts[asked.rollout]

        def after_tick() -> None:
            ticked()
            if rollout.header.phase.is_final:
                life.cancel()

        controller.on_tick = after_tick
        await asyncio.wait({life})
        if not life.cancelled():
            life.result()  # it ended by itself, which only an error makes it do
        return rollout.header.phase.value

    began = time.process_time()
    phase = loop.run_until_complete(roll())
    cpu_s = time.process_time() - began
    virtual_s = loop.time()
    loop.close()
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return (
        f"{hosts} hosts: {phase}, {cpu_s:.1f} s of CPU, {1000 * cpu_s / hosts:.2f} ms a host, "
        f"{len(disk.records)} records ({len(disk.records) / hosts:.1f} a host), {ticks} ticks "
        f"({1e6 * cpu_s / ticks:.0f} us each), {virtual_s:.0f} s of virtual time, peak {peak_mib:.0f} MiB"
    )


if __name__ == "__main__":
    for size in [int(word) for word in sys.argv[1:]] or [1000, 10000]:
        print(run(size), flush=True)
