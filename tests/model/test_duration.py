"""Durations as people write them, and read them."""

from __future__ import annotations

import pytest

from fleetd.model.duration import LONGEST_S, format_duration, parse_duration


@pytest.mark.parametrize(("text", "seconds"), [("40ms", 0.04), ("30s", 30.0), ("1m30s", 90.0), ("90d", 7_776_000.0)])
def test_what_is_written_is_read_and_shown_again(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)
    assert format_duration(seconds) == text


@pytest.mark.parametrize("text", ["9999999d", "9" * 400 + "s"])
def test_what_no_calendar_can_show_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="longer than 3650d"):
        parse_duration(text)
    assert parse_duration("3650d") == LONGEST_S
