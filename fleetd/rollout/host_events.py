"""What can happen to one host of a rollout: intents, outcomes, and decisions about it."""

from __future__ import annotations

from dataclasses import dataclass

from fleetd.model.facts import HelperState, Verdict
from fleetd.model.fence import Fence
from fleetd.model.store_path import StorePath


@dataclass(frozen=True, slots=True)
class EvaluateIntended:
    """A host's toplevel is about to be evaluated."""

    at: float
    rollout: str
    host: str
    fence: Fence
    deadline: float


@dataclass(frozen=True, slots=True)
class Evaluated:
    """The derivation of a host's toplevel is known."""

    at: float
    rollout: str
    host: str
    fence: Fence
    derivation: str


@dataclass(frozen=True, slots=True)
class BuildIntended:
    """A host's toplevel is about to be built."""

    at: float
    rollout: str
    host: str
    fence: Fence
    deadline: float


@dataclass(frozen=True, slots=True)
class Built:
    """The toplevel is in the control node's store, and kept alive there.

    With ``derivation`` it is only known what it will be: the host builds it from that when its turn comes.
    """

    at: float
    rollout: str
    host: str
    fence: Fence
    toplevel: StorePath
    derivation: str = ""


@dataclass(frozen=True, slots=True)
class SourceRefused:
    """The host's system does not evaluate or build; ``reason`` is Nix's own message."""

    at: float
    rollout: str
    host: str
    fence: Fence
    reason: str


@dataclass(frozen=True, slots=True)
class FoundCurrent:
    """The host already runs its toplevel, as profile and boot default too."""

    at: float
    rollout: str
    host: str
    machine_id: str
    passed_before: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HostDeferred:
    """The host is out of reach or blocked, and nothing was done to it."""

    at: float
    rollout: str
    host: str
    kind: str
    reason: str


@dataclass(frozen=True, slots=True)
class HostFailed:
    """The host cannot come to a trial."""

    at: float
    rollout: str
    host: str
    kind: str
    reason: str


@dataclass(frozen=True, slots=True)
class HostSkipped:
    """The rollout ended before this host's turn."""

    at: float
    rollout: str
    host: str
    reason: str


@dataclass(frozen=True, slots=True)
class HostRetried:
    """A person wants a host tried once more."""

    at: float
    rollout: str
    host: str
    by: str
    reason: str


@dataclass(frozen=True, slots=True)
class CopyIntended:
    """The closure is about to be pushed."""

    at: float
    rollout: str
    host: str
    fence: Fence
    deadline: float


@dataclass(frozen=True, slots=True)
class CopyDone:
    """The closure is valid and rooted on the host."""

    at: float
    rollout: str
    host: str
    fence: Fence
    paths: int
    bytes: int


@dataclass(frozen=True, slots=True)
class CopyRefused:
    """The closure did not arrive; ``kind`` is ``unreachable`` or a push error's code."""

    at: float
    rollout: str
    host: str
    fence: Fence
    kind: str
    reason: str


@dataclass(frozen=True, slots=True)
class TrialIntended:
    """The trial is about to be ordered: from here on the host is unproven."""

    at: float
    rollout: str
    host: str
    fence: Fence
    deadline: float
    old: StorePath
    machine_id: str
    passed_before: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StageIntended:
    """The host's next boot is about to be moved; ``old`` is what it would boot until then."""

    at: float
    rollout: str
    host: str
    fence: Fence
    deadline: float
    old: StorePath
    machine_id: str


@dataclass(frozen=True, slots=True)
class DryRunIntended:
    """The host is about to be asked what a switch would change."""

    at: float
    rollout: str
    host: str
    fence: Fence
    deadline: float


@dataclass(frozen=True, slots=True)
class DryRunDone:
    """The host said what a switch would change; ``reason`` is why it could not, empty when it could."""

    at: float
    rollout: str
    host: str
    fence: Fence
    reason: str


@dataclass(frozen=True, slots=True)
class CommitIntended:
    """Health was proven; the commit is about to be ordered."""

    at: float
    rollout: str
    host: str
    fence: Fence
    deadline: float


@dataclass(frozen=True, slots=True)
class ReleaseIntended:
    """Health was proven in a test; the trial is about to be ended without a commit."""

    at: float
    rollout: str
    host: str
    fence: Fence
    deadline: float


@dataclass(frozen=True, slots=True)
class RevertIntended:
    """The host is about to be told to go back; ``unjudged`` because its checks could not be asked."""

    at: float
    rollout: str
    host: str
    fence: Fence
    deadline: float
    reason: str
    unjudged: bool = False


@dataclass(frozen=True, slots=True)
class SettleIntended:
    """The host is about to be asked what became of it, under a fence that ends every earlier order."""

    at: float
    rollout: str
    host: str
    fence: Fence
    deadline: float


@dataclass(frozen=True, slots=True)
class HostReported:
    """The answer to an order, or to a settle: what the host says of the activation.

    ``ours`` is whether the host speaks of this activation at all: if not, the trial never started. ``by`` says what
    ended it.
    """

    at: float
    rollout: str
    host: str
    fence: Fence
    state: HelperState
    ours: bool
    verdict: Verdict
    by: str
    reason: str


@dataclass(frozen=True, slots=True)
class OrderRejected:
    """The host refused the order, so nothing was done by it; ``code`` is the helper's word."""

    at: float
    rollout: str
    host: str
    fence: Fence
    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class OrderNotSent:
    """There was no connection, so the order did not leave."""

    at: float
    rollout: str
    host: str
    fence: Fence
    reason: str


@dataclass(frozen=True, slots=True)
class ContactLost:
    """Nobody knows what became of the order."""

    at: float
    rollout: str
    host: str
    fence: Fence
    reason: str


@dataclass(frozen=True, slots=True)
class HostGivenUp:
    """A host stayed unknown until long after its guard must have fired: the rollout goes on without it."""

    at: float
    rollout: str
    host: str
    reason: str


@dataclass(frozen=True, slots=True)
class PowerCycleIntended:
    """The power of a host that did not come back from its reboot is about to be taken away and given back."""

    at: float
    rollout: str
    host: str
    fence: Fence
    deadline: float


@dataclass(frozen=True, slots=True)
class PowerCycled:
    """What came of it; ``done`` is whether the command says that it did it, ``reason`` how it ended."""

    at: float
    rollout: str
    host: str
    fence: Fence
    done: bool
    reason: str


@dataclass(frozen=True, slots=True)
class HostCleared:
    """A person says that a lost or stranded host is gone, or in order: nothing waits for it any longer."""

    at: float
    rollout: str
    host: str
    by: str
    reason: str


@dataclass(frozen=True, slots=True)
class HostUnhealthy:
    """A committed host stopped being well in the soak."""

    at: float
    rollout: str
    host: str
    reason: str


@dataclass(frozen=True, slots=True)
class ChangesTold:
    """What differs between the system that failed on a host and the one before. Nothing is decided by it."""

    at: float
    rollout: str
    host: str
    text: str


@dataclass(frozen=True, slots=True)
class RollbackDecided:
    """A host of this rollout is to be taken back to ``to``."""

    at: float
    rollout: str
    host: str
    to: StorePath
    reason: str


@dataclass(frozen=True, slots=True)
class OutcomeRejected:
    """An outcome that the state of its host does not allow: kept for people, changes nothing."""

    at: float
    rollout: str
    host: str
    outcome: str
    reason: str
