"""What can happen to the hooks of a host in a rollout."""

from __future__ import annotations

from dataclasses import dataclass

from fleetd.model.fence import Fence
from fleetd.model.hook import HookEnd


@dataclass(frozen=True, slots=True)
class HookIntended:
    """A hook is about to run.

    ``state`` is the word for where the host stands, ``number`` counts the tries in a row: the hook is told both.
    """

    at: float
    rollout: str
    host: str
    fence: Fence
    deadline: float
    hook: str
    state: str
    number: int


@dataclass(frozen=True, slots=True)
class HookEnded:
    """What came of a run of a hook, in words where it did not go well."""

    at: float
    rollout: str
    host: str
    fence: Fence
    hook: str
    end: HookEnd
    reason: str = ""


@dataclass(frozen=True, slots=True)
class HookGivenUp:
    """A hook that did not go well is not run again, and what comes after it is.

    ``stuck``: what it was to put back is not known to be back, so that a person must look.
    """

    at: float
    rollout: str
    host: str
    hook: str
    reason: str
    stuck: bool


@dataclass(frozen=True, slots=True)
class HooksCleared:
    """A person says that what the hooks of a host left behind is in order."""

    at: float
    rollout: str
    host: str
    by: str
    reason: str


HookEvent = HookIntended | HookEnded | HookGivenUp | HooksCleared
