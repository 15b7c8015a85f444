"""Carries out what was decided: one named task per effect, each with a deadline, each ending in one outcome."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass

import structlog

from fleetd.errors import FleetdError
from fleetd.executor.activity import Activity
from fleetd.executor.broken import Answerable, Outcome, broken_answer, broken_effect
from fleetd.executor.changes import Changes
from fleetd.executor.hooks import HookRuns
from fleetd.executor.looking import INSPECT_TIMEOUT_S, named, observed, slowest_s
from fleetd.executor.on_host import OnHost
from fleetd.executor.power import Power
from fleetd.executor.sources import LOCK_TIMEOUT_S, Sources
from fleetd.model.check import CheckOutcome, CheckResult
from fleetd.model.facts import HostFacts
from fleetd.model.fleet import Fleet, Host
from fleetd.model.program import LONGEST_PROGRAM_S
from fleetd.model.store_path import StorePath
from fleetd.ports import Clock, Probe, ProbeRequest, Pusher, PushReport, TargetBuilder
from fleetd.rollout import events as e
from fleetd.rollout.blame import TellChanges
from fleetd.rollout.decision import (
    SLOTS,
    CancelCopy,
    Capacity,
    Extend,
    Inspect,
    LockRevision,
    LookAt,
    Observe,
    ProbeRound,
    Question,
    Reach,
    Unlock,
)
from fleetd.rollout.observations import Inspected, LockEnded, Looked, Probed, Reached, Witnessed
from fleetd.rollout.roots import WantedRoots
from fleetd.rollout.seen import Unheard, unheard
from fleetd.rollout.spec import RolloutSpec
from fleetd.rollout.states import Task

CLOSE_TIMEOUT_S = 10.0
"""How long ending waits for tasks that were cancelled; their children are killed well before."""

ROOTS_AGAIN_S = 60.0
"""Roots that could not be made are made later: nothing that they keep is new, so a minute loses nothing."""

COMPARED_AT_ONCE = 2
"""Each reads the metadata of two closures, about 1 MB each; many hosts may fail at one time."""

QUESTION_TIMEOUT_S = 180.0
"""Facts, a fresh login and the built-in checks at their slowest; the fleet file's checks come on top. Every port has
limits of its own: this one only makes sure that a host never waits for an answer that got lost on the way."""


@dataclass(frozen=True, slots=True)
class Job:
    """An intent with everything it needs, taken from the world when it became durable."""

    intent: e.IntentEvent
    spec: RolloutSpec
    task: Task
    derivation: str | None
    locked: str | None
    keep: tuple[str, ...] = ()  # systems that the host may still go back to


class Executor:
    """Owns every task that touches the world for the controller."""

    def __init__(
        self,
        *,
        clock: Clock,
        on_host: OnHost,
        sources: Sources,
        pusher: Pusher,
        targets: TargetBuilder,
        probe: Probe,
        fleet: Callable[[], Fleet],
        limits: Capacity,
        power: Power,
        hooks: HookRuns,
        activity: Activity,
        changes: Changes | None = None,
    ) -> None:
        self._clock = clock
        self._activity = activity
        self._on_host = on_host
        self._sources = sources
        self._pusher = pusher
        self._targets = targets
        self._probe = probe
        self._fleet = fleet
        self._limits = limits
        self._changes = changes
        self._power = power
        self._hooks = hooks
        self._tasks: dict[str, tuple[str, asyncio.Task[None]]] = {}
        self._comparing = asyncio.Semaphore(COMPARED_AT_ONCE)
        self._roots_wanted: Callable[[], WantedRoots] | None = None
        self.report: Callable[[Outcome], None] = lambda _outcome: None
        """Where outcomes go; set by the controller before anything is started."""

    def capacity(self) -> Capacity:
        """Return the free slots."""
        used: dict[str, int] = {}
        for slot, _task in self._tasks.values():
            used[slot] = used.get(slot, 0) + 1
        return Capacity(**{slot: getattr(self._limits, slot) - used.get(slot, 0) for slot in SLOTS})

    def start(self, job: Job) -> None:
        """Start the effect of an intent."""
        intent = job.intent
        match intent:
            case e.EvaluateIntended():
                self._spawn("evaluate", intent, self._sources.evaluate(job.spec, intent, job.locked))
            case e.BuildIntended():
                derivation = job.derivation or ""
                self._spawn("build", intent, self._sources.build(job.spec, intent, derivation, self._host(intent.host)))
            case e.CopyIntended():
                self._spawn("copy", intent, self._copy(job, intent))
            case e.DryRunIntended():
                asked = self._on_host.dry_run(job.spec, job.task, intent, self._host(intent.host))
                self._spawn("order", intent, asked)
            case e.PowerCycleIntended():
                self._spawn("program", intent, self._power.cycle(intent, self._host(intent.host)))
            case e.HookIntended():
                revision = job.locked or job.spec.revision
                run = self._hooks.run(job.spec, job.task, intent, self._host(intent.host), revision)
                self._spawn("hook", intent, run)
            case _:
                host = self._host(intent.host)
                self._spawn("order", intent, self._on_host.carry_out(job.spec, job.task, intent, host, job.keep))

    def ask(self, question: Question, spec: RolloutSpec) -> None:
        """Start asking a question."""
        match question:
            case LockRevision():
                self._answer("evaluate", f"lock/{question.rollout}", question, self._lock(question), 3 * LOCK_TIMEOUT_S)
            case Inspect():
                limit_s = QUESTION_TIMEOUT_S + slowest_s(named(spec, question.checks))
                self._answer("probe", _task_name("inspect", question), question, self._inspect(question, spec), limit_s)
            case Reach():
                self._answer("reach", _task_name("reach", question), question, self._reach(question))
            case Unlock():
                limit_s = QUESTION_TIMEOUT_S + LONGEST_PROGRAM_S
                self._answer("program", _task_name("unlock", question), question, self._unlock(question), limit_s)
            case LookAt():
                limit_s = QUESTION_TIMEOUT_S + slowest_s(named(spec, question.checks))
                self._answer("probe", f"look/{question.host}", question, self._look(question, spec), limit_s)
            case ProbeRound():
                limit_s = QUESTION_TIMEOUT_S + slowest_s(named(spec, question.checks))
                self._answer("probe", _task_name("probe", question), question, self._round(question, spec), limit_s)
            case Extend():
                asked = self._on_host.extend(question, spec, self._host(question.host), self.report)
                self._answer("extend", _task_name("extend", question), question, asked)
            case CancelCopy():
                running = self._tasks.get(f"copy/{question.host}/{question.fence}")
                if running is not None:
                    running[1].cancel()

    def witness(self, name: str) -> None:
        """Start asking a host whether it answers, because another one fell silent."""
        self._run("reach", f"witness/{name}", self._witness(name))

    def observe(self, question: Observe) -> None:
        """Start looking at a host that is in no rollout."""
        limit_s = QUESTION_TIMEOUT_S + slowest_s(question.checks)
        self._answer("observe", f"observe/{question.host}", question, self._observe(question), limit_s)

    async def _observe(self, question: Observe) -> None:
        self.report(await observed(self._on_host, self._probe, question, self._fleet(), self._clock.now))

    async def _witness(self, name: str) -> None:
        try:
            why, kind = await self._contact(name)
        except Exception as fault:
            _tell(f"asking {name} broke", fault)
            why, kind = f"a fault in fleetd itself: {fault}", Unheard.UNREACHABLE
        self.report(Witnessed(self._clock.now(), name, why, kind))

    def tell_changes(self, asked: TellChanges) -> None:
        """Say what differs on a host that has failed; nothing waits for it."""
        name = f"changes/{asked.rollout}/{asked.host}"
        if self._changes is not None and name not in self._tasks:
            self._run("changes", name, self._tell_changes(self._changes, asked))

    async def _tell_changes(self, changes: Changes, asked: TellChanges) -> None:
        try:
            async with self._comparing:
                told = await changes.tell(asked)
        except Exception as fault:
            _tell(f"comparing what failed on {asked.host} broke", fault)
            return
        if told is not None:
            self.report(told)

    def keep_roots(self, wanted: Callable[[], WantedRoots]) -> None:
        """Bring the control node's roots to what is wanted; asked again meanwhile, it is done once more."""
        self._roots_wanted = wanted
        running = self._tasks.get("roots")
        if running is None or running[1].done():
            self._run("roots", "roots", self._keep_roots())

    async def _keep_roots(self) -> None:
        while wanted := self._roots_wanted:
            try:
                await self._sources.keep(wanted)
            except FleetdError as error:
                structlog.get_logger().warning("roots", error=str(error), again_in_s=ROOTS_AGAIN_S)
                await self._clock.sleep(ROOTS_AGAIN_S)
                continue
            if self._roots_wanted is wanted:
                self._roots_wanted = None

    async def settle(self, timeout_s: float) -> None:
        """Wait for the renewals that are under way, bounded."""
        renewals = [task for slot, task in self._tasks.values() if slot == "extend"]
        if renewals:
            await asyncio.wait(renewals, timeout=timeout_s)

    async def close(self) -> None:
        """Cancel everything and wait, bounded. Orders that were sent are settled by the next start."""
        tasks = [task for _slot, task in self._tasks.values()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=CLOSE_TIMEOUT_S)

    def _host(self, name: str) -> Host | None:
        return self._fleet().hosts.get(name)

    def _spawn(self, slot: str, intent: e.IntentEvent, effect: Coroutine[None, None, Outcome]) -> None:
        async def to_outcome() -> None:
            try:
                outcome = await effect
            except Exception as fault:
                _tell(f"the effect of {type(intent).__name__} on {intent.host} broke", fault)
                outcome = broken_effect(intent, fault, self._clock.now())
            self.report(outcome)

        self._run(slot, f"{slot}/{intent.host}/{intent.fence}", to_outcome())

    def _answer(
        self,
        slot: str,
        name: str,
        question: Answerable,
        work: Coroutine[None, None, None],
        limit_s: float = QUESTION_TIMEOUT_S,
    ) -> None:
        async def to_answer() -> None:
            try:
                async with asyncio.timeout(limit_s):
                    await work
            except Exception as fault:
                _tell(f"the answer to {type(question).__name__} broke ({name})", fault)
                for outcome in broken_answer(question, fault, self._clock.now()):
                    self.report(outcome)

        self._run(slot, name, to_answer())

    def _run(self, slot: str, name: str, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks[name] = (slot, task)

        def ended(done: asyncio.Task[None]) -> None:
            if self._tasks.get(name, ("", None))[1] is done:
                del self._tasks[name]

        task.add_done_callback(ended)

    async def _lock(self, question: LockRevision) -> None:
        self.report(await self._sources.lock(question))
        self.report(LockEnded(question.rollout))

    async def _copy(self, job: Job, intent: e.CopyIntended) -> Outcome:
        host, to = self._host(intent.host), job.task.to
        if host is None or to is None:
            return self._refused(intent, "unknown-host", f"{intent.host} is no longer in the fleet file")

        try:
            if job.task.derivation:
                report = await self._built_there(intent, host, StorePath(job.task.derivation), to)
            else:
                report = await self._pushed(intent, host, to, push_root(intent.rollout))
        except FleetdError as error:
            return self._refused(intent, str(getattr(error, "code", error.kind)), str(error))
        now = self._clock.now()
        return e.CopyDone(now, intent.rollout, intent.host, intent.fence, report.paths, report.bytes)

    async def _pushed(self, intent: e.CopyIntended, host: Host, path: StorePath, root: str) -> PushReport:
        """Send a closure, in the time that is left. Raises FleetdError."""
        left_s = max(1.0, intent.deadline - self._clock.now())
        with self._activity.copying(intent.rollout, intent.host) as doing:

            def progress(sent: int, total: int) -> None:
                doing.sent, doing.total = sent, total

            return await self._pusher.push(host, path, root=root, progress=progress, timeout_s=left_s)

    async def _built_there(
        self, intent: e.CopyIntended, host: Host, derivation: StorePath, to: StorePath
    ) -> PushReport:
        """Send what the host builds its system from, and have it built there. Raises FleetdError."""
        report = await self._pushed(intent, host, derivation, derivation_root(intent.rollout))
        left_s = max(1.0, intent.deadline - self._clock.now())
        async with self._activity.building(intent.rollout, intent.host, f"{derivation} on {host.name}") as told:
            root = push_root(intent.rollout)
            await self._targets.build(host, derivation, to, root=root, timeout_s=left_s, told=told)
        return report

    def _refused(self, intent: e.CopyIntended, kind: str, reason: str) -> e.CopyRefused:
        word = "lost" if kind == "outcome-unknown" else kind
        return e.CopyRefused(self._clock.now(), intent.rollout, intent.host, intent.fence, word, reason)

    async def _inspect(self, question: Inspect, spec: RolloutSpec) -> None:
        host = self._host(question.host)
        if host is None:
            self._inspected(question, None, (), f"{question.host} is no longer in the fleet file", "")
            return
        try:
            facts = await self._on_host.facts(host, timeout_s=INSPECT_TIMEOUT_S)
        except FleetdError as error:
            self._inspected(question, None, (), str(error), error.kind)
            return
        request = ProbeRequest(named(spec, question.checks), (), None, None)
        results = await self._probe.round(host, request) if question.checks else ()
        self._inspected(question, facts, results, "", "")

    def _inspected(
        self, question: Inspect, facts: HostFacts | None, results: tuple[CheckResult, ...], why: str, kind: str
    ) -> None:
        now, place = self._clock.now(), (question.rollout, question.host, question.step)
        self.report(Inspected(now, *place, facts, results, why, unheard(kind)))

    async def _reach(self, question: Reach) -> None:
        why, kind = await self._contact(question.host)
        aids = self._power.aids(self._host(question.host))
        self.report(Reached(self._clock.now(), question.rollout, question.host, question.step, why, aids, kind))

    async def _unlock(self, question: Unlock) -> None:
        self.report(await self._power.unlock(question, self._host(question.host)))

    async def _look(self, question: LookAt, spec: RolloutSpec) -> None:
        why, kind = await self._contact(question.host)
        host, answered = self._host(question.host), not why
        if host is not None and answered and question.checks:
            request = ProbeRequest(named(spec, question.checks), (), None, None)
            results = await self._probe.round(host, request)
            bad = [f"{result.check}: {result.text}" for result in results if result.outcome is not CheckOutcome.PASS]
            why = "; ".join(bad)
        self.report(Looked(self._clock.now(), question.host, answered, why, kind))

    async def _contact(self, name: str) -> tuple[str, Unheard]:
        """Ask a host for its facts; returns why it did not give them, empty when it did, and of what kind that is."""
        host = self._host(name)
        if host is None:
            return f"{name} is no longer in the fleet file", Unheard.UNREACHABLE
        try:
            await self._on_host.facts(host, timeout_s=INSPECT_TIMEOUT_S)
        except FleetdError as error:
            return str(error), unheard(error.kind)
        return "", Unheard.UNREACHABLE

    async def _round(self, question: ProbeRound, spec: RolloutSpec) -> None:
        host = self._host(question.host)
        checks = named(spec, question.checks)
        request = ProbeRequest(checks, question.builtin, question.expect, question.boot_default)
        results = await self._probe.round(host, request) if host is not None else ()
        place = (question.rollout, question.host, question.step)
        self.report(Probed(self._clock.now(), *place, results, question.required, question.interval_s))


def _tell(what: str, fault: Exception) -> None:
    """Report a fault the way asyncio reports a task's: to the loop's handler, which logs it with its traceback."""
    asyncio.get_running_loop().call_exception_handler({"message": what, "exception": fault})


def _task_name(word: str, question: Inspect | Reach | Unlock | ProbeRound | Extend) -> str:
    return f"{word}/{question.rollout}/{question.host}/{question.step}"


def push_root(rollout: str) -> str:
    """Return the name under which hosts keep what was copied for a rollout, until a trial has roots of its own."""
    return f"{rollout}-next"


def derivation_root(rollout: str) -> str:
    """Return the name under which a host that builds itself keeps what it builds from: the next copy removes it."""
    return f"{rollout}-drv-next"
