"""The world: every rollout and host as the fold of all events, and beside it what was observed and may be forgotten.

One mutable container owned by the loop. ``apply`` computes first and assigns last: an illegal event raises and has
changed nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from fleetd.model.check import CheckResult
from fleetd.model.facts import HostFacts
from fleetd.model.fleet import Prebuilt
from fleetd.model.store_path import StorePath
from fleetd.rollout import events as e
from fleetd.rollout.header import Header, evolve_header, new_header
from fleetd.rollout.health import Health
from fleetd.rollout.spec import HostPlan, Kind
from fleetd.rollout.states import (
    Committed,
    Copied,
    Copying,
    Current,
    Failed,
    HostState,
    Pending,
    Reverted,
    RolledBack,
    Stranded,
    Switching,
    Task,
    Trial,
    is_final,
    is_unproven,
)
from fleetd.rollout.transitions import IllegalTransition, after_restart, evolve


@dataclass(frozen=True, slots=True)
class HostRecord:
    """What fleetd owes a host and last left there; kept apart from rollouts, and longer.

    ``tried`` is what it was last told to try, until it is known to run something else: a stranded host may run it.
    ``stranded`` is why going back failed there; nothing is started on it until a person clears it.
    """

    wanted: StorePath | None = None
    last_good: StorePath | None = None
    good_before: StorePath | None = None
    left: StorePath | None = None
    machine_id: str = ""
    tried: StorePath | None = None
    stranded: str = ""


@dataclass(slots=True)
class Observation:
    """What was seen of a host in its present step. Volatile: lost in a crash, and that is safe.

    ``step`` is different for each step of a host: an answer that was asked for in an earlier one proves nothing about
    this one. ``asking`` is set while a question is under way, so that it is not asked twice.
    """

    step: int
    facts: HostFacts | None = None
    baseline: tuple[CheckResult, ...] = ()
    inspected_at: float | None = None
    reached_at: float | None = None
    asked_at: float = 0.0
    """When the host last failed to answer; ``failures`` is how often in a row, ``unreachable`` what was said."""
    unreachable: str = ""
    failures: int = 0
    health: Health = field(default_factory=Health)
    asking: str = ""
    next_round_at: float = 0.0
    extended_at: float = 0.0
    extending: bool = False


@dataclass(slots=True)
class Rollout:
    """One rollout: its header, and each host's state and plan, in the order of the spec."""

    header: Header
    hosts: dict[str, HostState]
    plans: Mapping[str, HostPlan]


