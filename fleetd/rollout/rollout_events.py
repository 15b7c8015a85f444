"""What can happen to a rollout as a whole: requests of people, and decisions of its gates."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from fleetd.rollout.spec import RolloutSpec


class Phase(StrEnum):
    """Where a rollout stands; the last ones are final."""

    PENDING = "pending"
    EVALUATING = "evaluating"
    BUILDING = "building"
    ROLLING = "rolling"
    SOAKING = "soaking"
    AWAITING_APPROVAL = "awaiting-approval"
    ROLLING_BACK = "rolling-back"
    SUCCEEDED = "succeeded"
    INCOMPLETE = "incomplete"
    FAILED = "failed"
    ROLLED_BACK = "rolled-back"
    ABORTED = "aborted"
    SUPERSEDED = "superseded"
    NEEDS_OPERATOR = "needs-operator"

    @property
    def is_final(self) -> bool:
        """Whether nothing more will happen in the rollout by itself."""
        return self in FINAL_PHASES


FINAL_PHASES = (
    Phase.SUCCEEDED,
    Phase.INCOMPLETE,
    Phase.FAILED,
    Phase.ROLLED_BACK,
    Phase.ABORTED,
    Phase.SUPERSEDED,
    Phase.NEEDS_OPERATOR,
)


@dataclass(frozen=True, slots=True)
class ControllerStarted:
    """A controller took over; orders of earlier terms have unknown outcomes. ``away_s``: how long nobody was there."""

    at: float
    term: int
    away_s: float


@dataclass(frozen=True, slots=True)
class RolloutRequested:
    """A rollout was accepted."""

    at: float
    rollout: str
    spec: RolloutSpec


@dataclass(frozen=True, slots=True)
class RolloutStarted:
    """No earlier rollout holds any of its hosts any more."""

    at: float
    rollout: str


@dataclass(frozen=True, slots=True)
class RollingStarted:
    """Every host is built, or is known not to build: waves may start."""

    at: float
    rollout: str


@dataclass(frozen=True, slots=True)
class RevisionLocked:
    """The flake reference was locked: from here on every host is evaluated from exactly this."""

    at: float
    rollout: str
    locked: str


@dataclass(frozen=True, slots=True)
class RevisionRefused:
    """The flake reference could not be locked, or what it is now may not be deployed; ``kind`` is for machines."""

    at: float
    rollout: str
    reason: str
    kind: str = "source"


@dataclass(frozen=True, slots=True)
class WaveRefilled:
    """A deferred host is replaced in its wave by one of a later wave."""

    at: float
    rollout: str
    wave: int
    host: str


@dataclass(frozen=True, slots=True)
class SoakStarted:
    """Every host of the wave has ended, at least one of them well."""

    at: float
    rollout: str
    wave: int


@dataclass(frozen=True, slots=True)
class WavePassed:
    """The wave was observed healthy for its soak."""

    at: float
    rollout: str
    wave: int


@dataclass(frozen=True, slots=True)
class RolloutFailing:
    """A budget is exceeded, or a deadline passed: nothing more starts. ``take_back``: committed hosts go back."""

    at: float
    rollout: str
    reason: str
    take_back: bool


@dataclass(frozen=True, slots=True)
class PauseRequested:
    """Nothing more starts for now; what is under way goes on. Said by a person, or by a policy when it failed."""

    at: float
    rollout: str
    by: str
    reason: str


@dataclass(frozen=True, slots=True)
class ResumeRequested:
    """A person lets the rollout go on. ``forgiven`` are the hosts that had failed by then: they count no more."""

    at: float
    rollout: str
    by: str
    reason: str
    forgiven: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PromoteRequested:
    """A person ends the soak of this wave; its evidence must be there all the same."""

    at: float
    rollout: str
    wave: int
    by: str
    reason: str


@dataclass(frozen=True, slots=True)
class ApprovalAsked:
    """The wave is next, and waits for a person until ``until``."""

    at: float
    rollout: str
    wave: int
    until: float


@dataclass(frozen=True, slots=True)
class ApprovalGiven:
    """A person lets the wave start."""

    at: float
    rollout: str
    wave: int
    by: str
    reason: str


@dataclass(frozen=True, slots=True)
class ApprovalDenied:
    """A person does not let the wave start, or nobody did in time: the rollout ends with what it has."""

    at: float
    rollout: str
    wave: int
    by: str
    reason: str


@dataclass(frozen=True, slots=True)
class AbortRequested:
    """A person ended the rollout: nothing more starts, trials go back."""

    at: float
    rollout: str
    by: str
    reason: str


@dataclass(frozen=True, slots=True)
class RolloutSuperseded:
    """A later rollout takes the place of this one: nothing more starts, and what is under way is brought to its end."""

    at: float
    rollout: str
    by: str


@dataclass(frozen=True, slots=True)
class RollbackRequested:
    """A person wants every host of the rollout back on what it ran before."""

    at: float
    rollout: str
    by: str
    reason: str


@dataclass(frozen=True, slots=True)
class RolloutFinished:
    """The rollout came to a final phase."""

    at: float
    rollout: str
    phase: Phase
    reason: str
