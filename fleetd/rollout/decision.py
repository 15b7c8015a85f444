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


@dataclass(frozen=True, slots=True)
class LockRevision:
    """Find out what a flake reference is now."""

    rollout: str
    flake: str


@dataclass(frozen=True, slots=True)
class Inspect:
    """Ask a host for its facts, and its checks for a baseline."""

    rollout: str
    host: str
    checks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ProbeRound:
    """Make one round of checks on a host."""

    rollout: str
    host: str
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


@dataclass(frozen=True, slots=True)
class CancelCopy:
    """A copy that is no longer wanted."""

    rollout: str
    host: str


Question = LockRevision | Inspect | ProbeRound | Extend | CancelCopy
"""Volatile: no effect that must be remembered, so nothing of it is in the journal."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Events are applied and made durable first, in this order; then questions and intents are carried out."""

    events: tuple[e.Event, ...]
    questions: tuple[Question, ...]
    wake_at: float | None


@dataclass(slots=True)
class Draft:
    """A decision in the making: what was decided so far counts for the rest of the same plan."""

    world: World
    now: float
    free: dict[str, int]
    events: list[e.Event] = field(default_factory=list)
    questions: list[Question] = field(default_factory=list)
    wake_at: float | None = None
    unproven: int = 0
    unproven_domains: dict[str, int] = field(default_factory=dict)
    unproven_hosts: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, world: World, capacity: Capacity, now: float) -> Draft:
        """Start a draft: count who is unproven over all rollouts."""
        free = {
            "evaluate": capacity.evaluate,
            "build": capacity.build,
            "copy": capacity.copy,
            "order": capacity.order,
            "probe": capacity.probe,
        }
        draft = cls(world, now, free)
        for rollout, host in world.unproven():
            draft.count_unproven(world.rollouts[rollout], host)
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

    def count_unproven(self, rollout: Rollout, host: str) -> None:
        """Count one more unproven host, with its domain."""
        plan = next((plan for plan in rollout.header.spec.hosts if plan.name == host), None)
        domain = plan.domain if plan is not None else ""
        self.unproven += 1
        self.unproven_domains[domain] = self.unproven_domains.get(domain, 0) + 1
        self.unproven_hosts[host] = domain

    def done(self) -> Decision:
        """Close the draft."""
        return Decision(tuple(self.events), tuple(self.questions), self.wake_at)
