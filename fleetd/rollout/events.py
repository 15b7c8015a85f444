"""Everything that can happen. Events are facts: the journal is a list of them, and the world is their fold.

Three kinds: *intents* (an effect is about to be started; they carry its fence), *outcomes* (what came of it), and
*decisions* (gates of a rollout, requests of people). Probe results, extends and progress are not events: they live in
memory, and are safe to lose.
"""

from __future__ import annotations

from fleetd.rollout.fleet_events import (
    Ailment,
    ContactRestored,
    ControllerIsolated,
    FreezeLifted,
    FreezeSet,
    HostExcused,
    HostFoundUnwell,
    HostFoundWell,
    HostLocked,
    HostUnlocked,
)
from fleetd.rollout.hook_events import HookEnded, HookEvent, HookGivenUp, HookIntended, HooksCleared
from fleetd.rollout.host_events import (
    BuildIntended,
    Built,
    ChangesTold,
    CommitIntended,
    ContactLost,
    CopyDone,
    CopyIntended,
    CopyRefused,
    DryRunDone,
    DryRunIntended,
    Evaluated,
    EvaluateIntended,
    FoundCurrent,
    HostCleared,
    HostDeferred,
    HostFailed,
    HostGivenUp,
    HostReported,
    HostRetried,
    HostSkipped,
    HostUnhealthy,
    OrderNotSent,
    OrderRejected,
    OutcomeRejected,
    PowerCycled,
    PowerCycleIntended,
    ReleaseIntended,
    RevertIntended,
    RollbackDecided,
    SettleIntended,
    SourceRefused,
    StageIntended,
    TrialIntended,
)
from fleetd.rollout.record_events import HostAdopted, HostNotOwed, HostOwed, RecordEvent
from fleetd.rollout.recovery_events import (
    ActivationRecovered,
    HostRecovered,
    RecoveryBegan,
    RecoveryEnded,
    RecoveryEvent,
)
from fleetd.rollout.rollout_events import (
    FINAL_PHASES,
    AbortRequested,
    ApprovalAsked,
    ApprovalDenied,
    ApprovalGiven,
    ControllerStarted,
    PauseRequested,
    Phase,
    PromoteRequested,
    ResumeRequested,
    RevisionLocked,
    RevisionRefused,
    RollbackRequested,
    RollingStarted,
    RolloutFailing,
    RolloutFinished,
    RolloutRequested,
    RolloutStarted,
    RolloutSuperseded,
    SoakStarted,
    WavePassed,
    WaveRefilled,
)

__all__ = [
    "FINAL_PHASES",
    "AbortRequested",
    "ActivationRecovered",
    "Ailment",
    "ApprovalAsked",
    "ApprovalDenied",
    "ApprovalGiven",
    "BuildIntended",
    "Built",
    "ChangesTold",
    "CommitIntended",
    "ContactLost",
    "ContactRestored",
    "ControllerIsolated",
    "ControllerStarted",
    "CopyDone",
    "CopyIntended",
    "CopyRefused",
    "DryRunDone",
    "DryRunIntended",
    "EvaluateIntended",
    "Evaluated",
    "Event",
    "FleetEvent",
    "FoundCurrent",
    "FreezeLifted",
    "FreezeSet",
    "HoldEvent",
    "HookEnded",
    "HookEvent",
    "HookGivenUp",
    "HookIntended",
    "HooksCleared",
    "HostAdopted",
    "HostCleared",
    "HostDeferred",
    "HostEvent",
    "HostExcused",
    "HostFailed",
    "HostFoundUnwell",
    "HostFoundWell",
    "HostGivenUp",
    "HostLocked",
    "HostNotOwed",
    "HostOwed",
    "HostRecovered",
    "HostReported",
    "HostRetried",
    "HostSkipped",
    "HostUnhealthy",
    "HostUnlocked",
    "IntentEvent",
    "OrderIntent",
    "OrderNotSent",
    "OrderRejected",
    "OutcomeEvent",
    "OutcomeRejected",
    "PauseRequested",
    "Phase",
    "PowerCycleIntended",
    "PowerCycled",
    "PromoteRequested",
    "RecordEvent",
    "RecoveryBegan",
    "RecoveryEnded",
    "RecoveryEvent",
    "ReleaseIntended",
    "ResumeRequested",
    "RevertIntended",
    "RevisionLocked",
    "RevisionRefused",
    "RollbackDecided",
    "RollbackRequested",
    "RollingStarted",
    "RolloutEvent",
    "RolloutFailing",
    "RolloutFinished",
    "RolloutRequested",
    "RolloutStarted",
    "RolloutSuperseded",
    "SettleIntended",
    "SightingEvent",
    "SoakStarted",
    "SourceRefused",
    "StageIntended",
    "TrialIntended",
    "WavePassed",
    "WaveRefilled",
]

OrderIntent = TrialIntended | StageIntended | CommitIntended | ReleaseIntended | RevertIntended | SettleIntended
"""What becomes an order to a host."""

HostIntent = EvaluateIntended | BuildIntended | CopyIntended | DryRunIntended | PowerCycleIntended | OrderIntent

IntentEvent = HostIntent | HookIntended

OutcomeEvent = (
    Evaluated
    | Built
    | SourceRefused
    | CopyDone
    | CopyRefused
    | DryRunDone
    | HostReported
    | OrderRejected
    | OrderNotSent
    | ContactLost
    | PowerCycled
)

HostEvent = (
    HostIntent
    | OutcomeEvent
    | FoundCurrent
    | HostDeferred
    | HostFailed
    | HostSkipped
    | HostRetried
    | HostGivenUp
    | HostCleared
    | HostUnhealthy
    | RollbackDecided
    | ActivationRecovered
)

RolloutEvent = (
    RolloutRequested
    | RolloutStarted
    | RollingStarted
    | RevisionLocked
    | RevisionRefused
    | WaveRefilled
    | SoakStarted
    | WavePassed
    | RolloutFailing
    | PauseRequested
    | ResumeRequested
    | PromoteRequested
    | ApprovalAsked
    | ApprovalGiven
    | ApprovalDenied
    | AbortRequested
    | RollbackRequested
    | RolloutSuperseded
    | RolloutFinished
)

SightingEvent = HostFoundUnwell | HostFoundWell | HostExcused
"""About one host that is in no rollout."""

HoldEvent = HostLocked | HostUnlocked | FreezeSet | FreezeLifted

FleetEvent = ControllerIsolated | ContactRestored | HoldEvent | SightingEvent

Event = (
    ControllerStarted
    | FleetEvent
    | RecoveryEvent
    | RolloutEvent
    | HostEvent
    | RecordEvent
    | HookEvent
    | OutcomeRejected
    | ChangesTold
)
