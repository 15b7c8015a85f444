"""What the planner returns: events to make durable, questions to ask, and when to think again."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from fleetd.model.check import Check
from fleetd.model.fence import Fence
from fleetd.model.store_path import StorePath
from fleetd.rollout import events as e
from fleetd.rollout import timing
from fleetd.rollout.agenda import Place, Visits
from fleetd.rollout.spec import HostGroup
from fleetd.rollout.states import Direction
from fleetd.rollout.tally import Mark
from fleetd.rollout.versions import NEW_KINDS
from fleetd.rollout.world import Rollout, World

if TYPE_CHECKING:
    from fleetd.rollout.quorum import Standing


FLEETD = "fleetd"
"""Who asked for what no person, policy or other program did."""


@dataclass(frozen=True, slots=True)
class Capacity:
    """Free slots, an input of the plan: the executor has no queue of its own."""

    evaluate: int = 2
    build: int = 2
    copy: int = 8
    order: int = 64
    probe: int = 64
    observe: int = 16
    """Hosts in no rollout that are looked at, in a lane of their own: nothing waits for them, and they for nothing."""
    reach: int = 64
    """Hosts that are out of reach are asked in a lane of their own: each takes a whole timeout, and there may be
    many."""
    program: int = 16
    """Programs of the control node that unlock hosts or cycle their power."""
    hook: int = 64
    """Hooks, wherever they run. Most of their time they wait."""


SLOTS = ("evaluate", "build", "copy", "order", "probe", "observe", "reach", "program", "hook")


@dataclass(frozen=True, slots=True)
class LockRevision:
    """Find out what a flake reference is now.

    It must contain ``since``, the locked reference that was deployed last; empty where it need not.
    """

    rollout: str
    flake: str
    since: str = ""


@dataclass(frozen=True, slots=True)
class Inspect:
    """Ask a host for its facts, and its checks for a baseline. ``step`` is the observation's, for the answer."""

    rollout: str
    host: str
    step: int
    checks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Reach:
    """Find out whether a host of unknown outcome answers again: no effect, so that it may be asked for ever."""

    rollout: str
    host: str
    step: int


@dataclass(frozen=True, slots=True)
class Unlock:
    """Try to unlock a host that does not come back from a reboot; a host that waits for nothing takes no harm.

    ``number`` counts the tries, ``again_s`` is how long after the end of this one the next may come.
    """

    rollout: str
    host: str
    step: int
    number: int
    again_s: float


@dataclass(frozen=True, slots=True)
class Witness:
    """Find out whether a host answers, because another one fell silent."""

    host: str


@dataclass(frozen=True, slots=True)
class Observe:
    """Look at a host that is in no rollout: its facts, and one round of its checks."""

    host: str
    checks: tuple[Check, ...]


@dataclass(frozen=True, slots=True)
class LookAt:
    """Find out whether a host is well, in whatever rollout it is or is not: others of its group want to start."""

    rollout: str
    host: str
    checks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ProbeRound:
    """Make one round of checks on a host. ``step`` is the observation's, for the answer."""

    rollout: str
    host: str
    step: int
    checks: tuple[str, ...]
    builtin: tuple[str, ...]
    required: tuple[str, ...]
    expect: StorePath
    boot_default: StorePath | None
    interval_s: float


@dataclass(frozen=True, slots=True)
class Extend:
    """Keep a trial's guard from firing for another while."""

    rollout: str
    host: str
    attempt: int
    direction: Direction
    fence: Fence
    step: int = 0


@dataclass(frozen=True, slots=True)
class CancelCopy:
    """A copy that is no longer wanted; ``fence`` is its intent's."""

    rollout: str
    host: str
    fence: Fence


Question = LockRevision | Inspect | Reach | Unlock | Witness | Observe | LookAt | ProbeRound | Extend | CancelCopy
"""Volatile: no effect that must be remembered, so nothing of it is in the journal."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Events are applied and made durable first, in this order; then questions and intents are carried out."""

    events: tuple[e.Event, ...]
    questions: tuple[Question, ...]
    wake_at: float | None
    """When something of what was looked at is due again; the agenda knows of the rest."""
    visits: Visits


