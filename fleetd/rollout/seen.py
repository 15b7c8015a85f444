"""What was seen of hosts just now. Volatile: lost in a crash, and that is safe."""

from __future__ import annotations

from dataclasses import dataclass, field

from fleetd.model.check import CheckResult
from fleetd.model.facts import HostFacts
from fleetd.model.program import Aid
from fleetd.rollout.health import Health


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
    unasked: int = 0
    """How many times in a row a check of the baseline could not be asked, although the host answered."""
    reached_at: float | None = None
    asked_at: float = 0.0
    """When the host last failed to answer; ``failures`` is how often in a row, ``unreachable`` what was said."""
    silent_since: float = 0.0
    """When it failed to answer for the first of those times."""
    unreachable: str = ""
    failures: int = 0
    health: Health = field(default_factory=Health)
    asking: str = ""
    next_round_at: float = 0.0
    extended_at: float = 0.0
    extending: bool = False
    aids: tuple[Aid, ...] = ()
    """What the control node can do for the host where it does not answer, as the fleet file says now."""
    unlocks: int = 0
    """How often it was tried to unlock it."""
    unlock_at: float = 0.0
    """When it may be tried again."""
    unlocking: bool = False


@dataclass(frozen=True, slots=True)
class Look:
    """A look at a host for its group: ``why`` it is unavailable, empty when it is not.

    ``is_sick``: it answered, and checks of it fail; a host that does not answer may be well.
    """

    at: float
    why: str
    is_sick: bool = False
