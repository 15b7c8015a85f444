"""The one clock of a process."""

from __future__ import annotations

from fleetd.clock import SystemClock


def test_time_goes_on_from_where_it_had_got_to_and_never_back() -> None:
    clock = SystemClock()
    ahead = clock.now() + 5000.0
    clock.go_on_from(ahead)
    first = clock.now()
    assert ahead <= first < ahead + 1000.0
    clock.go_on_from(ahead - 9000.0)
    assert clock.now() >= first
