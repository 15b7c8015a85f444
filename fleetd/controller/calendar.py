"""From windows in named time zones to instants: the table of zones is the control node's, the planner sees instants.

Where clocks are set forward or back a written time may not exist, or exist twice. A window then opens at the later and
closes at the earlier of the two instants that its time could mean: it never opens outside of what is written, and one
that lies within the hour that is left out does not open on that day.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from fleetd.model.window import DAY_MIN, Interval, Window
from fleetd.rollout.openings import Openings
from fleetd.rollout.world import World

AHEAD_DAYS = 9
"""A window opens at least once a week, if its zone leaves it an hour: the next one is always among these days."""

KNOWN_S = 86400.0
"""How long what was worked out is used: by then at least a week is still ahead."""


def refresh(world: World, now: float) -> None:
    """Let the world know when the windows of its rollouts are open."""
    wanted = dict.fromkeys(window for _name, rollout in world.active() for window in rollout.header.spec.policy.windows)
    known = world.openings
    if now < known.until and all(window in known.intervals for window in wanted):
        return
    world.openings = Openings({window: openings(window, now) for window in wanted}, now + KNOWN_S)


def openings(window: Window, now: float) -> tuple[Interval, ...]:
    """Return when a window is open, from a day ago on; nothing where its zone is not known here any more."""
    try:
        zone = ZoneInfo(window.zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return ()
    today = datetime.fromtimestamp(now, zone).date()
    # One that began the day before yesterday has ended: none is longer than a day, but for an hour.
    days = (today + timedelta(days=offset) for offset in range(-2, AHEAD_DAYS))
    return tuple(_opening(window, day, zone) for day in _on(window, days) if _opens(window, day, zone))


def _on(window: Window, days: Iterable[date]) -> Iterable[date]:
    return (day for day in days if day.weekday() in window.days)


def _opens(window: Window, day: date, zone: ZoneInfo) -> bool:
    since, until = _opening(window, day, zone)
    return since < until


def _opening(window: Window, day: date, zone: ZoneInfo) -> Interval:
    end_min = window.end_min if window.end_min > window.start_min else window.end_min + DAY_MIN
    return max(_instants(day, window.start_min, zone)), min(_instants(day, end_min, zone))


def _instants(day: date, minutes: int, zone: ZoneInfo) -> tuple[float, float]:
    """Return the instants that a written time could mean: the same one twice but where the clock is set."""
    written = datetime.combine(day, time()) + timedelta(minutes=minutes)
    first, second = (written.replace(tzinfo=zone, fold=fold).astimezone(UTC).timestamp() for fold in (0, 1))
    return first, second
