"""A rollout's header: everything that is true of it as a whole, and how events change it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from fleetd.rollout import events as e
from fleetd.rollout.spec import RolloutSpec, Wave
from fleetd.rollout.transitions import IllegalTransition


@dataclass(frozen=True, slots=True)
class Failing:
    """Why nothing more starts, and what happens to the hosts."""

    reason: str
    take_back: bool
    whole: bool
    """Whether every committed host goes back whatever the policy's scope says, because a person asked for it."""


@dataclass(frozen=True, slots=True)
class Aborted:
    """A person ended it."""

    by: str
    reason: str


@dataclass(frozen=True, slots=True)
class Paused:
    """Nothing more starts until a person resumes it."""

    by: str
    reason: str
    at: float


@dataclass(frozen=True, slots=True)
class Header:
    """What is true of a rollout as a whole.

    ``wave`` is the index of the wave that is released; ``waves`` are those of the spec with refills applied.
    ``progress_at`` is when something last happened to one of its hosts.
    """

    spec: RolloutSpec
    phase: e.Phase
    created_at: float
    progress_at: float
    waves: tuple[Wave, ...]
    wave: int = 0
    locked: str | None = None
    source_error: str = ""
    source_kind: str = ""
    """The word for machines of ``source_error``."""
    failing: Failing | None = None
    aborted: Aborted | None = None
    paused: Paused | None = None
    promoted: int | None = None
    """The wave whose soak a person ended."""
    approved: tuple[int, ...] = ()
    approval_until: float | None = None
    """Until when the released wave waits for approval; None while it was not asked for."""
    superseded_by: str = ""
    forgiven: tuple[str, ...] = ()
    """Hosts whose failure counts no more, because a person resumed the rollout all the same."""
    finished_at: float | None = None
    finish_reason: str = ""

    @property
    def starts_nothing(self) -> bool:
        """Whether the rollout is on its way out."""
        return self.failing is not None or self.aborted is not None or bool(self.superseded_by)


def new_header(event: e.RolloutRequested) -> Header:
    """Return the header of a rollout that was just accepted."""
    return Header(event.spec, e.Phase.PENDING, event.at, event.at, event.spec.waves)


def evolve_header(header: Header, event: e.RolloutEvent) -> Header:
    """Return the header after an event. Raises IllegalTransition, and then nothing has changed."""
    if header.phase.is_final:
        raise IllegalTransition(header, event)
    match event:
        case e.RolloutStarted() if header.phase is e.Phase.PENDING:
            return replace(header, phase=e.Phase.EVALUATING, progress_at=event.at)
        case e.RevisionLocked() if header.locked is None:
            return replace(header, locked=event.locked)
        case e.RevisionRefused():
            return replace(header, source_error=event.reason, source_kind=event.kind)
        case e.RollingStarted() if header.phase is e.Phase.EVALUATING:
            return replace(header, phase=e.Phase.ROLLING, progress_at=event.at)
        case e.WaveRefilled():
            return replace(header, waves=_refill(header, event))
        case e.SoakStarted() if event.wave == header.wave and header.phase is e.Phase.ROLLING:
            return replace(header, phase=e.Phase.SOAKING)
        case e.PauseRequested() | e.ResumeRequested() | e.PromoteRequested():
            return _person_says(header, event)
        case e.ApprovalAsked() | e.ApprovalGiven() | e.ApprovalDenied() if event.wave == header.wave:
            return _approval(header, event)
        case e.WavePassed() if event.wave == header.wave and header.phase in (e.Phase.ROLLING, e.Phase.SOAKING):
            return replace(header, phase=e.Phase.ROLLING, wave=header.wave + 1, progress_at=event.at)
        case e.RolloutFailing() if header.failing is None:
            phase = e.Phase.ROLLING_BACK if event.take_back else header.phase
            return replace(header, phase=phase, failing=Failing(event.reason, event.take_back, whole=False))
        case e.AbortRequested():
            return replace(header, aborted=header.aborted or Aborted(event.by, event.reason))
        case e.RolloutSuperseded() if not header.starts_nothing:
            return replace(header, superseded_by=event.by)
        case e.RollbackRequested():
            failing = Failing(f"rollback asked for by {event.by}: {event.reason}".rstrip(": "), True, whole=True)
            return replace(header, phase=e.Phase.ROLLING_BACK, failing=failing)
        case e.RolloutFinished():
            return replace(header, phase=event.phase, finished_at=event.at, finish_reason=event.reason)
        case _:
            raise IllegalTransition(header, event)


def after_absence(header: Header, away_s: float) -> Header:
    """Return the header after nobody was there for a while: the deadlines of the controller move by that time."""
    until = None if header.approval_until is None else header.approval_until + away_s
    return replace(header, progress_at=header.progress_at + away_s, approval_until=until)


def _person_says(header: Header, event: e.PauseRequested | e.ResumeRequested | e.PromoteRequested) -> Header:
    match event:
        case e.PauseRequested() if header.paused is None and not header.starts_nothing:
            return replace(header, paused=Paused(event.by, event.reason, event.at))
        case e.ResumeRequested() if header.paused is not None:
            return replace(header, paused=None, progress_at=event.at, forgiven=event.forgiven)
        case e.PromoteRequested() if header.phase is e.Phase.SOAKING and event.wave == header.wave:
            return replace(header, promoted=event.wave)
        case _:
            raise IllegalTransition(header, event)


def _approval(header: Header, event: e.ApprovalAsked | e.ApprovalGiven | e.ApprovalDenied) -> Header:
    match event:
        case e.ApprovalAsked() if header.phase is e.Phase.ROLLING and event.wave not in header.approved:
            return replace(header, phase=e.Phase.AWAITING_APPROVAL, approval_until=event.until)
        case e.ApprovalGiven() if header.phase is e.Phase.AWAITING_APPROVAL:
            return replace(
                header,
                phase=e.Phase.ROLLING,
                approved=(*header.approved, event.wave),
                approval_until=None,
                progress_at=event.at,
            )
        case e.ApprovalDenied() if header.phase is e.Phase.AWAITING_APPROVAL:
            return replace(header, aborted=header.aborted or Aborted(event.by, event.reason), approval_until=None)
        case _:
            raise IllegalTransition(header, event)


def _refill(header: Header, event: e.WaveRefilled) -> tuple[Wave, ...]:
    donors = [index for index, wave in enumerate(header.waves) if event.host in wave.hosts]
    if donors == [] or donors[0] <= event.wave:
        raise IllegalTransition(header, event)
    waves = list(header.waves)
    donor, taker = waves[donors[0]], waves[event.wave]
    waves[donors[0]] = replace(donor, hosts=tuple(host for host in donor.hosts if host != event.host))
    waves[event.wave] = replace(taker, hosts=(*taker.hosts, event.host))
    return tuple(waves)
