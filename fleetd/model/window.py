"""Maintenance windows as written: weekdays, and times of day in a named zone. When that *is* needs a table of zones."""

from __future__ import annotations

from dataclasses import dataclass

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
"""The days of the week by their number, Monday first as in ISO 8601."""

DAY_MIN = 24 * 60


@dataclass(frozen=True, slots=True)
class Window:
    """A time at which hosts may be started. ``days`` are those on which it opens; one that ends by the time of day at
    which it starts, or before, ends the day after. Minutes are those since midnight in the zone.
    """

    zone: str
    start_min: int
    end_min: int
    days: tuple[int, ...] = tuple(range(len(DAYS)))

    def __str__(self) -> str:
        days = "" if len(self.days) == len(DAYS) else " ".join(DAYS[day] for day in self.days) + " "
        return f"{days}{_time(self.start_min)}-{_time(self.end_min)} {self.zone}"


Interval = tuple[float, float]
"""From when to when something is open, as instants: the first belongs to it, the last does not."""


def _time(minutes: int) -> str:
    return f"{minutes // 60:02d}:{minutes % 60:02d}"
