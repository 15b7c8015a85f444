"""One simulated run: the real controller, planner and executor against simulated machines, in virtual time.

``simulate(scenario)`` raises ``ViolationError`` when a promise is broken, and otherwise says how the run ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from fleetd.controller.commands import (
    AbortRollout,
    ClearHost,
    FreezeFleet,
    LockHost,
    PauseRollout,
    PromoteRollout,
    ResumeRollout,
    RetryHost,
    RollBackRollout,
    SkipHost,
    UnfreezeFleet,
    UnlockHost,
)
from fleetd.controller.loop import Controller
from fleetd.controller.patrolling import Between
from fleetd.errors import JournalError, RefusedError
from fleetd.executor.activity import Activity
from fleetd.executor.executor import Executor
from fleetd.executor.hooks import HookRuns
from fleetd.executor.on_host import OnHost
from fleetd.executor.power import Power
from fleetd.executor.sources import Sources
from fleetd.model.facts import HelperState
from fleetd.model.fleet import Fleet, Host
from fleetd.model.program import ControlCommand
from fleetd.ports import Record
from fleetd.rollout.brakes import is_braked
from fleetd.rollout.decision import FLEETD, Capacity
from fleetd.rollout.hooking import waits_for_person
from fleetd.rollout.quorum import waits_for_group
from fleetd.rollout.roots import WantedRoots
from fleetd.rollout.states import Lost, shown
from fleetd.rollout.tally import Mark
from tests.fakes.journal import Disk, MemoryJournal
from tests.simulation.scenario import CHECK, CONTACT_S, Crash, Mishap, Request, Scenario, reboot_of, spec_of, system
from tests.simulation.sim_hooks import SimHookRunner
from tests.simulation.sim_host import STILL, SimHost
from tests.simulation.sim_machine import POWER_CYCLED_S, SimMachine
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
from tests.simulation.virtual_time import EPOCH_S, VirtualClock, VirtualLoop
from tests.simulation.watch import ViolationError, Watch, require

LIVELY_S = 6 * 3600.0
"""Once nothing goes wrong any more, every rollout must end within this."""

WINDOWS_S = 10 * 86400.0
"""What a rollout gets on top that may start hosts in some minutes of each day."""

QUIET_S = 600.0
"""What hosts get after the last rollout's end to finish by themselves."""


SPIN_TICKS = 500
"""More ticks than this at one instant decide nothing new."""


class _Died(BaseException):
    """The controller is gone. Not an Exception, so that nothing in it can catch it."""


@dataclass(frozen=True, slots=True)
class Report:
    """How a run ended."""

    phases: dict[str, str]
    states: dict[str, dict[str, str]]
    runs: dict[str, str]
    boots: dict[str, int]
    cycles: dict[str, int]
    """How often a program cycled the power of each host."""
    trace: tuple[str, ...]
    appends: int
    events: int
    ended_at_s: float


