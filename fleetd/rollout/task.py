"""What the states of a host are made of: what is to be done, what is under way, and what an activation holds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from fleetd.model.fence import Fence
from fleetd.model.order import Verb
from fleetd.model.store_path import StorePath


class Direction(StrEnum):
    """Whether an activation brings the new revision or takes it back."""

    DEPLOY = "deploy"
    ROLLBACK = "rollback"


class Effect(StrEnum):
    """What an intent sets in motion besides orders."""

    EVALUATE = "evaluate"
    BUILD = "build"
    COPY = "copy"
    POWER_CYCLE = "power-cycle"


@dataclass(frozen=True, slots=True)
class Flight:
    """An effect is under way. Until its deadline nothing else may be planned for the host.

    ``fence`` names the intent (its journal sequence, and the term of the controller that started it), so an outcome
    of another flight can be told from this one's.
    """

    verb: Verb | Effect
    fence: Fence
    deadline: float


@dataclass(frozen=True, slots=True)
class Task:
    """What is to be done with a host: ``to`` is unknown until it is built."""

    to: StorePath | None
    direction: Direction = Direction.DEPLOY
    attempt: int = 1
    baseline: tuple[str, ...] | None = None
    """For a rollback: the checks that passed before the deploy, which must pass again. None: found by asking."""
    absences: int = 0
    """How many of the attempts ended because no controller was there."""
    unsent: int = 0
    """How many times the order of a trial did not leave."""
    copies_gone: int = 0
    """How many times the host no longer had the copy when the order came."""
    derivation: str = ""
    """What the host builds ``to`` from, itself; empty where the control node has it and sends it."""


@dataclass(frozen=True, slots=True)
class Live:
    """What is true while an activation holds the host.

    ``fence`` is that of the last order; ``flight`` the order under way. ``lost_since`` marks an outcome nobody knows;
    ``retry_at`` is when to ask again. ``passed_before`` are the checks that passed before the switch: only they can
    count against it. ``absent`` means that no controller was there for a while, so a guard that fires says nothing
    about the system: there may have been too little time left to keep it from that.
    """

    old: StorePath
    passed_before: tuple[str, ...]
    fence: Fence
    armed_at: float
    flight: Flight | None = None
    lost_since: float | None = None
    retry_at: float = 0.0
    absent: bool = False
    rebooting_since: float | None = None
    """When it was first seen to go down for its trial; None where it is not known to have been rebooted."""


class IllegalTransition(Exception):
    """This event cannot happen in this state. In a replay it means a corrupt journal."""

    def __init__(self, state: object, event: object) -> None:
        super().__init__(f"{type(event).__name__} cannot happen to a host that is {type(state).__name__}: {event!r}")
