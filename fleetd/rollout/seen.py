"""What was seen of hosts just now. Volatile: lost in a crash, and that is safe."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import assert_never

from fleetd.model.check import CheckResult
from fleetd.model.facts import HostFacts
from fleetd.model.program import Aid
from fleetd.rollout.health import Health, forget_errors


class Unheard(StrEnum):
    """Why a host told nothing of itself before anything was done there, a word each; policies treat them alike."""

    UNREACHABLE = "unreachable"
    LOGIN_REFUSED = "login-refused"
    """It proved to be this host, and refused the user, the key or the privilege command."""
    HOST_IDENTITY = "host-identity"
    """Something with another host key answered, or nothing is known by which this host could prove itself."""
    DISK_FULL = "disk-full"
    """It let us in, and has no room for the helper that would answer."""

    @property
    def is_answer(self) -> bool:
        """Whether the host itself was heard. What has another key may be anybody, where a network was rearranged."""
        return self in (Unheard.LOGIN_REFUSED, Unheard.DISK_FULL)

    @property
    def does(self) -> str:
        """What such a host does, after its name."""
        match self:
            case Unheard.UNREACHABLE:
                return "does not answer"
            case Unheard.LOGIN_REFUSED:
                return "refuses the login"
            case Unheard.HOST_IDENTITY:
                return "cannot prove to be this host"
            case Unheard.DISK_FULL:
                return "has a full disk"
            case _:
                assert_never(self)


UNHEARD = frozenset(Unheard)


def unheard(kind: str) -> Unheard:
    """Return the word for an error of this kind; whatever has no word of its own is a host that was not reached."""
    return Unheard(kind) if kind in UNHEARD else Unheard.UNREACHABLE


@dataclass(slots=True)
class Observation:
    """What was seen of a host in its present step. Volatile: lost in a crash, and that is safe.

    ``step`` is different for each step of a host: an answer that was asked for in an earlier one proves nothing about
    this one. ``asking`` is set while a question is under way, so that it is not asked twice.
    """

    step: int
    facts: HostFacts | None = None
    baseline: tuple[CheckResult, ...] = ()
    inspected_at: float | None = None
    unasked: int = 0
    """How many times in a row a check of the baseline could not be asked, although the host answered."""
    reached_at: float | None = None
    asked_at: float = 0.0
    """When the host last failed to answer; ``failures`` is how often in a row, ``unreachable`` what was said."""
    silent_since: float = 0.0
    """When it failed to answer for the first of those times."""
    unreachable: str = ""
    unheard: Unheard = Unheard.UNREACHABLE
    """Of what kind the last of those failures was."""
    failures: int = 0
    health: Health = field(default_factory=Health)
    asking: str = ""
    next_round_at: float = 0.0
    extended_at: float = 0.0
    extending: bool = False
    aids: tuple[Aid, ...] = ()
    """What the control node can do for the host where it does not answer, as the fleet file says now."""
    unlocks: int = 0
    """How often it was tried to unlock it."""
    unlock_at: float = 0.0
    """When it may be tried again."""
    unlocking: bool = False

    def forget_errors(self) -> None:
        """Count anew how often checks could not be asked."""
        self.health = forget_errors(self.health)
        if self.unasked:
            self.unasked, self.inspected_at = 0, None


@dataclass(frozen=True, slots=True)
class Look:
    """A look at a host for its group: ``why`` it is unavailable, empty when it is not.

    ``is_sick``: it answered, and checks of it fail; a host that does not answer may be well.
    """

    at: float
    why: str
    is_sick: bool = False
