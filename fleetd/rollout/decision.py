"""What the planner returns: events to make durable, questions to ask, and when to think again."""

from __future__ import annotations

from dataclasses import dataclass, field

from fleetd.model.fence import Fence
from fleetd.model.store_path import StorePath
from fleetd.rollout import events as e
from fleetd.rollout.states import Direction
from fleetd.rollout.world import Rollout, World


@dataclass(frozen=True, slots=True)
class Capacity:
    """Free slots, an input of the plan: the executor has no queue of its own."""

    evaluate: int = 2
    build: int = 2
    copy: int = 8
    order: int = 64
    probe: int = 64
    reach: int = 64
    """Hosts that are out of reach are asked in a lane of their own: each takes a whole timeout, and there may be
    many."""


@dataclass(frozen=True, slots=True)
class LockRevision:
    """Find out what a flake reference is now."""

    rollout: str
    flake: str


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


Question = LockRevision | Inspect | Reach | ProbeRound | Extend | CancelCopy
"""Volatile: no effect that must be remembered, so nothing of it is in the journal."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Events are applied and made durable first, in this order; then questions and intents are carried out."""

    events: tuple[e.Event, ...]
    questions: tuple[Question, ...]
    wake_at: float | None


def limit_of(rollout: Rollout, direction: Direction) -> int:
    """Return how many hosts may be unproven at once while one of this rollout is, going in this direction."""
    policy, total = rollout.header.spec.policy, len(rollout.hosts)
    parallel = policy.rollback_max_parallel if direction is Direction.ROLLBACK else policy.max_parallel
    return min(parallel.rounded_down(total), policy.max_unproven)


@dataclass(slots=True)
class Draft:
    """A decision in the making: what was decided so far counts for the rest of the same plan."""

    world: World
    now: float
    free: dict[str, int]
    events: list[e.Event] = field(default_factory=list)
    questions: list[Question] = field(default_factory=list)
    wake_at: float | None = None
    unproven: dict[str, str] = field(default_factory=dict)
    """Every unproven host with its rollout, over all rollouts, the lost ones included."""
    domains: set[str] = field(default_factory=set)
    limit: int | None = None
    """The smallest limit of the rollouts that have unproven hosts: more would break a promise made to one of them."""
    closed: bool = False
    """Somebody earlier in the order waits for a slot: nobody later may take it."""

    @classmethod
    def of(cls, world: World, capacity: Capacity, now: float) -> Draft:
        """Start a draft: count who is unproven over all rollouts."""
        free = {
            "evaluate": capacity.evaluate,
            "build": capacity.build,
            "copy": capacity.copy,
            "order": capacity.order,
            "probe": capacity.probe,
            "reach": capacity.reach,
        }
        draft = cls(world, now, free)
        for rollout, host in world.unproven():
            draft.count_unproven(rollout, host)
        return draft

    def fence(self) -> Fence:
        """Return the fence of the event that is added next."""
        return Fence(self.world.term, self.world.seq + len(self.events) + 1)

    def add(self, event: e.Event) -> None:
        """Decide an event."""
        self.events.append(event)

    def ask(self, question: Question) -> None:
        """Decide a question."""
        self.questions.append(question)

    def take(self, slot: str) -> bool:
        """Take a free slot if there is one."""
        if self.free[slot] <= 0:
            return False
        self.free[slot] -= 1
        return True

    def wake(self, at: float) -> None:
        """Ask to be called again at ``at``, or earlier."""
        self.wake_at = at if self.wake_at is None else min(self.wake_at, at)

    def count_unproven(self, name: str, host: str) -> None:
        """Count one more unproven host, with its domain and with the limit it was started under."""
        rollout = self.world.rollouts[name]
        limit = limit_of(rollout, rollout.hosts[host].task.direction)
        self.limit = limit if self.limit is None else min(self.limit, limit)
        self.unproven[host] = name
        self.domains.add(rollout.plans[host].domain)

    def done(self) -> Decision:
        """Close the draft."""
        return Decision(tuple(self.events), tuple(self.questions), self.wake_at)