def out_of_service(world: World) -> list[Place]:
    """Return the hosts that their hooks keep out of service, and that are not unproven."""
    kept = [place for place, _work in world.hooks.items()]
    unproven = dict.fromkeys(world.unproven_among(kept))
    return [place for place in kept if place not in unproven]


def limit_of(rollout: Rollout, direction: Direction) -> int:
    """Return how many hosts may be unproven at once while one of this rollout is, going in this direction."""
    policy, total = rollout.header.spec.policy, len(rollout.hosts)
    parallel = policy.rollback_max_parallel if direction is Direction.ROLLBACK else policy.max_parallel
    return min(parallel.rounded_down(total), policy.max_unproven)


def own_is_on_trial(world: World) -> bool:
    """Whether the control node's own host is: where it goes back, the release before this one reads the journal."""
    # By waves and not by hosts: it is asked in each plan, and thousands may be unproven.
    at_stake = [world.rollouts[name] for (name, _direction), count in world.stakes.items() if count]
    return any(
        wave.apart and rollout.tally.waves[index][Mark.UNPROVEN]
        for rollout in at_stake
        for index, wave in enumerate(rollout.header.waves)
    )


class Draft:
    """A decision in the making: what was decided so far counts for the rest of the same plan.

    ``place`` is what is being looked at; waking up is asked for in its name.
    """

    def __init__(self, world: World, capacity: Capacity, now: float, *, everything: bool) -> None:
        self.world = world
        self.now = now
        # Locking a revision waits for no slot, so that more may be in use than there are.
        self.free = {slot: max(0, int(getattr(capacity, slot))) for slot in SLOTS}
        self.started: dict[str, str] = {}
        """Hosts whose trials this plan intends, with their rollouts."""
        self.standings: dict[HostGroup, Standing] = {}
        """How groups are, as far as this plan has asked for it."""
        self._looked_at: set[str] = set()
        self.closed = False
        """Somebody earlier in the order waits for a slot: nobody later may take it."""
        self.place: Place = ("", "")
        self._everything = everything
        self._places = world.agenda.places(now)
        self._events: list[e.Event] = []
        self._questions: list[Question] = []
        self._asked: set[Place] = set()
        self._failed: set[str] = set()
        self._paused: set[str] = set()
        self._wake_at: float | None = None
        self._later: list[tuple[Place, float]] = []
        self.is_isolated = world.fleetwide.isolated is not None
        """Whether the controller hears nobody, or was just found to: nothing starts."""
        self._again: list[Place] = []
        self.own_is_on_trial = own_is_on_trial(world)
        self._apart = dict.fromkeys(out_of_service(world))

    def sees(self, place: Place) -> bool:
        """Whether a host is looked at in this plan, or with an empty host the rollout as a whole."""
        return self._everything or place in self._places

    def is_due(self, name: str) -> bool:
        """Whether a rollout changed or asked to be looked at now; also where everything is looked at."""
        return (name, "") in self._places

    def unproven(self) -> list[Place]:
        """Return the unproven hosts that are looked at."""
        if self._everything:
            return list(self.world.unproven())
        return self.world.unproven_among(self._places)

    def unproven_count(self) -> int:
        """Return how many hosts are unproven over all rollouts, the lost ones and those started here included."""
        return self.world.unproven_count() + len(self.started)

    def slots_held(self) -> int:
        """Return how many hosts hold a slot: the unproven ones, and those that their hooks keep out of service."""
        started = sum((name, host) in self._apart for host, name in self.started.items())
        return self.unproven_count() + len(self._apart) - started

    def holder(self, host: str) -> str | None:
        """Return the rollout in which a host is unproven, or becomes so in this plan."""
        return self.started.get(host) or self.world.holder(host)

    def has_started(self, name: str) -> bool:
        """Whether a trial of a rollout is intended in this plan."""
        return name in self.started.values()

    def domains(self) -> dict[str, None]:
        """Return the domains that hold unproven hosts."""
        held = {domain: None for domain, count in self.world.unproven_domains.items() if count}
        for name, host in self._apart:
            held[self.world.rollouts[name].plans[host].domain] = None
        for host, name in self.started.items():
            held[self.world.rollouts[name].plans[host].domain] = None
        return held

    def limit(self, rollout: Rollout, direction: Direction) -> int:
        """Return the smallest limit of those who have hosts at stake and of a rollout that wants to start one.

        More would break a promise made to one of them.
        """
        stakes = [stake for stake, count in self.world.stakes.items() if count]
        stakes += [(name, self.world.rollouts[name].hosts[host].task.direction) for name, host in self._apart]
        stakes += [(name, self.world.rollouts[name].hosts[host].task.direction) for host, name in self.started.items()]
        limits = [limit_of(self.world.rollouts[name], way) for name, way in dict.fromkeys(stakes)]
        return min([limit_of(rollout, direction), *limits])

    def start(self, name: str, host: str) -> None:
        """Count a host whose trial this plan intends."""
        self.started[host] = name
        self.standings.clear()

    def looked_at(self, name: str, rollout: Rollout) -> list[str]:
        """Return the hosts of a rollout that are looked at, in the order of its waves."""
        if self._everything:
            return list(rollout.tally.order)
        hosts = [host for of, host in self._places if of == name and host]
        return sorted(hosts, key=rollout.tally.position.__getitem__)

    def fence(self) -> Fence:
        """Return the fence of the event that is added next."""
        return Fence(self.world.term, self.world.seq + len(self._events) + 1)

    def add(self, event: e.Event) -> None:
        """Decide an event, unless the release before this one could not read it and may have to: then it waits."""
        if self.own_is_on_trial and type(event).__name__ in NEW_KINDS:
            return
        self._events.append(event)
        if isinstance(event, e.HostUnhealthy | e.HostGivenUp | e.HostFailed | e.PauseRequested):
            self._failed.add(event.rollout)

    def pause(self, name: str, by: str, reason: str) -> bool:
        """Decide that a rollout is paused, unless it is, or is on its way out. Returns whether it was decided here."""
        header = self.world.rollouts[name].header
        if header.paused is not None or header.starts_nothing or name in self._paused:
            return False
        self._paused.add(name)
        self.add(e.PauseRequested(self.now, name, by, reason))
        return True

    @cached_property
    def soak_asks(self) -> int:
        """How many questions a round of checks to every host in soak is, over all rollouts."""
        soaking = ((rollout.header.spec, rollout.tally.count(Mark.EVIDENCE)) for _name, rollout in self.world.active())
        return sum(count * timing.asks_a_round(spec) for spec, count in soaking if spec.goal.is_observable)

    def has_failed(self, name: str) -> bool:
        """Whether this plan has just found a failure in a rollout, or paused it: that must be so before it goes on."""
        return name in self._failed

    def ask(self, question: Question) -> None:
        """Decide a question."""
        self._questions.append(question)
        if isinstance(question, LookAt):
            self._looked_at.add(question.host)
            return
        self._asked.add(self.place_of(question))

    @staticmethod
    def place_of(question: Question) -> Place:
        """Return whom a question is about."""
        return getattr(question, "rollout", ""), getattr(question, "host", "")

    def has_asked(self, name: str, host: str) -> bool:
        """Whether this plan asks something of a host."""
        return (name, host) in self._asked

    def has_looked_at(self, host: str) -> bool:
        """Whether this plan looks at a host for its group."""
        return host in self._looked_at

    def take(self, slot: str) -> bool:
        """Take a free slot if there is one; whoever finds none is looked at again in the next plan."""
        if self.free[slot] <= 0:
            self._again.append(self.place)
            return False
        self.free[slot] -= 1
        return True

    def wake(self, at: float) -> None:
        """Ask to look at the present place again at ``at``, or earlier."""
        self._later.append((self.place, at))

    def done(self) -> Decision:
        """Close the draft."""
        later: dict[Place, float] = {}
        for place, at in self._later:
            later[place] = min(at, later.get(place, at))
        visits = Visits(tuple(later.items()), tuple(self._again))
        return Decision(tuple(self._events), tuple(self._questions), min(later.values(), default=None), visits)
