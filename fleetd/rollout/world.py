"""The world: every rollout and host as the fold of all events, and beside it what was observed and may be forgotten.

One mutable container owned by the loop. ``apply`` computes first and assigns last: an illegal event raises and has
changed nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from fleetd.model.fence import Fence
from fleetd.model.fleet import Prebuilt
from fleetd.rollout import events as e
from fleetd.rollout import owed
from fleetd.rollout.agenda import Agenda
from fleetd.rollout.contact import Contacts
from fleetd.rollout.fleetwide import Fleetwide
from fleetd.rollout.header import Header, after_absence, evolve_header, new_header
from fleetd.rollout.health import Health
from fleetd.rollout.hooks import Hooks
from fleetd.rollout.openings import Openings
from fleetd.rollout.record import HostRecord as HostRecord  # noqa: PLC0414 - imported from here as well
from fleetd.rollout.record import adopted, proved_good, record_after, record_recovered
from fleetd.rollout.seen import Look, Observation
from fleetd.rollout.sightings import Patrol
from fleetd.rollout.spec import HostPlan, dependents_of, number_of
from fleetd.rollout.states import (
    Committed,
    Current,
    Direction,
    HostState,
    Pending,
    Task,
    is_final,
    is_progress,
    is_unproven,
)
from fleetd.rollout.tally import Mark, Tally
from fleetd.rollout.terms import Terms
from fleetd.rollout.transitions import IllegalTransition, after_isolation, after_restart, evolve


@dataclass(slots=True)
class Rollout:
    """One rollout: its header, each host's state and plan in the order of the spec, and the numbers of them."""

    header: Header
    hosts: dict[str, HostState]
    plans: Mapping[str, HostPlan]
    tally: Tally
    dependents: Mapping[str, tuple[str, ...]]
    """Who depends on a host, by its name."""
    changed: dict[str, str] = field(default_factory=dict)
    """Of hosts on which it failed: what differs from the system before, in a line."""


