"""Maintenance windows in the fleet file."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from pydantic import Field

from fleetd.model.window import DAYS, Window
from fleetd.schema.problems import Strict, word_of

TimeOfDay = Annotated[str, Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$|^24:00$")]
"""``22:00``; 24:00 is the end of the day."""


class WindowTable(Strict):
    """One window of a policy: the days on which it opens, from when to when, and in which time zone."""

    days: list[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]] | None = Field(None, min_length=1)
    start: TimeOfDay
    end: TimeOfDay
    zone: str


def windows_of(place: str, raw: list[WindowTable], problems: list[str]) -> tuple[Window, ...]:
    """Return the windows of a policy; what is wrong with them is added to ``problems``, with its place."""
    found = []
    for index, table in enumerate(raw):
        where = f"{place}.windows.{index}"
        problem = _zone_problem(table.zone)
        if problem:
            problems.append(f"{where}.zone: {problem}")
        if table.start == "24:00":
            problems.append(f"{where}.start: 24:00 is the end of a day; write 00:00")
        days = tuple(sorted({DAYS.index(day) for day in table.days or DAYS}))
        found.append(Window(table.zone, _minutes(table.start), _minutes(table.end), days))
    return tuple(found)


def _zone_problem(zone: str) -> str:
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        near = get_close_matches(zone, sorted(available_timezones()), 1)
        hint = f"did you mean {near[0]!r}?" if near else "write a name such as Europe/Berlin"
        return f"no time zone {word_of(zone)!r} is known on the control node; {hint}"
    return ""


def _minutes(text: str) -> int:
    hours, _, minutes = text.partition(":")
    return int(hours) * 60 + int(minutes)
