"""Which hosts must be looked at: those whose inputs changed, and those whose time has come.

All of it is volatile. After a start everything is looked at once, and a plan that looks at everything decides the same
(``plan(…, everything=True)`` is the oracle of the tests).
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass

Place = tuple[str, str]
"""A rollout and one of its hosts; the host is empty for the rollout as a whole."""


@dataclass(frozen=True, slots=True)
class Visits:
    """What a plan found out about the places it looked at: when to look again, and who found no free slot."""

    later: tuple[tuple[Place, float], ...] = ()
    again: tuple[Place, ...] = ()


class Agenda:
    """One for the world."""

    def __init__(self) -> None:
        self._changed: dict[Place, None] = {}
        self._due: dict[Place, float] = {}
        self._heap: list[tuple[float, Place]] = []

    def touch(self, place: Place) -> None:
        """Look at a place in the next plan."""
        self._changed[place] = None

    def touch_all(self, rollout: str, hosts: Iterable[str]) -> None:
        """Look at hosts of a rollout in the next plan."""
        for host in hosts:
            self._changed[rollout, host] = None

    def places(self, now: float) -> dict[Place, None]:
        """Return every place to look at now; changes nothing."""
        found = dict(self._changed)
        # Everything due lies at the top of the heap: a child is due only if its parent is.
        todo = [0] if self._heap else []
        while todo:
            index = todo.pop()
            at, place = self._heap[index]
            if at > now:
                continue
            if self._due.get(place) == at:
                found[place] = None
            todo += [child for child in (2 * index + 1, 2 * index + 2) if child < len(self._heap)]
        return found

    def next_at(self) -> float | None:
        """Return when the next place is due."""
        while self._heap and self._due.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def settle(self, visits: Visits, now: float) -> None:
        """Take into account what a plan, made at ``now``, looked at."""
        self._changed = dict.fromkeys(visits.again)
        while self._heap and self._heap[0][0] <= now:
            at, place = heapq.heappop(self._heap)
            if self._due.get(place) == at:
                del self._due[place]
        for place, at in visits.later:
            if self._due.get(place) != at:
                self._due[place] = at
                heapq.heappush(self._heap, (at, place))

    def clear(self) -> None:
        """Forget everything: another controller begins."""
        self._changed.clear()
        self._due.clear()
        self._heap.clear()
