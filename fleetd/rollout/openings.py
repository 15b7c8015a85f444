"""When maintenance windows are open, as instants: worked out by whoever has a table of time zones, and only read here.

What is not known counts as closed. All of it is volatile, and of no record: that a host may start is decided once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fleetd.model.window import Interval, Window
from fleetd.rollout.spec import Kind, RolloutSpec


@dataclass(frozen=True, slots=True)
class Openings:
    """The intervals in which each window is open, in order, up to ``until``."""

    intervals: Mapping[Window, tuple[Interval, ...]] = field(default_factory=dict)
    until: float = 0.0

    def of(self, spec: RolloutSpec, now: float) -> Opening:
        """Return how a rollout stands to its windows; a rollback by a person's word has none."""
        windows = spec.policy.windows if spec.kind is not Kind.ROLLBACK else ()
        if not windows:
            return Opening(is_open=True)
        intervals = [interval for window in windows for interval in self.intervals.get(window, ())]
        begun = [since for since, until in intervals if since <= now < until]
        ahead = min((since for since, _until in intervals if since > now), default=None)
        return Opening(bool(begun), min(begun, default=0.0), None if begun else ahead)


@dataclass(frozen=True, slots=True)
class Opening:
    """Whether hosts may start: ``since`` when, or ``next_at`` when they may; None where that is not known."""

    is_open: bool
    since: float = 0.0
    next_at: float | None = None