def simulate(scenario: Scenario, trace: list[str] | None = None, disk: Disk | None = None) -> Report:
    """Run a scenario to its end. Raises ViolationError.

    What happens is written to ``trace`` too, if given, and what was made durable is left on ``disk``.
    """
    loop = VirtualLoop()
    failures: list[BaseException] = []

    def failed(_loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        problem = context.get("exception")
        failures.append(problem if isinstance(problem, BaseException) else RuntimeError(str(context)))

    loop.set_exception_handler(failed)
    try:
        simulation = Simulation(scenario, loop, failures)
        simulation.disk = disk or simulation.disk
        if trace is not None:
            simulation.watch.trace = trace
        report = loop.run_until_complete(simulation.run())
    finally:
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
    if failures:
        raise failures[0]
    return report


class Simulation:
    """The machines, the disk, and whichever controller is alive just now."""

    def __init__(self, scenario: Scenario, loop: VirtualLoop, failures: list[BaseException]) -> None:
        self.scenario = scenario
        self.loop = loop
        self.failures = failures
        self.clock = VirtualClock(loop)
        rng = Random(scenario.seed)
        self.machines = {
            name: SimMachine(SimHost(name, system(name, 1)), scenario.behaviours, loop, self._stepped)
            for name in scenario.hosts
        }
        # Whether a host builds itself changes nothing of what is promised of it.
        builders = Random(f"builders {scenario.seed}")
        self.fleet = Fleet(
            {
                name: Host(
                    name,
                    ("10.0.0.1",),
                    builds_itself=builders.random() < 0.3,
                    unlock=ControlCommand(("unlock",), 9.0) if scenario.aided else None,
                    power_cycle=ControlCommand(("cycle",), 9.0) if scenario.aided else None,
                )
                for name in scenario.hosts
            },
            checks=(CHECK,),
            policies={"default": scenario.policy},
        )
        for name in scenario.locked:
            self.machines[name].needs_passphrase = True
        self.uplink = Uplink()
        self.hooks = SimHookRunner(self.machines, scenario.hooked, Random(f"hooks {scenario.seed}"), self.uplink)
        self.watch = Watch(scenario, self.machines, self.hooks)
        self.hosts = SimHosts(self.machines, scenario.weather, Random(rng.random()), self.uplink)
        self.pusher = SimPusher(self.machines, scenario.weather, Random(rng.random()), self.uplink)
        self.targets = SimTargets(self.machines, scenario.weather, Random(f"targets {scenario.seed}"), self.uplink)
        self.probe = SimProbe(self.machines, Random(rng.random()), self.uplink)
        self.builder = SimBuilder(Random(rng.random()), scenario.broken)
        self.disk = Disk()
        self.appends = 0
        self._crash_at = {crash.append: crash for crash in scenario.crashes}
        self._away_s = 0.0
        self._tasks: list[asyncio.Task[None]] = []
        self._waiting: list[Request] = []
        self._refused = False
        self._ticks, self._ticked_at = 0, -1.0
        self.controller: Controller | None = None

    # -- life ---------------------------------------------------------------------------------------------------

    async def run(self) -> Report:
        """Let everything happen."""
        for mishap in self.scenario.mishaps:
            self.loop.call_later(mishap.at_s, self._happen, mishap)
        for request in self.scenario.requests:
            self.loop.call_later(request.at_s, self._waiting.append, request)
        self.loop.call_later(self.scenario.quiet_at_s, self._calm)
        alive = True
        while alive:
            over = await self._one_life() or self._is_over()
            alive = not over
            await asyncio.sleep(0.0 if over else self._away_s)
        await asyncio.sleep(QUIET_S)
        self._hosts_work()
        world = self.watch.world
        return Report(
            phases={name: rollout.header.phase.value for name, rollout in world.rollouts.items()},
            states={
                name: {host: shown(state) for host, state in rollout.hosts.items()}
                for name, rollout in world.rollouts.items()
            },
            runs={name: machine.host.current for name, machine in self.machines.items()},
            boots={name: machine.boots for name, machine in self.machines.items()},
            cycles={name: sum(machine.cycles.values()) for name, machine in self.machines.items()},
            trace=tuple(self.watch.trace),
            appends=self.appends,
            events=self.watch.events,
            ended_at_s=self.loop.time(),
        )

    async def _one_life(self) -> bool:
        """Run one controller until it dies or everything is over; returns whether everything is."""
        journal = MemoryJournal(self.disk, before=self._before_append, after=self._after_append)
        executor = self._executor()
        controller = Controller(
            clock=self.clock,
            journal=journal,
            executor=executor,
            between=Between(lambda: self.fleet, self.scenario.observe_s, CONTACT_S),
        )
        before = set(asyncio.all_tasks())
        try:
            await controller.start()
            self._replayed_right(controller)
            controller.on_tick = self._ticked
            self.controller = controller
            life = asyncio.create_task(controller.run(), name="controller")
            asks = asyncio.create_task(self._ask(controller), name="requests")
            while not life.done():
                await asyncio.wait({life, asks} - ({asks} if asks.done() else set()), timeout=5.0)
                self._raise_failures()
                if life.done():
                    break
                if self._is_over():
                    return True
                waits_s = WINDOWS_S if self.scenario.policy.windows else 0.0
                late = self.loop.time() > self.scenario.quiet_at_s + LIVELY_S + waits_s
                require(not late, f"stuck: {self._where()}")
            life.result()
        except (_Died, JournalError):
            return False
        finally:
            self.controller = None
            for task in set(asyncio.all_tasks()) - before:
                task.cancel()
            self.disk.owner = None
        raise ViolationError("the controller ended by itself")

    def _ticked(self) -> None:
        """A loop that plans again and again while no time passes would burn a core on a real machine."""
        now = self.loop.time()
        self._ticks = self._ticks + 1 if now == self._ticked_at else 0
        self._ticked_at = now
        require(self._ticks < SPIN_TICKS, f"the loop spins: {self._where()}")

    def _executor(self) -> Executor:
        store = SimStore(self._kept)
        on_host, activity = OnHost(self.clock, self.hosts, store), Activity(self.clock)
        return Executor(
            clock=self.clock,
            on_host=on_host,
            sources=Sources(self.clock, self.builder, store, activity, SimCommits()),
            pusher=self.pusher,
            targets=self.targets,
            probe=self.probe,
            fleet=lambda: self.fleet,
            limits=Capacity(),
            power=Power(self.clock, on_host, SimPrograms(self.machines, self._cycled)),
            hooks=HookRuns(self.clock, self.hooks),
            activity=activity,
        )

    async def _ask(self, controller: Controller) -> None:
        while True:
            while self._waiting:
                request = self._waiting[0]
                await self._submit(controller, request)
                self._waiting.pop(0)
            if self.loop.time() > self.scenario.quiet_at_s:
                await self._do_what_is_told(controller)
            await asyncio.sleep(0.5)

    async def _do_what_is_told(self, controller: Controller) -> None:
        """Do what blocked_by says: a person looks at unwell hosts, unless they may still answer, and skips others."""
        world = self.watch.world
        for host in tuple(world.fleetwide.unwell):
            lost = any(isinstance(rollout.hosts.get(host), Lost) for rollout in world.rollouts.values())
            if not lost and any(is_braked(world, rollout) for _name, rollout in world.active()):
                await controller.submit(ClearHost(host, "a person"))
        for name in tuple(world.rollouts):
            for host in waits_for_person(world, name):
                await controller.submit(ClearHost(host, "a person"))
        for name, rollout in tuple(world.active()):
            if rollout.header.paused is not None and rollout.header.paused.by == FLEETD:
                await self._submit(controller, Request(0.0, "resume"), name)
        if self.loop.time() < self.scenario.quiet_at_s + QUIET_S:
            return
        for name, rollout in tuple(world.active()):
            for host in tuple(rollout.tally.hosts[Mark.STARTABLE]):
                if waits_for_group(world, rollout, host, self.clock.now()) is not None:
                    await self._submit(controller, Request(0.0, "skip", (host,)), name)

    async def _submit(self, controller: Controller, request: Request, about: str = "r-1") -> None:
        try:
            match request.kind:
                case "deploy":
                    # The key makes a request that a crash left unanswered harmless to repeat.
                    version = 2 + sum(r.kind == "deploy" and r.at_s < request.at_s for r in self.scenario.requests)
                    await controller.submit(spec_of(self.scenario, request, version))
                case "reboot":
                    await controller.submit(reboot_of(self.scenario, request))
                case "abort":
                    await controller.submit(AbortRollout("r-1", "a person"))
                case "pause":
                    await controller.submit(PauseRollout("r-1", "a person"))
                case "resume":
                    await controller.submit(ResumeRollout(about, "a person"))
                case "promote":
                    await controller.submit(PromoteRollout("r-1", "a person"))
                case "skip":
                    await controller.submit(SkipHost(about, request.hosts[0], "a person"))
                case "freeze":
                    await controller.submit(FreezeFleet("a person", "a freeze", for_s=request.for_s))
                case "unfreeze":
                    await controller.submit(UnfreezeFleet("a person"))
                case "lock":
                    for host in request.hosts:
                        await controller.submit(LockHost(host, "a person", "a lock", for_s=request.for_s))
                case "unlock":
                    for host in request.hosts:
                        await controller.submit(UnlockHost(host, "a person"))
                case "retry":
                    for host in request.hosts:
                        await controller.submit(RetryHost("r-1", host, "a person"))
                case _:
                    await controller.submit(RollBackRollout("r-1", "a person"))
        except RefusedError:
            self._refused = True  # it was over by then, or held back from the start

    # -- crashes ------------------------------------------------------------------------------------------------

    def _before_append(self, _records: Sequence[Record]) -> None:
        self.appends += 1
        crash = self._crash_at.get(self.appends)
        if crash is not None and crash.refused:
            self._leave(crash)
            raise JournalError("the disk is full")
        if crash is not None and not crash.durable:
            self._die(crash)

    def _after_append(self, records: Sequence[Record]) -> None:
        self.watch.appended(records)
        crash = self._crash_at.get(self.appends)
        if crash is not None and crash.durable:
            self._die(crash)

    def _die(self, crash: Crash) -> None:
        self._leave(crash)
        raise _Died

    def _leave(self, crash: Crash) -> None:
        self._away_s = crash.away_s
        self.clock = VirtualClock(self.loop, self.clock.set_by_s + crash.clock_s)

    def _replayed_right(self, controller: Controller) -> None:
        """What a controller reads from disk is what its predecessor had made durable, and nothing else."""
        mine, read = self.watch.world, controller.world
        require(mine.seq == read.seq and mine.term == read.term, "replay: another head")
        require(mine.records == read.records, "replay: other records of hosts")
        for name, rollout in mine.rollouts.items():
            require(rollout.header == read.rollouts[name].header, f"replay: another header of {name}")
            require(rollout.hosts == read.rollouts[name].hosts, f"replay: other hosts of {name}")
        require(list(mine.hooks.items()) == list(read.hooks.items()), "replay: other hooks")

    # -- the world ----------------------------------------------------------------------------------------------

    def _stepped(self, machine: SimMachine) -> None:
        try:
            self.watch.stepped(machine)
        except ViolationError as error:
            self.failures.append(error)

    def _cycled(self, machine: SimMachine) -> None:
        try:
            self.watch.cycled(machine)
        except ViolationError as error:
            self.failures.append(error)

    def _kept(self, wanted: WantedRoots) -> None:
        try:
            self.watch.kept(wanted)
        except ViolationError as error:
            self.failures.append(error)

    def _happen(self, mishap: Mishap) -> None:
        machine = self.machines[mishap.host]
        self.watch.mishap(mishap, self.loop.time())
        self.watch.trace.append(f"- {self.clock.now():.3f} {mishap.host} {mishap.kind}")
        match mishap.kind:
            case "link":
                self._for_a_while(machine, "hears", False, mishap.for_s)
                self._for_a_while(machine, "answers", False, mishap.for_s)
            case "deaf":
                self._for_a_while(machine, "hears", False, mishap.for_s)
            case "mute":
                self._for_a_while(machine, "answers", False, mishap.for_s)
            case "uplink":
                self.watch.uplink_cut(self.loop.time())
                self._for_a_while(self.uplink, "up", False, mishap.for_s)
            case "names":
                self._for_a_while(self.uplink, "names", False, mishap.for_s)
            case "disk":
                self._for_a_while(machine, "disk_full", True, mishap.for_s)
            case "power":
                machine.power_cut(mishap.for_s)
            case "guard":
                machine.kill_guard()
            case "commit":
                machine.kill_commit()
            case "state":
                self.watch.state_lost(mishap.host)
                machine.lose_state()
            case "menu":
                machine.boot_other(system(mishap.host, 9), mishap.for_s)
            case _:
                machine.meddle(system(mishap.host, 9))

    def _for_a_while(self, machine: SimMachine | Uplink, what: str, value: bool, for_s: float) -> None:
        setattr(machine, what, value)
        self.loop.call_later(for_s, setattr, machine, what, not value)

    def _calm(self) -> None:
        self.hosts.weather = self.pusher.weather = Weather()
        self.hooks.calm()

    def _is_over(self) -> bool:
        rollouts = self.watch.world.rollouts.values()
        lost = any(self.watch.world.unproven()) or len(self.watch.world.hooks) > 0
        # Whoever is still out of reach is waited for until nothing goes wrong any more, and somebody has noticed a
        # machine that hangs in its boot: windows may have let it be rebooted long after the last mishap.
        quiet_at = max(self.scenario.quiet_at_s, self.watch.world.last_at - EPOCH_S + POWER_CYCLED_S)
        if lost and self.loop.time() < quiet_at + QUIET_S:
            return False
        until_s = self.scenario.quiet_at_s + (LIVELY_S if self._owed_now() else QUIET_S)
        if self.scenario.observe_s is not None and self.watch.world.owing and self.loop.time() < until_s:
            return False
        pending = self._waiting or any(r.at_s > self.loop.time() for r in self.scenario.requests)
        return (
            (bool(rollouts) or self._refused)
            and not pending
            and all(rollout.header.phase.is_final for rollout in rollouts)
        )

    def _owed_now(self) -> list[str]:
        """Hosts that nothing keeps from what they are owed, and for which nothing was tried yet."""
        found = []
        for name in self.watch.world.owing:
            owed, machine = self.watch.world.record(name).owed, self.machines[name]
            watched = self.scenario.observe_s is not None and name not in self.scenario.meddled
            idle = machine.host.state in STILL and machine.host.current == machine.host.profile
            if watched and machine.reachable and idle and owed is not None and not owed.tries and not owed.given_up:
                found.append(name)
        return found

    def _raise_failures(self) -> None:
        if self.failures:
            raise self.failures[0]

    def _hosts_work(self) -> None:
        """Every host ends on a system that works, or on the one it has says that a person is needed."""
        self._raise_failures()
        require(not self._owed_now(), f"owed, back, and nothing was tried: {self._owed_now()}")
        unknown = [place for place in self.watch.world.unproven() if place[1] not in self.scenario.meddled]
        require(not unknown, f"still unknown: {unknown}")
        self.watch.hooks.at_the_end(self.scenario.meddled)
        for name, machine in self.machines.items():
            host = machine.host
            if name in self.scenario.meddled or host.state in (HelperState.STRANDED, HelperState.INTERFERED):
                continue
            # A test goes on running over what boots, and what was staged waits for a boot.
            known = host.current in (host.profile, host.kept) or self.watch.world.record(name).staged == host.profile
            whole = known and host.profile == host.boot_default
            require(whole, f"{name} runs {host.current}, has {host.profile} and boots {host.boot_default}")

    def _where(self) -> str:
        world = self.watch.world
        return "; ".join(
            f"{name} {rollout.header.phase.value} {[shown(state) for state in rollout.hosts.values()]}"
            for name, rollout in world.rollouts.items()
        )