class World:
    """Everything that is so, as far as the journal says."""

    def __init__(self) -> None:
        self.terms = Terms()
        self.seq = 0
        self.last_at = 0.0
        self.rollouts: dict[str, Rollout] = {}
        self.numbered = 0
        """The highest number that a rollout may have had: the next one gets the next."""
        self.gone = 0
        """The highest number of a rollout that is kept no more."""
        self.deployed: dict[str, str] = {}
        """By repository, the commit that the rollouts that are gone deployed last."""
        self.recovering = False
        """Whether a recovery was begun, and not ended."""
        self.freed_at = 0.0
        """When an unproven host last ended, or what held others, in whatever rollout: since then more may start. One
        that waits for another try has not: a trial that is never sent must not keep the progress clock from running
        out."""
        self._active: dict[str, Rollout] = {}
        self._unproven: dict[tuple[str, str], int] = {}
        """Each with its number in the order of becoming so."""
        self._held: dict[str, str] = {}
        self._intents = 0
        self.stakes: Counter[tuple[str, Direction]] = Counter()
        """How many hosts each rollout has unproven, by direction."""
        self.unproven_domains: Counter[str] = Counter()
        self._claims: dict[str, list[str]] = {}
        """Of each host, the rollouts that are not final and contain it, oldest first."""
        self._steps = 0
        self.records: dict[str, HostRecord] = {}
        self.owing: dict[str, None] = {}
        """Hosts that are owed a system."""
        self.observations: dict[tuple[str, str], Observation] = {}
        self.agenda = Agenda()
        self.fleetwide = Fleetwide()
        self.contacts = Contacts()
        self.openings = Openings()
        self.patrol = Patrol()
        self.hooks = Hooks()
        self.looks: dict[str, Look] = {}
        self.looking: dict[str, None] = {}
        self.locking: str | None = None
        """The rollout whose revision is being locked just now (volatile)."""

    def apply(self, event: e.Event) -> None:
        """Take one event into account. Raises IllegalTransition, and then nothing has changed."""
        match event:
            case e.ControllerStarted():
                self._restart(event)
            case e.ControllerIsolated() | e.HostLocked() | e.FreezeSet():
                self.fleetwide.apply(event)
            case e.ContactRestored():
                self.fleetwide.apply(event)
                self._heard_again(event)
            case e.HostUnlocked() | e.FreezeLifted():
                self.fleetwide.apply(event)
                self.freed_at = event.at
            case e.HostFoundUnwell() | e.HostFoundWell() | e.HostExcused():
                self._seen_anew(event)
            case e.RecoveryBegan():
                self.recovering, self.numbered = True, max(self.numbered, event.numbered)
                self.terms.recover()
            case e.RecoveryEnded():
                self.recovering = False
            case e.RolloutRequested():
                if event.rollout in self.rollouts:
                    raise IllegalTransition(self.rollouts[event.rollout].header, event)
                hosts: dict[str, HostState] = {}
                plans = {plan.name: plan for plan in event.spec.hosts}
                for plan in event.spec.hosts:
                    prebuilt = str(plan.source.toplevel) if isinstance(plan.source, Prebuilt) else None
                    hosts[plan.name] = Pending(Task(None), derivation=prebuilt)
                tally = Tally(event.spec.waves, hosts, plans)
                self._begin(event.rollout, Rollout(new_header(event), hosts, plans, tally, dependents_of(event.spec)))
            case e.OutcomeRejected():
                self._rollout(event)
            case e.HostOwed() | e.HostNotOwed() | e.HostAdopted() | e.HostRecovered():
                self._record_changed(event)
            case e.HookIntended() | e.HookEnded() | e.HookGivenUp() | e.HooksCleared():
                self._hook(event)
            case e.ChangesTold():
                self._rollout(event).changed[event.host] = event.text
            case (
                e.RolloutStarted()
                | e.RollingStarted()
                | e.RevisionLocked()
                | e.RevisionRefused()
                | e.WaveRefilled()
                | e.SoakStarted()
                | e.WavePassed()
                | e.RolloutFailing()
                | e.PauseRequested()
                | e.ResumeRequested()
                | e.PromoteRequested()
                | e.ApprovalAsked()
                | e.ApprovalGiven()
                | e.ApprovalDenied()
                | e.AbortRequested()
                | e.RollbackRequested()
                | e.RolloutSuperseded()
            ):
                rollout = self._rollout(event)
                rollout.header = evolve_header(rollout.header, event)
                self._header_changed(event, rollout)
            case e.RolloutFinished():
                rollout = self._rollout(event)
                rollout.header = evolve_header(rollout.header, event)
                self._learn_good(rollout, event.phase)
                self._learn_owed(rollout, event)
                self._end(event.rollout, rollout)
            case _:
                self._host(event)
        self.seq += 1
        self.last_at = max(self.last_at, event.at)

    @property
    def term(self) -> int:
        """The term of the controller that owns the journal."""
        return self.terms.now

    def gave(self, fence: Fence) -> bool:
        """Whether this journal may have given a fence that a host holds."""
        return self.terms.gave(fence, self.seq)

    def active(self) -> Iterator[tuple[str, Rollout]]:
        """Yield the rollouts that are not final, oldest first."""
        yield from self._active.items()

    def unproven(self) -> Iterator[tuple[str, str]]:
        """Yield (rollout, host) of every host that is unproven, also the lost ones of rollouts that have ended."""
        yield from self._unproven

    def unproven_among(self, places: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
        """Return those of some places that are unproven, in the order of ``unproven``."""
        return sorted((place for place in places if place in self._unproven), key=self._unproven.__getitem__)

    def unproven_count(self) -> int:
        """Return how many hosts are unproven."""
        return len(self._unproven)

    def holder(self, host: str) -> str | None:
        """Return the rollout in which a host is unproven."""
        return self._held.get(host)

    def record(self, host: str) -> HostRecord:
        """Return what is recorded of a host; an empty record for one never seen."""
        return self.records.get(host, HostRecord())

    def _seen_anew(self, event: e.SightingEvent) -> None:
        self.fleetwide.apply(event)
        if not isinstance(event, e.HostExcused):
            self.patrol.changed.pop(event.host, None)
        if not isinstance(event, e.HostFoundUnwell):
            self.freed_at = event.at

    def _record_changed(self, event: e.RecordEvent | e.HostRecovered) -> None:
        record = self.record(event.host)
        match event:
            case e.HostRecovered():
                self.remember(event.host, record_recovered(record, event))
            case e.HostOwed():
                passed_over = self._rollout(event).hosts.get(event.host) if event.rollout else None
                self.remember(event.host, owed.owed_from(record, event, passed_over))
            case e.HostNotOwed():
                if event.host not in self.owing:
                    raise IllegalTransition("nothing is owed", event)
                self.remember(event.host, owed.without_debt(record))
            case e.HostAdopted():
                if self.holder(event.host) is not None:
                    raise IllegalTransition(f"{event.host} is under way", event)
                self.remember(event.host, adopted(record, event))
                self.patrol.begin(event.host)

    def remember(self, host: str, record: HostRecord) -> None:
        """Keep what is recorded of a host, and with it whether it is owed a system."""
        self.records[host] = record
        if record.owed is None:
            self.owing.pop(host, None)
        else:
            self.owing[host] = None

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

    def places_of(self, host: str) -> list[tuple[str, str]]:
        """Return where a host stands in rollouts: in those that are not final, and where it is unproven."""
        names = dict.fromkeys(self._claims.get(host, ()))
        holder = self._held.get(host)
        return [(name, host) for name in (names if holder is None else {**names, holder: None})]

    def _begin(self, name: str, rollout: Rollout) -> None:
        self.rollouts[name] = self._active[name] = rollout
        self.numbered = max(self.numbered, number_of(name))
        self.agenda.touch((name, ""))
        for host in rollout.hosts:
            self._claims.setdefault(host, []).append(name)

    def _end(self, name: str, rollout: Rollout) -> None:
        del self._active[name]
        for host in rollout.hosts:
            self._claims[host].remove(name)
            if (name, host) not in self._unproven:
                # What was seen for a rollout that has ended is asked for by nobody.
                self.observations.pop((name, host), None)
        for waiting in self._active:
            self.agenda.touch((waiting, ""))

    def _header_changed(self, event: e.RolloutEvent, rollout: Rollout) -> None:
        self.agenda.touch((event.rollout, ""))
        if isinstance(event, e.WaveRefilled):
            rollout.tally.moved(event.host, rollout.hosts[event.host], event.wave)
        self.agenda.touch_all(event.rollout, rollout.tally.hosts[Mark.UNPROVEN])
        if isinstance(event, e.ResumeRequested):
            # Whoever resumes wants to see what the checks say from now on; a restart has forgotten it anyway.
            for host in rollout.hosts:
                if (seen := self.observations.get((event.rollout, host))) is not None:
                    seen.forget_errors()

    def _rollout(
        self, event: e.RolloutEvent | e.HostEvent | e.HookEvent | e.OutcomeRejected | e.ChangesTold | e.HostOwed
    ) -> Rollout:
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
        record = record_after(self.record(event.host), after, event)
        record = owed.after_event(record, rollout.header.spec, before, after, event)
        rollout.hosts[event.host] = after
        rollout.tally.changed(event.host, before, after)
        self.hooks.host_changed(rollout.header.spec, rollout.plans[event.host], before, after, event)
        if isinstance(event, e.HostRetried):
            rollout.changed.pop(event.host, None)
        if is_progress(before, after):
            rollout.header = replace(rollout.header, progress_at=event.at)
        self.remember(event.host, record)
        self.patrol.begin(event.host)
        if self.fleetwide.host_changed(event.host, before, after, event):
            self.freed_at = event.at
        place = (event.rollout, event.host)
        self.agenda.touch_all(event.rollout, (event.host, ""))
        self._count_unproven(place, rollout, after, event.at)
        if type(after) is not type(before) or isinstance(event, e.PowerCycled):
            # A step begins: what was seen in the last one proves nothing about this one.
            self.observations.pop((event.rollout, event.host), None)

    def _hook(self, event: e.HookEvent) -> None:
        rollout = self._rollout(event)
        if event.host not in rollout.hosts:
            raise IllegalTransition("unknown host", event)
        if self.hooks.apply(rollout.header.spec, rollout.plans[event.host], rollout.hosts[event.host], event):
            self.freed_at = event.at
        if isinstance(event, e.HookEnded | e.HookGivenUp):
            rollout.header = replace(rollout.header, progress_at=event.at)
        self.agenda.touch_all(event.rollout, (event.host, ""))

    def _count_unproven(self, place: tuple[str, str], rollout: Rollout, state: HostState, at: float) -> None:
        name, host = place
        stake, domain = (name, state.task.direction), rollout.plans[host].domain
        if is_unproven(state) and place not in self._unproven:
            self._intents += 1
            self._unproven[place], self._held[host] = self._intents, name
            self.stakes[stake] += 1
            self.unproven_domains[domain] += 1
        elif not is_unproven(state) and place in self._unproven:
            del self._unproven[place], self._held[host]
            self.stakes[stake] -= 1
            self.unproven_domains[domain] -= 1
            if is_final(state):
                self.freed_at = at

    def _restart(self, event: e.ControllerStarted) -> None:
        if event.term <= self.term:
            raise IllegalTransition(f"term {self.term}", event)
        self.terms.begin(event.term, self.seq)
        self.observations.clear()
        self.fleetwide.isolated = None
        self.contacts.begin_anew()
        self.patrol.begin_anew()
        self.looks.clear()
        self.looking.clear()
        self.locking = None
        self.agenda.clear()
        self._each_live(event.away_s, lambda state: after_restart(state, event.at, event.away_s))

    def _heard_again(self, event: e.ContactRestored) -> None:
        self.contacts.begin_anew()
        for seen in self.observations.values():
            # What was missed meanwhile is held against nobody.
            seen.failures, seen.next_round_at, seen.health = 0, 0.0, Health()
        self._each_live(event.away_s, lambda state: after_isolation(state, event.away_s))

    def _each_live(self, away_s: float, after: Callable[[HostState], HostState]) -> None:
        """Let a time in which nobody was there, or heard, pass for all that is under way."""
        for name, rollout in self.active():
            rollout.header = after_absence(rollout.header, away_s)
            self._change_hosts(name, rollout, tuple(rollout.hosts), after)
        for name, host in self.unproven():
            if name not in self._active:
                self._change_hosts(name, self.rollouts[name], (host,), after)

    def _change_hosts(
        self, name: str, rollout: Rollout, hosts: tuple[str, ...], change: Callable[[HostState], HostState]
    ) -> None:
        self.agenda.touch((name, ""))
        self.agenda.touch_all(name, hosts)
        for host in hosts:
            before = rollout.hosts[host]
            after = change(before)
            if after is not before:
                rollout.hosts[host] = after
                rollout.tally.changed(host, before, after)

    def _learn_owed(self, rollout: Rollout, event: e.RolloutFinished) -> None:
        if rollout.header.spec.kind.pays:
            for host, state in rollout.hosts.items():
                self.remember(host, owed.after_try(self.record(host), state, event))

    def _learn_good(self, rollout: Rollout, phase: e.Phase) -> None:
        if phase not in (e.Phase.SUCCEEDED, e.Phase.INCOMPLETE):
            return
        for host, state in rollout.hosts.items():
            if isinstance(state, Committed | Current) and not state.unhealthy and state.task.to is not None:
                self.remember(host, proved_good(self.record(host), state.task.to, rollout.header.spec.kind))
