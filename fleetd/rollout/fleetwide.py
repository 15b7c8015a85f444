"""What is so beyond any one rollout: a controller that is cut off, hosts that are unwell, locks and a freeze."""

from __future__ import annotations

from dataclasses import dataclass, field

from fleetd.rollout import events as e
from fleetd.rollout.states import Committed, Current, HostState, Lost, RolledBack, Stranded, TrialKept
from fleetd.rollout.transitions import IllegalTransition


@dataclass(frozen=True, slots=True)
class Isolation:
    """The controller hears nobody. ``hosts`` are some of the ``lost``."""

    since: float
    lost: int
    heard: int
    hosts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Hold:
    """A lock on a host, or a freeze of the fleet: for whom, why, since when and until when (None: somebody ends it)."""

    owner: str
    reason: str
    since: float
    until: float | None


@dataclass(slots=True)
class Fleetwide:
    """The fold of the events that belong to no rollout alone."""

    isolated: Isolation | None = None
    unwell: dict[str, str] = field(default_factory=dict)
    """Hosts known to be unwell, whichever rollout left them so, with why; in the order in which they became so."""
    freeze: Hold | None = None
    locks: dict[str, Hold] = field(default_factory=dict)
    expires_at: float | None = None
    """When the first of these ends by itself."""

    def apply(self, event: e.FleetEvent) -> None:
        """Take an event into account. Raises IllegalTransition, and then nothing has changed."""
        match event:
            case e.ControllerIsolated() if self.isolated is None:
                self.isolated = Isolation(event.since, event.lost, event.heard, event.hosts)
            case e.ContactRestored() if self.isolated is not None:
                self.isolated = None
            case e.HostLocked():
                self.locks[event.host] = Hold(event.owner, event.reason, event.at, event.until)
            case e.HostUnlocked() if event.host in self.locks:
                del self.locks[event.host]
            case e.FreezeSet():
                self.freeze = Hold(event.owner, event.reason, event.at, event.until)
            case e.FreezeLifted() if self.freeze is not None:
                self.freeze = None
            case _:
                raise IllegalTransition("the fleet", event)
        holds = [*self.locks.values(), *([self.freeze] if self.freeze is not None else [])]
        self.expires_at = min((hold.until for hold in holds if hold.until is not None), default=None)

    def host_changed(self, host: str, before: HostState, after: HostState, event: e.HostEvent) -> bool:
        """Take into account what became of a host in a rollout; returns whether it is unwell no more."""
        count = len(self.unwell)
        match after, event:
            case _, e.HostCleared():
                self.unwell.pop(host, None)
            case (_, e.HostUnhealthy(reason=why)) | (Lost(reason=why), e.HostGivenUp()) | (Stranded(reason=why), _):
                self.unwell[host] = why
            case (Committed() | TrialKept(), e.HostReported()) | (Current(), e.FoundCurrent()) | (RolledBack(), _):
                self.unwell.pop(host, None)
            case _:
                if isinstance(before, Lost) and not isinstance(after, Lost):
                    # It was seen again, whatever became of it.
                    self.unwell.pop(host, None)
        return len(self.unwell) < count