class World:
    """Everything that is so, as far as the journal says."""

    def __init__(self) -> None:
        self.term = 0
        self.seq = 0
        self.last_at = 0.0
        self.rollouts: dict[str, Rollout] = {}
        self.freed_at = 0.0
        """When an unproven host last ended, in whatever rollout: since then more may start."""
        self._active: dict[str, Rollout] = {}
        self._unproven: dict[tuple[str, str], None] = {}
        self._claims: dict[str, list[str]] = {}
        """Of each host, the rollouts that are not final and contain it, oldest first."""
        self._steps = 0
        self.records: dict[str, HostRecord] = {}
        self.observations: dict[tuple[str, str], Observation] = {}
        self.locking: str | None = None
        """The rollout whose revision is being locked just now (volatile)."""

    def apply(self, event: e.Event) -> None:
        """Take one event into account. Raises IllegalTransition, and then nothing has changed."""
        match event:
            case e.ControllerStarted():
                self._restart(event)
            case e.RolloutRequested():
                if event.rollout in self.rollouts:
                    raise IllegalTransition(self.rollouts[event.rollout].header, event)
                hosts: dict[str, HostState] = {}
                plans = {plan.name: plan for plan in event.spec.hosts}
                for plan in event.spec.hosts:
                    prebuilt = str(plan.source.toplevel) if isinstance(plan.source, Prebuilt) else None
                    hosts[plan.name] = Pending(Task(None), derivation=prebuilt)
                self._begin(event.rollout, Rollout(new_header(event), hosts, plans))
            case e.OutcomeRejected():
                self._rollout(event)
            case (
                e.RolloutStarted()
                | e.RollingStarted()
                | e.RevisionLocked()
                | e.RevisionRefused()
                | e.WaveRefilled()
                | e.SoakStarted()
                | e.WavePassed()
                | e.RolloutFailing()
                | e.AbortRequested()
                | e.RollbackRequested()
            ):
                rollout = self._rollout(event)
                rollout.header = evolve_header(rollout.header, event)
            case e.RolloutFinished():
                rollout = self._rollout(event)
                rollout.header = evolve_header(rollout.header, event)
                self._learn_good(rollout, event.phase)
                self._end(event.rollout, rollout)
            case _:
                self._host(event)
        self.seq += 1
        self.last_at = max(self.last_at, event.at)

    def active(self) -> Iterator[tuple[str, Rollout]]:
        """Yield the rollouts that are not final, oldest first."""
        yield from self._active.items()

    def unproven(self) -> Iterator[tuple[str, str]]:
        """Yield (rollout, host) of every host that is unproven, also the lost ones of rollouts that have ended."""
        yield from self._unproven

    def record(self, host: str) -> HostRecord:
        """Return what is recorded of a host; an empty record for one never seen."""
        return self.records.get(host, HostRecord())

    def observation(self, rollout: str, host: str) -> Observation:
        """Return what was seen of a host for a rollout in its present step, making an empty one when there is none."""
        seen = self.observations.get((rollout, host))
        if seen is None:
            self._steps += 1
            seen = self.observations[rollout, host] = Observation(self._steps)
        return seen

    def owner(self, host: str) -> str | None:
        """Return the oldest rollout that is not final and contains the host."""
        claims = self._claims.get(host)
        return claims[0] if claims else None

    def _begin(self, name: str, rollout: Rollout) -> None:
        self.rollouts[name] = self._active[name] = rollout
        for host in rollout.hosts:
            self._claims.setdefault(host, []).append(name)

    def _end(self, name: str, rollout: Rollout) -> None:
        del self._active[name]
        for host in rollout.hosts:
            self._claims[host].remove(name)

    def _rollout(self, event: e.RolloutEvent | e.HostEvent | e.OutcomeRejected) -> Rollout:
        rollout = self.rollouts.get(event.rollout)
        if rollout is None:
            raise IllegalTransition("unknown rollout", event)
        return rollout

    def _host(self, event: e.HostEvent) -> None:
        rollout = self._rollout(event)
        before = rollout.hosts.get(event.host)
        if before is None:
            raise IllegalTransition("unknown host", event)
        after = evolve(before, event)
        record = _record_after(self.record(event.host), after, event)
        rollout.hosts[event.host] = after
        if _is_progress(before, after):
            rollout.header = replace(rollout.header, progress_at=event.at)
        self.records[event.host] = record
        place = (event.rollout, event.host)
        if is_unproven(after):
            self._unproven[place] = None
        elif place in self._unproven:
            del self._unproven[place]
            self.freed_at = event.at
        if type(after) is not type(before):
            # A step begins: what was seen in the last one proves nothing about this one.
            self.observations.pop((event.rollout, event.host), None)

    def _restart(self, event: e.ControllerStarted) -> None:
        if event.term <= self.term:
            raise IllegalTransition(f"term {self.term}", event)
        self.term = event.term
        self.observations.clear()
        self.locking = None
        for _name, rollout in self.active():
            rollout.header = replace(rollout.header, progress_at=rollout.header.progress_at + event.away_s)
            for host, state in rollout.hosts.items():
                rollout.hosts[host] = after_restart(state, event.at, event.away_s)
        for name, host in self.unproven():
            if name not in self._active:
                hosts = self.rollouts[name].hosts
                hosts[host] = after_restart(hosts[host], event.at, event.away_s)

    def _learn_good(self, rollout: Rollout, phase: e.Phase) -> None:
        if phase not in (e.Phase.SUCCEEDED, e.Phase.INCOMPLETE):
            return
        for host, state in rollout.hosts.items():
            if not isinstance(state, Committed | Current) or state.unhealthy or state.task.to is None:
                continue
            record, good = self.record(host), state.task.to
            before = record.last_good if record.last_good != good else record.good_before
            if rollout.header.spec.kind is Kind.ROLLBACK:
                before = None  # what was there before is what people wanted to leave
            self.records[host] = replace(record, last_good=good, good_before=before, wanted=good, left=good)


def _is_progress(before: HostState, after: HostState) -> bool:
    """Whether a host came nearer to its end: what sets the progress clock back. Being asked again does not.

    However a copy ends, it does: a host gets only so many, and each has a limit of its own.
    """
    match before, after:
        case (Copying(), Copied() | Pending()) | (Switching(), Trial()):
            return True
        case _:
            return is_final(after) and not is_final(before)


def _record_after(record: HostRecord, state: HostState, event: e.HostEvent) -> HostRecord:
    """What a host's record becomes with its new state."""
    to = state.task.to
    match state, event:
        case Switching(), e.TrialIntended():
            return replace(
                record,
                wanted=to,
                last_good=record.last_good or event.old,
                machine_id=record.machine_id or event.machine_id,
                tried=to,
            )
        case Current(), e.FoundCurrent():
            return replace(record, wanted=to, left=to, machine_id=record.machine_id or event.machine_id)
        case Committed() | RolledBack(), _ if not isinstance(event, e.HostUnhealthy):
            return replace(record, wanted=to, left=to, tried=None)
        case Stranded(reason=reason), _:
            return replace(record, stranded=reason)
        case Failed(), e.HostCleared():
            return replace(record, stranded="")
        case Reverted(), _:
            left = record.left or record.last_good
            return replace(record, wanted=left, left=left, tried=None)
        case _:
            return record
