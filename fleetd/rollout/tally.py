"""How a rollout's hosts stand, in numbers: kept as hosts change, so that no gate has to count ten thousand of them."""

from __future__ import annotations

import heapq
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum

from fleetd.rollout.seen import UNHEARD
from fleetd.rollout.spec import HostPlan, Wave
from fleetd.rollout.states import (
    SOURCE_FAILED,
    Copied,
    Copying,
    Deferred,
    Direction,
    Failed,
    HostState,
    Pending,
    Placed,
    Stranded,
    Task,
    is_evidence,
    is_failure,
    is_final,
    is_unproven,
    shown,
)


class Mark(StrEnum):
    """What is counted. A state may bear several."""

    OPEN = "open"
    """Something will still happen to the host in this rollout."""
    UNBUILT = "unbuilt"
    STARTABLE = "startable"
    """Nothing was done on the host yet."""
    UNPROVEN = "unproven"
    EVIDENCE = "evidence"
    FAILED = "failed"
    PASSED_OVER = "passed-over"
    """Does not count in its wave, and is replaced there."""
    UNREACHABLE = "unreachable"
    """Could not be asked what it is, for whatever reason (``Unheard``)."""
    DEFERRED = "deferred"
    COMMITTED = "committed"
    """Or the like of other goals: has the rollout's system, and can be taken back."""
    BACK = "back"
    """Is or was taken back, or is about to be."""
    GOING_BACK = "going-back"
    NOT_TAKEN_BACK = "not-taken-back"
    """Is unwell on its old system too: going back was tried in this rollout, and failed."""


def marks_of(state: HostState) -> tuple[Mark, ...]:
    """Return what a state counts as."""
    final = is_final(state)
    found = [] if final else [Mark.OPEN]
    back = state.task.direction is Direction.ROLLBACK
    if back:
        found.append(Mark.BACK)
        if not final:
            found.append(Mark.GOING_BACK)
    if isinstance(state, Placed):
        found.append(Mark.COMMITTED)
    if is_unproven(state):
        found.append(Mark.UNPROVEN)
    if is_evidence(state):
        found.append(Mark.EVIDENCE)
    if is_failure(state):
        found.append(Mark.FAILED)
    match state:
        case Pending() | Copying() | Copied() if not back:
            found.append(Mark.STARTABLE)
            if state.task.to is None:
                found.append(Mark.UNBUILT)
        case Deferred(kind=kind):
            found += [Mark.PASSED_OVER, Mark.DEFERRED]
            if kind in UNHEARD:
                found.append(Mark.UNREACHABLE)
        case Failed(kind=kind) if kind == SOURCE_FAILED:
            found.append(Mark.PASSED_OVER)
        case Stranded(untouched=False) if back:
            found.append(Mark.NOT_TAKEN_BACK)
        case _:
            pass
    return tuple(found)


def lane_of(state: HostState, wave: int, domain: str) -> str:
    """Return the line that a host stands in for something scarce; empty when it waits for nothing of that kind."""
    back = state.task.direction is Direction.ROLLBACK
    match state:
        case Pending() | Copying() | Copied() if back:
            return BACK
        case Pending(flight=None, task=Task(to=None), derivation=None):
            return EVALUATE
        case Pending(flight=None, task=Task(to=None)):
            return BUILD
        case Pending(flight=None):
            return f"copy {wave}"
        case Copied():
            return f"trial {wave} {domain}"
        case _:
            return ""


EVALUATE, BUILD, BACK = "evaluate", "build", "back"
COPIED = Copied(Task(None), 0.0)
"""As shown, it is the word of all that stand in a line for a trial."""


class Tally:
    """The numbers of one rollout and of its waves, and who stands in line for what.

    ``order`` is every host as the waves name them first, ``position`` its place there; ``wave_of`` follows refills.
    ``hosts`` names those that bear a mark, oldest bearer first; ``waves`` and ``words`` count by wave.
    """

    def __init__(self, waves: Sequence[Wave], hosts: Mapping[str, HostState], plans: Mapping[str, HostPlan]) -> None:
        self.order = tuple(host for wave in waves for host in wave.hosts)
        self.position = {host: index for index, host in enumerate(self.order)}
        self.wave_of = {host: index for index, wave in enumerate(waves) for host in wave.hosts}
        self.hosts: dict[Mark, dict[str, None]] = {mark: {} for mark in Mark}
        self.waves: list[Counter[Mark]] = [Counter() for _wave in waves]
        self.words: list[Counter[str]] = [Counter() for _wave in waves]
        self.domains = tuple(dict.fromkeys(plan.domain for plan in plans.values()))
        self._plans = plans
        self._lanes: dict[str, list[int]] = {}
        for host in self.order:
            self._add(host, hosts[host])

    def count(self, mark: Mark) -> int:
        """Return how many hosts of the rollout bear a mark."""
        return len(self.hosts[mark])

    def lane(self, name: str) -> Iterator[str]:
        """Yield who stands in a line, first of the waves first."""
        for position in self._lanes.get(name, ()):
            yield self.order[position]

    def trials(self, wave: int, domains: Iterable[str]) -> Iterator[str]:
        """Yield who is copied in a wave and lies in one of the domains, first of the wave first."""
        if not self.words[wave][shown(COPIED)]:
            return  # in most plans, and there may be many domains
        lanes = [self._lanes.get(f"trial {wave} {domain}", []) for domain in domains]
        for position in heapq.merge(*lanes):
            yield self.order[position]

    def changed(self, host: str, before: HostState, after: HostState) -> None:
        """Take a host's new state into account."""
        self._remove(host, before)
        self._add(host, after)

    def moved(self, host: str, state: HostState, wave: int) -> None:
        """Take into account that a host was taken into an earlier wave."""
        self._remove(host, state)
        self.wave_of[host] = wave
        self._add(host, state)

    def _add(self, host: str, state: HostState) -> None:
        wave = self.wave_of[host]
        self.words[wave][shown(state)] += 1
        for mark in marks_of(state):
            self.waves[wave][mark] += 1
            self.hosts[mark][host] = None
        lane = lane_of(state, wave, self._plans[host].domain)
        if lane:
            insort(self._lanes.setdefault(lane, []), self.position[host])

    def _remove(self, host: str, state: HostState) -> None:
        wave = self.wave_of[host]
        self.words[wave][shown(state)] -= 1
        for mark in marks_of(state):
            self.waves[wave][mark] -= 1
            del self.hosts[mark][host]
        lane = lane_of(state, wave, self._plans[host].domain)
        if lane:
            waiting = self._lanes[lane]
            del waiting[bisect_left(waiting, self.position[host])]
