"""The loop: commands and outcomes in, decided, made durable in one transaction, then answered and carried out.

Nothing is answered, shown or started before it is on disk. Any failure to write ends the process: systemd starts it
again, and what is on disk is what is so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from fleetd.controller import calendar, catching_up, patrolling
from fleetd.controller.commands import (
    AbortRollout,
    Accepted,
    AdoptHost,
    ApproveWave,
    ClearHost,
    DenyWave,
    FreezeFleet,
    HoldCommand,
    LockHost,
    PauseRollout,
    PromoteRollout,
    RequestKey,
    ResumeRollout,
    RetryHost,
    RollBackRollout,
    RolloutVerb,
    SkipHost,
    UnfreezeFleet,
    UnlockHost,
)
from fleetd.controller.folding import fold, records_of
from fleetd.controller.holds import held, refuse_held, refuse_unreadable
from fleetd.controller.models import models_of
from fleetd.controller.retention import shorten
from fleetd.controller.verbs import adopting, clearing, ending, said
from fleetd.errors import FleetdError, JournalError, OverloadedError, RefusedError, UsageError
from fleetd.executor.broken import Outcome
from fleetd.executor.executor import Executor, Job
from fleetd.ports import ForwardClock, Journal, Record
from fleetd.rollout import events as e
from fleetd.rollout.blame import to_tell
from fleetd.rollout.codec import encode_event
from fleetd.rollout.decision import (
    CancelCopy,
    Extend,
    Inspect,
    LockRevision,
    LookAt,
    Observe,
    ProbeRound,
    Question,
    Reach,
    Unlock,
    Witness,
)
from fleetd.rollout.documents import rollout_document
from fleetd.rollout.observations import Observed, note
from fleetd.rollout.planner import plan
from fleetd.rollout.roots import kept_on, wanted_roots
from fleetd.rollout.spec import RolloutSpec, rollout_name
from fleetd.rollout.states import Copying, Pending
from fleetd.rollout.transitions import IllegalTransition
from fleetd.rollout.world import World

INBOX_LIMIT = 1000
OUTCOMES_A_TICK = 5000

SHORTEST_SLEEP_S = 0.01

BURST_S = 0.05
"""At most twenty transactions a second while answers pour in: a request waits no longer than a person notices."""

LARGEST_SLEEP_S = 60.0
"""However far the next deadline is, the loop looks round once a minute."""

Intake = RolloutSpec | AbortRollout | RollBackRollout | RequestKey | AdoptHost | ClearHost | HoldCommand | RolloutVerb


@dataclass(slots=True)
class _Waiting:
    command: Intake
    answer: asyncio.Future[Accepted]


class Controller:
    """Owns the world. One task runs ``run``; everything else speaks through the inbox and ``report``."""

    def __init__(
        self,
        *,
        clock: ForwardClock,
        journal: Journal,
        executor: Executor,
        between: patrolling.Between | None = None,
    ) -> None:
        self._clock = clock
        self._journal = journal
        self._executor = executor
        self._between = between or patrolling.Between()
        self.world = World()
        self.world.patrol.every_s = self._between.every_s
        self._inbox: list[_Waiting] = []
        self._outcomes: list[Outcome] = []
        self._wake = asyncio.Event()
        self._keys: dict[str, str] = {}
        self.started = False
        self.durable_seq = 0
        """The newest record that is on disk: what may be shown."""
        self.on_tick: Callable[[], None] = lambda: None
        executor.report = self.report

    # -- in -----------------------------------------------------------------------------------------------------

    def report(self, outcome: Outcome) -> None:
        """Take in an outcome; the loop looks at it in its next tick."""
        self._outcomes.append(outcome)
        self._wake.set()

    async def submit(self, command: Intake) -> Accepted:
        """Return when the command is durable. Raises OverloadedError, UsageError, NotFoundError, RefusedError."""
        if len(self._inbox) >= INBOX_LIMIT:
            raise OverloadedError(f"{INBOX_LIMIT} requests are waiting already; try again in a second")
        waiting = _Waiting(command, asyncio.get_running_loop().create_future())
        self._inbox.append(waiting)
        self._wake.set()
        return await waiting.answer

    async def repeat(self, key: RequestKey) -> Accepted | None:
        """Return what an earlier request of this key was answered; None when there was none. Raises UsageError."""
        if key.name not in self._keys:
            return None
        # Through the inbox: a request that is being written just now is durable once this is answered.
        return await self.submit(key)

    # -- life ---------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Take the journal over and fold it. Raises JournalError naming a record that cannot be."""
        term = await self._journal.open()
        for record in await self._journal.replay():
            self._replay(record)
        if self.world.recovering:
            raise JournalError("a recovery was begun and did not end: run `fleetd recover` again")
        # The journal's time never goes back; one that stood still until a clock that was set back has caught up would
        # let no deadline pass and every answer look old.
        self._clock.go_on_from(self.world.last_at)
        at = max(self._clock.now(), self.world.last_at)
        away_s = max(0.0, at - self.world.last_at) if self.world.last_at else 0.0
        calendar.refresh(self.world, at)
        started = e.ControllerStarted(at, term, away_s)
        self.world.apply(started)
        await self._append([started])
        self._keep_roots()
        self.started = True

    def _replay(self, record: Record) -> None:
        event = fold(self.world, record)
        if isinstance(event, e.RolloutRequested) and event.spec.key is not None:
            self._keys[event.spec.key] = event.rollout

    async def shorten(self, keep_s: float) -> int:
        """Put a baseline in the place of what ended more than ``keep_s`` ago (``retention``). Raises JournalError."""
        return await shorten(self.world, self._journal, self._keys, self._clock.now() - keep_s)

    async def run(self) -> None:
        """Tick until cancelled. Raises JournalError, after which the process must end."""
        while True:
            began = self._clock.now()
            wake_at = await self.tick()
            self.on_tick()
            if wake_at is not None and wake_at <= self._clock.now():
                await asyncio.sleep(0)
                continue
            wait_s = LARGEST_SLEEP_S if wake_at is None else min(LARGEST_SLEEP_S, wake_at - self._clock.now())
            with suppress(TimeoutError):
                async with asyncio.timeout(max(SHORTEST_SLEEP_S, wait_s)):
                    await self._wake.wait()
            # What arrives in a burst is looked at together; what comes alone is looked at at once.
            pause_s = began + BURST_S - self._clock.now()
            if pause_s > 0:
                await self._clock.sleep(pause_s)
            self._wake.clear()

    async def tick(self) -> float | None:
        """Do one round; returns when the next one is due at the latest."""
        now = max(self._clock.now(), self.world.last_at)
        events: list[e.Event] = []
        answers: list[tuple[_Waiting, str, bool]] = []
        outcomes, self._outcomes = self._outcomes[:OUTCOMES_A_TICK], self._outcomes[OUTCOMES_A_TICK:]
        for outcome in outcomes:
            self._admit(outcome, now, events)
        inbox, self._inbox = self._inbox, []
        for waiting in inbox:
            self._take(waiting, now, events, answers)
        calendar.refresh(self.world, now)
        patrolling.refresh(self.world, self._between.fleet(), now)
        for met in catching_up.met(self.world, self._between, now):
            events.append(met)
            self.world.apply(met)
        for spec in catching_up.due(self.world, self._between, now):
            events.append(self._requested(spec, now))
            self.world.apply(events[-1])
        decision = plan(self.world, self._executor.capacity(), now)
        self.world.agenda.settle(decision.visits, now)
        for event in decision.events:
            self.world.apply(event)
            events.append(event)
        if events:
            await self._append(events)
        for waiting, rollout, repeated in answers:
            document = rollout_document(self.world, self.world.rollouts[rollout], now) if rollout else {}
            if not waiting.answer.done():
                waiting.answer.set_result(Accepted(rollout, document, repeated))
        if any(isinstance(event, e.RolloutRequested | e.RolloutFinished) for event in events):
            self._keep_roots()
        for event in decision.events:
            self._start(event)
        for event in events:
            asked = to_tell(self.world, event)
            if asked is not None:
                self._executor.tell_changes(asked)
        for question in decision.questions:
            self._ask(question)
        # A decision may make the next one possible at once; and nobody wakes the loop again for what was left over.
        return now if events or self._outcomes else self.world.agenda.next_at()

    # -- one tick -----------------------------------------------------------------------------------------------

    def _admit(self, outcome: Outcome, now: float, events: list[e.Event]) -> None:
        """Outcomes are admitted, never trusted: an illegal one is kept for people and changes nothing."""
        if isinstance(outcome, Observed):
            note(self.world, outcome)
            return
        # The journal's time never goes back, whatever order outcomes come in.
        event = replace(outcome, at=now)
        try:
            self.world.apply(event)
        except IllegalTransition as error:
            rollout = getattr(outcome, "rollout", "")
            if rollout not in self.world.rollouts:
                return
            kind, _rollout, host, _data = encode_event(outcome)
            event = e.OutcomeRejected(now, rollout, host, kind, str(error)[:500])
            self.world.apply(event)
        events.append(event)

    def _take(
        self, waiting: _Waiting, now: float, events: list[e.Event], answers: list[tuple[_Waiting, str, bool]]
    ) -> None:
        try:
            said_events, rollout, repeated = self._events_of(waiting.command, now)
            refuse_unreadable(self.world, said_events)
            for event in said_events:
                self._call_off(event)
                self.world.apply(event)
                events.append(event)
                if isinstance(event, e.RolloutRequested) and event.spec.key is not None:
                    self._keys[event.spec.key] = rollout
            answers.append((waiting, rollout, repeated))
        except (FleetdError, IllegalTransition) as error:
            # Whoever asked may be gone by now: that ends no loop.
            if not waiting.answer.done():
                refused = error if isinstance(error, FleetdError) else RefusedError(str(error))
                waiting.answer.set_exception(refused)

    def _events_of(self, command: Intake, now: float) -> tuple[Sequence[e.Event], str, bool]:
        """Return what a command becomes, the rollout that it is about, and whether it was so already."""
        match command:
            case RolloutSpec():
                if command.key is not None and command.key in self._keys:
                    return (), self._repeated(RequestKey(command.key, command.request)), True
                refuse_held(self.world, command)
                dropped = catching_up.dropped(self.world, self._between.fleet(), command, now)
                requested = self._requested(command, now)
                return (*dropped, requested), requested.rollout, False
            case RequestKey():
                return (), self._repeated(command), True
            case LockHost() | UnlockHost() | FreezeFleet() | UnfreezeFleet():
                changes = held(self.world, command, now)
                return changes, "", not changes
            case AdoptHost():
                adopted = adopting(self.world, command, now)
                return adopted, "", not adopted
            case ClearHost():
                return (cleared := clearing(self.world, command, now)), getattr(cleared[0], "rollout", ""), False
            case (
                PauseRollout()
                | ResumeRollout()
                | PromoteRollout()
                | ApproveWave()
                | DenyWave()
                | RetryHost()
                | SkipHost()
            ):
                outcome = said(self.world, command, now)
                return outcome.events, command.rollout, not outcome.events
            case AbortRollout() | RollBackRollout():
                ended = ending(self.world, command, now).events
                return ended, command.rollout, not ended

    def _requested(self, spec: RolloutSpec, now: float) -> e.RolloutRequested:
        name = rollout_name(self.world.numbered + 1)
        return e.RolloutRequested(now, name, replace(spec, id=name))

    def _call_off(self, event: e.Event) -> None:
        """End the copy to a host that is skipped; where the word of it is lost in a crash, it is begun again."""
        if isinstance(event, e.HostSkipped):
            rollout = self.world.rollouts[event.rollout]
            state = rollout.hosts.get(event.host)
            if isinstance(state, Copying):
                cancel = CancelCopy(event.rollout, event.host, state.flight.fence)
                self._executor.ask(cancel, rollout.header.spec)

    def _repeated(self, key: RequestKey) -> str:
        """Return the rollout of a key that was seen before. Raises UsageError when it asked for something else."""
        known = self._keys[key.name]
        before = self.world.rollouts[known].header.spec.request
        # Journals from before digests were kept have none: the key alone is believed, which starts nothing twice.
        if before and before != key.digest:
            raise UsageError(f"the key {key.name!r} belongs to {known}, which asked for something else")
        return known

    async def _append(self, events: Sequence[e.Event]) -> None:
        records = records_of(events, self.world.seq - len(events) + 1, self.world.term)
        await self._journal.append(records, models_of(self.world, events))
        self.durable_seq = self.world.seq

    # -- out ----------------------------------------------------------------------------------------------------

    def _keep_roots(self) -> None:
        self._executor.keep_roots(lambda: wanted_roots(self.world))

    def _start(self, event: e.Event) -> None:
        if isinstance(event, e.IntentEvent):
            rollout = self.world.rollouts[event.rollout]
            state, header = rollout.hosts[event.host], rollout.header
            derivation = state.derivation if isinstance(state, Pending) else None
            keep = kept_on(self.world.record(event.host))
            self._executor.start(Job(event, header.spec, state.task, derivation, header.locked, keep))

    def _ask(self, question: Question) -> None:
        match question:
            case Witness():
                self.world.contacts.asked(question.host, self._clock.now())
                self._executor.witness(question.host)
                return
            case Observe():
                self.world.patrol.asked(question.host, self._clock.now())
                self._executor.observe(question)
                return
            case LookAt():
                self.world.looking[question.host] = None
            case LockRevision():
                self.world.locking = question.rollout
            case Inspect() | Reach() | ProbeRound():
                self.world.observation(question.rollout, question.host).asking = type(question).__name__
            case Extend():
                self.world.observation(question.rollout, question.host).extending = True
            case Unlock():
                self.world.observation(question.rollout, question.host).unlocking = True
            case _:
                pass
        self._executor.ask(question, self.world.rollouts[question.rollout].header.spec)
