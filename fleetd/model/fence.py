"""The fence on every order: a host refuses a lower one, so a stale order can never move it backwards."""

from __future__ import annotations

import re
from dataclasses import dataclass

_FENCE = re.compile(r"(0|[1-9]\d{0,17})\.(0|[1-9]\d{0,17})")


@dataclass(frozen=True, slots=True, order=True)
class Fence:
    """``term.seq``: the term rises durably each time a controller starts, seq is the journal sequence of the intent."""

    term: int
    seq: int

    def __str__(self) -> str:
        return f"{self.term}.{self.seq}"

    @classmethod
    def parse(cls, text: str) -> Fence:
        """Read ``term.seq``. Raises ValueError."""
        match = _FENCE.fullmatch(text)
        if match is None:
            raise ValueError(f"{text!r} is not a fence (expected TERM.SEQ)")
        return cls(int(match[1]), int(match[2]))


NO_FENCE = Fence(0, 0)
"""What a host holds that was never given an order."""
