"""Which fences a journal has given: a host that holds another one obeys somebody else, or a part that is lost."""

from __future__ import annotations

from dataclasses import dataclass, field

from fleetd.model.fence import NO_FENCE, Fence

ANY_SEQ = 10**18
"""No journal gets this far."""


@dataclass(slots=True)
class Terms:
    """The fold of the starts: the term that is now, and where each one before it ended."""

    now: int = 0
    _last: dict[int, int] = field(default_factory=dict)

    def begin(self, term: int, seq: int) -> None:
        """Begin a term after record ``seq``."""
        self._last.setdefault(self.now, seq)
        self.now = term

    def recover(self) -> None:
        """A recovery gives orders in this term: they have fences of their own, beside the journal's."""
        self._last[self.now] = ANY_SEQ

    def gave(self, fence: Fence, seq: int) -> bool:
        """Whether a journal that has come to ``seq`` may have given a fence."""
        if fence == NO_FENCE:
            return True
        return fence.seq <= self._last.get(fence.term, seq if fence.term == self.now else -1)
