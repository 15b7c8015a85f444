"""A limit over all that is sent: kept whoever sends, in turn, and no limit costs nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetd.push.bandwidth import Bandwidth


def test_no_limit_is_no_wait() -> None:
    line = Bandwidth(None)
    assert [line.delay_s(10**9, 0.0) for _ in range(3)] == [0.0, 0.0, 0.0]


def test_turns_are_given_in_order_and_idle_time_is_not_saved_up() -> None:
    line = Bandwidth(100.0)
    assert [line.delay_s(50, 10.0), line.delay_s(100, 10.0), line.delay_s(1, 10.0)] == [0.0, 0.5, 1.5]
    assert line.delay_s(1, 100.0) == 0.0
    assert line.delay_s(1, 100.0) == pytest.approx(0.01)


@given(st.lists(st.tuples(st.integers(1, 10_000), st.floats(0, 5)), min_size=1, max_size=50))
def test_never_more_than_the_limit(asked: list[tuple[int, float]]) -> None:
    line, now, sent = Bandwidth(1000.0), 0.0, list[tuple[float, int]]()
    for count, later in asked:
        now += later
        sent.append((now + line.delay_s(count, now), count))
    assert sent == sorted(sent, key=lambda one: one[0])
    for first in range(len(sent)):
        for last in range(first + 1, len(sent)):
            bytes_between = sum(count for _at, count in sent[first:last])
            assert bytes_between <= 1000.0 * (sent[last][0] - sent[first][0]) + 0.01
