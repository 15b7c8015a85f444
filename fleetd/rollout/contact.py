"""Whether a host is silent, or the controller hears nobody.

A host that falls silent is no failure yet: it raises a *doubt*, and some others are asked at once whether they answer.
When at least half of those that were observed since do, the silence is the host's own and counts. When more than half
are silent too, the controller itself is cut off: nothing starts and nothing counts until it hears them again. A host
that is unproven has a reason of its own to be silent, so that its silence raises a doubt and is no evidence in one.

All of this is volatile. What a doubt comes to, when it is the controller's own network, is in the journal.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, field

WITNESSES = 5
"""How many others are asked: enough that one which happens to be off decides nothing, few enough to ask at any time."""

ASK_AGAIN_S = 5.0
"""How soon witnesses are asked again while nobody is heard: a network that is back is noticed within seconds."""

LONG_LOST_S = 3600.0
"""Who has been silent for longer is observed no more: what is left decides whether the controller hears its hosts."""


@dataclass(frozen=True, slots=True)
class Silence:
    """Since when a host does not answer, and whether something of ours was under way there by then."""

    since: float
    is_unproven: bool


@dataclass(slots=True)
class Doubt:
    """Somebody fell silent. ``witnesses`` are asked because of it, each with when it was; None: not yet."""

    since: float
    witnesses: dict[str, float | None] = field(default_factory=dict)
    is_called: bool = False
    """Whether the witnesses were named, of whom there may be none."""
    waiting: dict[str, None] = field(default_factory=dict)
    lost: dict[str, float] = field(default_factory=dict)
    """Hosts on which nothing is being tried that were heard before and are silent now, with since when."""
    heard: dict[str, float] = field(default_factory=dict)

    @property
    def is_decided(self) -> bool:
        """Whether every witness was asked and has answered, or has not."""
        return self.is_called and not self.waiting and all(at is not None for at in self.witnesses.values())

    @property
    def is_cut_off(self) -> bool:
        """Whether it is the controller that hears nobody. Where there is nobody else to ask, nobody can tell."""
        return bool(self.witnesses) and (len(self.lost) > len(self.heard) or not self.heard)


@dataclass(slots=True)
class Contacts:
    """Who answered, who is silent since when, and whose silence counts."""

    doubt: Doubt | None = None
    _heard: dict[str, float] = field(default_factory=dict)
    _silent: dict[str, Silence] = field(default_factory=dict)
    _own: dict[str, None] = field(default_factory=dict)
    """Silent while others answered: their silence is their own."""

    def counts(self, host: str) -> bool:
        """Whether that a host does not answer may be held against it."""
        return self.doubt is None or host in self._own

    def is_silent(self, host: str) -> bool:
        """Whether a host that was heard before does not answer now."""
        return host in self._silent

    def hear(self, host: str, at: float) -> None:
        """Take an answer into account."""
        self._heard[host] = at
        self._silent.pop(host, None)
        self._own.pop(host, None)
        if self.doubt is not None:
            self.doubt.waiting.pop(host, None)
            self.doubt.lost.pop(host, None)
            self.doubt.heard[host] = at

    def miss(self, host: str, at: float, *, was_well: bool, is_unproven: bool) -> None:
        """Take a silence into account: that of a host that was heard before raises a doubt, or joins the open one.

        Args:
            host: who did not answer.
            at: when that was known.
            was_well: whether the journal says that it answered not long ago; heard since the start, it did as well.
            is_unproven: whether something of ours is under way there.
        """
        if self.doubt is not None:
            self.doubt.waiting.pop(host, None)
            self.doubt.heard.pop(host, None)
        if host in self._silent or not (was_well or host in self._heard):
            return
        self._silent[host] = Silence(at, is_unproven)
        if self.doubt is None:
            self._raise([host])
        elif not is_unproven:
            self.doubt.lost[host] = at

    @property
    def needs_witnesses(self) -> bool:
        """Whether there is a doubt for which nobody was named yet."""
        return self.doubt is not None and not self.doubt.is_called

    def call(self, witnesses: Iterable[str]) -> None:
        """Name the hosts that are asked because of the doubt."""
        if self.doubt is not None:
            self.doubt.witnesses, self.doubt.is_called = dict.fromkeys(witnesses), True

    def asked(self, host: str, at: float) -> None:
        """Note that a witness is being asked."""
        if self.doubt is not None:
            self.doubt.witnesses[host] = at
            self.doubt.waiting[host] = None

    def to_ask(self, now: float, *, again: bool) -> list[str]:
        """Return the witnesses to ask now; ``again``: also those that were asked a while ago."""
        if self.doubt is None:
            return []
        return [
            host
            for host, at in self.doubt.witnesses.items()
            if host not in self.doubt.waiting and (at is None or (again and now >= at + ASK_AGAIN_S))
        ]

    def settle(self) -> tuple[str, ...]:
        """Close a doubt that is decided and not the controller's own; returns whose silence counts from now on.

        Whoever fell silent after the last answers raises a new one: they say nothing of the network since.
        """
        doubt = self.doubt
        if doubt is None or not doubt.is_decided or doubt.is_cut_off:
            return ()
        answers = sorted(doubt.heard.values())
        needed = max(1, len(doubt.lost)) if doubt.witnesses else 0
        open_ = [host for host in self._silent if host not in self._own]
        own = [h for h in open_ if len(answers) - bisect_left(answers, self._silent[h].since) >= needed]
        self._own |= dict.fromkeys(own)
        self.doubt = None
        self._raise([host for host in open_ if host not in self._own])
        return tuple(own)

    def hears_again(self, now: float) -> bool:
        """Whether a controller that was cut off hears at least half of its hosts again."""
        doubt = self.doubt
        if doubt is None:
            return True
        lost = sum(at > now - LONG_LOST_S for at in doubt.lost.values())
        return bool(doubt.heard) and len(doubt.heard) >= lost

    def begin_anew(self) -> None:
        """Judge nobody by what was missed until now."""
        self._silent.clear()
        self._own.clear()
        self.doubt = None

    def _raise(self, hosts: list[str]) -> None:
        if hosts:
            lost = {host: self._silent[host].since for host in hosts if not self._silent[host].is_unproven}
            self.doubt = Doubt(min(self._silent[host].since for host in hosts), lost=lost)
