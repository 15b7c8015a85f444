"""Hosts that are in no rollout are looked at now and then: whose turn it is, and what was seen of each.

All of it is volatile, and safe to lose: after a start every host is looked at anew. What of it must outlive a start, a
host that fell ill or is well again, is in the journal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from fleetd.model.check import Check, CheckResult
from fleetd.model.facts import HostFacts
from fleetd.rollout.fleetwide import Found

LOOKS_A_SECOND = 10.0
"""Over the whole fleet: a tenth of a core where each look is a login. A fleet of ten thousand takes 17 minutes."""

FIRST_GAP_S = 1.0
"""Between two looks of the first round: whoever asks after a start should not wait for a whole interval."""

AGAIN_S = 30.0
"""How soon a host is looked at once more that was not as it had been: one lost packet says nothing yet."""

LOOKS = 2
"""How often in a row a host must be silent, or a check fail or pass, before it counts."""

SKIPS = 50
"""How many hosts that are in rollouts are passed over in one turn, so that a turn costs the same in every fleet."""


@dataclass(frozen=True, slots=True)
class Sighted:
    """A host was looked at: it answered with its facts and a round of its checks, or ``unreachable`` says why not."""

    at: float
    host: str
    facts: HostFacts | None
    results: tuple[CheckResult, ...] = ()
    unreachable: str = ""


@dataclass(slots=True)
class Sighting:
    """What was seen of a host since a rollout left it. ``at`` is when it was last looked at, answered or not."""

    at: float
    facts: HostFacts | None = None
    answered_at: float | None = None
    silent: int = 0
    """How many looks in a row found nobody."""
    why_silent: str = ""
    failing: dict[str, int] = field(default_factory=dict)
    """How many looks in a row each check failed; what could not be asked changes nothing."""
    texts: dict[str, str] = field(default_factory=dict)
    passed: dict[str, None] = field(default_factory=dict)
    """Checks that were seen to pass: what never did is no sign of having fallen ill."""
    passing: int = 0
    """How many looks in a row every check passed."""


@dataclass(slots=True)
class Patrol:
    """One for the world. Each host has its turn, and the next turn comes when its time has come."""

    rounds: Mapping[str, tuple[Check, ...]] = field(default_factory=dict)
    """Every host of the fleet, with its checks."""
    fleet: object = None
    """What the hosts were read from."""
    every_s: float | None = None
    """How often each host is to be looked at; None: not at all."""
    sightings: dict[str, Sighting] = field(default_factory=dict)
    asking: dict[str, None] = field(default_factory=dict)
    """Who is being looked at. One on which something is begun meanwhile is none of them any more."""
    changed: dict[str, Found | None] = field(default_factory=dict)
    """Hosts that are not as the journal says: what is wrong with them now, None where nothing is."""
    back: dict[str, None] = field(default_factory=dict)
    """Hosts that are owed a system, and have just answered."""
    drifted: dict[str, None] = field(default_factory=dict)
    """Hosts that were just seen to have drifted."""
    turn: str = ""
    """Whose turn it is; empty while it is nobody's."""
    next_at: float = 0.0
    _ring: tuple[str, ...] = ()
    _next: int = 0
    _first_round: int = 0
    _again: dict[str, float] = field(default_factory=dict)

    def enrol(self, rounds: Mapping[str, tuple[Check, ...]]) -> None:
        """Take the hosts of the fleet as it is now; whoever is no longer in it is forgotten."""
        self._first_round = len(rounds) if not self.rounds else self._first_round
        self.rounds, self._ring = rounds, tuple(rounds)
        self._next = self._next if self._next < len(self._ring) else 0
        self.turn = ""
        for host in [host for host in self.sightings if host not in rounds]:
            del self.sightings[host]
        self._again = {host: at for host, at in self._again.items() if host in rounds}

    def move_on(self, now: float, is_free: Callable[[str], bool]) -> None:
        """Decide whose turn it is, once its time has come; ``is_free`` says of a host that no rollout has it."""
        if self.turn and not is_free(self.turn):
            self.turn = ""
        if self.turn or self.every_s is None or now < self.next_at or not self._ring:
            return
        again = next(iter(self._again.items()), None)
        if again is not None and again[1] <= now:
            del self._again[again[0]]
            if is_free(again[0]) and again[0] not in self.asking:
                self.turn = again[0]
                return
        for _ in range(min(SKIPS, len(self._ring))):
            host, self._next = self._ring[self._next], (self._next + 1) % len(self._ring)
            self._first_round = max(0, self._first_round - 1)
            if is_free(host) and host not in self.asking:
                self.turn = host
                return
        self.next_at = now + self._gap_s()

    def asked(self, host: str, now: float) -> None:
        """Note that a host is being looked at."""
        self.turn = ""
        self.asking[host] = None
        self.next_at = now + self._gap_s()

    def look_again(self, host: str, now: float) -> None:
        """Let a host have another turn soon."""
        self._again.setdefault(host, now + AGAIN_S)

    def begin(self, host: str) -> None:
        """Forget what was seen of a host: something is done to it, or about to be."""
        self.asking.pop(host, None)
        self.sightings.pop(host, None)
        self.changed.pop(host, None)
        self.back.pop(host, None)
        self.drifted.pop(host, None)

    def begin_anew(self) -> None:
        """Forget everything: another controller begins."""
        self.sightings.clear()
        self.asking.clear()
        self.changed.clear()
        self.back.clear()
        self.drifted.clear()
        self._again.clear()
        self.turn, self.next_at, self._first_round = "", 0.0, len(self._ring)

    def _gap_s(self) -> float:
        """Return how far apart two looks are: never nearer than the rate that the fleet as a whole may have."""
        gap_s = (self.every_s or 0.0) / max(1, len(self._ring))
        return max(1 / LOOKS_A_SECOND, min(gap_s, FIRST_GAP_S) if self._first_round else gap_s)
