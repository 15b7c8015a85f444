"""What is so beyond any one rollout: a controller that is cut off, hosts that are unwell, locks and a freeze."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

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


@dataclass(frozen=True, slots=True)
class Found:
    """What was found to be wrong with a host that is in no rollout, and since when; ``excused``: a person knows."""

    kind: e.Ailment
    reason: str
    since: float
    excused: bool = False

    @property
    def counts(self) -> bool:
        """Whether the host counts as unwell: one that somebody switched by hand may be as well as any."""
        return self.kind is not e.Ailment.DRIFTED and not self.excused


@dataclass(slots=True)
class Fleetwide:
    """The fold of the events that belong to no rollout alone."""

    isolated: Isolation | None = None
    unwell: dict[str, str] = field(default_factory=dict)
    """Hosts known to be unwell, whoever left them so, with why; in the order in which they became so."""
    blamed: dict[str, str] = field(default_factory=dict)
    """Those of them that a rollout left so."""
    found: dict[str, Found] = field(default_factory=dict)
    """Hosts in no rollout with which something is wrong, whether or not they count as unwell."""
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
            case e.HostFoundUnwell():
                self._find(event.host, Found(event.kind, event.reason, event.at))
            case e.HostFoundWell() if event.host in self.found:
                self._find(event.host, None)
            case e.HostExcused() if event.host in self.found:
                self._find(event.host, replace(self.found[event.host], excused=True))
            case _:
                raise IllegalTransition("the fleet", event)
        holds = [*self.locks.values(), *([self.freeze] if self.freeze is not None else [])]
        self.expires_at = min((hold.until for hold in holds if hold.until is not None), default=None)

    def host_changed(self, host: str, before: HostState, after: HostState, event: e.HostEvent) -> bool:
        """Take into account what became of a host in a rollout; returns whether it is unwell no more."""
        count = len(self.unwell)
        match after, event:
            case _, e.HostCleared():
                self.blamed.pop(host, None)
            case (_, e.HostUnhealthy(reason=why)) | (Lost(reason=why), e.HostGivenUp()) | (Stranded(reason=why), _):
                self.blamed[host] = why
            case (Committed() | TrialKept(), e.HostReported()) | (Current(), e.FoundCurrent()) | (RolledBack(), _):
                # What a rollout has just seen of a host is newer than what was found before.
                self.blamed.pop(host, None)
                self.found.pop(host, None)
            case _:
                if isinstance(before, Lost) and not isinstance(after, Lost):
                    # It was seen again, whatever became of it.
                    self.blamed.pop(host, None)
        self._count(host)
        return len(self.unwell) < count

    def _find(self, host: str, found: Found | None) -> None:
        if found is None:
            del self.found[host]
        else:
            self.found[host] = found
        self._count(host)

    def _count(self, host: str) -> None:
        """Let a host be among the unwell for as long as a rollout or a look says so."""
        found = self.found.get(host)
        why = self.blamed.get(host) or (found.reason if found is not None and found.counts else None)
        if why is None:
            self.unwell.pop(host, None)
        else:
            self.unwell[host] = why
