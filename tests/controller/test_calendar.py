"""When windows are open: in their own zone, through the nights in which clocks are set."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetd.controller.calendar import AHEAD_DAYS, KNOWN_S, openings
from fleetd.model.window import DAY_MIN, Window

BERLIN = "Europe/Berlin"
SPRING = datetime(2026, 3, 29, 12, tzinfo=UTC).timestamp()
"""In that night 02:00 became 03:00 in Berlin."""

AUTUMN = datetime(2026, 10, 25, 12, tzinfo=UTC).timestamp()
"""In that night 03:00 became 02:00 in Berlin."""

ZONES = (BERLIN, "UTC", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe", "America/St_Johns", "Pacific/Apia")


def shown(window: Window, around: float, day: str) -> list[tuple[str, str]]:
    """Return the intervals of a window that begin on a day, in UTC."""
    found = [
        (datetime.fromtimestamp(since, UTC), datetime.fromtimestamp(until, UTC))
        for since, until in openings(window, around)
    ]
    return [(f"{a:%H:%M}", f"{b:%d %H:%M}") for a, b in found if f"{a:%m-%d}" == day]


def at(hours: int, minutes: int = 0) -> int:
    return 60 * hours + minutes


def test_a_window_is_open_by_the_clock_of_its_zone() -> None:
    assert shown(Window(BERLIN, at(9), at(17)), SPRING, "03-28") == [("08:00", "28 16:00")]
    assert shown(Window(BERLIN, at(9), at(17)), SPRING, "03-29") == [("07:00", "29 15:00")]


def test_one_over_midnight_ends_on_the_day_after() -> None:
    assert shown(Window(BERLIN, at(22), at(4)), AUTUMN, "10-26") == [("21:00", "27 03:00")]
    assert shown(Window("UTC", at(8), at(8)), AUTUMN, "10-26") == [("08:00", "27 08:00")]


def test_it_opens_on_its_days_alone() -> None:
    saturday = Window(BERLIN, at(22), at(4), (5,))
    days = [datetime.fromtimestamp(since, ZoneInfo(BERLIN)).weekday() for since, _until in openings(saturday, SPRING)]
    assert set(days) == {5}
    assert len(days) >= 1


def test_a_night_that_is_an_hour_longer_or_shorter() -> None:
    whole = Window(BERLIN, at(1), at(5))
    assert shown(whole, SPRING, "03-29")[0] == ("00:00", "29 03:00"), "three hours, since one is left out"
    assert shown(whole, AUTUMN, "10-24") == [("23:00", "25 04:00")], "five hours, since one comes twice"


def test_a_time_that_does_not_exist_or_exists_twice_never_makes_a_window_larger() -> None:
    assert shown(Window(BERLIN, at(2, 30), at(4)), SPRING, "03-29") == [("01:30", "29 02:00")]
    assert shown(Window(BERLIN, at(2, 10), at(2, 50)), SPRING, "03-29") == [], "within the hour that is left out"
    assert shown(Window(BERLIN, at(2, 30), at(4)), AUTUMN, "10-25") == [("01:30", "25 03:00")], "the later of the two"
    assert shown(Window(BERLIN, at(1), at(2, 30)), AUTUMN, "10-24") == [("23:00", "25 00:30")], "the earlier of the two"


def test_a_zone_that_is_gone_opens_nothing() -> None:
    assert openings(Window("Europe/Atlantis", 0, 60), SPRING) == ()


@given(
    zone=st.sampled_from(ZONES),
    start=st.integers(0, DAY_MIN - 1),
    end=st.integers(0, DAY_MIN),
    days=st.sets(st.integers(0, 6), min_size=1),
    base=st.sampled_from((SPRING, AUTUMN, datetime(2026, 4, 5, tzinfo=UTC).timestamp())),
    offset=st.integers(-3 * DAY_MIN, 3 * DAY_MIN),
)
@settings(max_examples=400, deadline=None)
def test_it_is_never_open_outside_of_what_is_written(
    zone: str, start: int, end: int, days: set[int], base: float, offset: int
) -> None:
    window, now = Window(zone, start, end, tuple(sorted(days))), base + 60 * offset
    local = datetime.fromtimestamp(now, ZoneInfo(zone))
    minute, today, yesterday = 60 * local.hour + local.minute, local.weekday(), (local - timedelta(days=1)).weekday()
    over_midnight = end <= start
    written = (today in days and start <= minute and (over_midnight or minute < end)) or (
        yesterday in days and over_midnight and minute < end
    )
    is_open = any(since <= now < until for since, until in openings(window, now))
    assert written or not is_open
    # Away from the nights in which clocks are set it is open whenever that is written.
    shifts = {(local + timedelta(hours=hours)).utcoffset() for hours in range(-27, 28)}
    assert len(shifts) > 1 or is_open == written


@pytest.mark.parametrize("zone", ZONES)
def test_the_next_opening_is_always_known(zone: str) -> None:
    for hour in range(0, 24 * 14, 5):
        now = SPRING + 3600.0 * hour
        for day in range(7):
            known = openings(Window(zone, at(1), at(5), (day,)), now)
            assert any(since > now + KNOWN_S for since, _until in known), (AHEAD_DAYS, day)
