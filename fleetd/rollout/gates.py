"""The gates of a rollout: preparing, budgets, passing a wave, and coming to an end."""

from __future__ import annotations

from collections.abc import Iterable

from fleetd.model.duration import format_duration
from fleetd.model.policy import OnFailure, RollbackScope, Size
from fleetd.model.store_path import StorePath
from fleetd.rollout import events as e
from fleetd.rollout import timing
from fleetd.rollout.decision import CancelCopy, Draft, LockRevision
from fleetd.rollout.spec import HostPlan
from fleetd.rollout.states import (
    SOURCE_FAILED,
    Committed,
    Copied,
    Copying,
    Deferred,
    Direction,
    Failed,
    HostState,
    Lost,
    Pending,
    Stranded,
    is_evidence,
    is_failure,
    is_final,
    is_unproven,
)
from fleetd.rollout.world import Rollout


def plan_preparation(draft: Draft, name: str, rollout: Rollout) -> None:
    """Lock the revision, evaluate and build every host; waves start when each is built or known not to build."""
    header = rollout.header
    if header.source_error:
        draft.add(e.RolloutFinished(draft.now, name, e.Phase.FAILED, header.source_error))
        return
    if header.spec.flake is not None and header.locked is None:
        if draft.world.locking is None:
            draft.ask(LockRevision(name, header.spec.flake))
        return
    unfinished = False
    for plan in header.spec.hosts:
        state = rollout.hosts[plan.name]
        if isinstance(state, Pending) and state.task.to is None:
            unfinished = True
            _prepare(draft, name, plan, state)
    if unfinished:
        return
    if all(isinstance(state, Failed) for state in rollout.hosts.values()):
        draft.add(e.RolloutFinished(draft.now, name, e.Phase.FAILED, _first_reason(rollout, Failed)))
    else:
        draft.add(e.RollingStarted(draft.now, name))


def _prepare(draft: Draft, name: str, plan: HostPlan, state: Pending) -> None:
    now = draft.now
    if state.flight is not None:
        draft.wake(state.flight.deadline)
        if now >= state.flight.deadline:
            # The executor bounds the child process with the same limit; this only covers its own death.
            draft.add(e.SourceRefused(now, name, plan.name, state.flight.fence, "took too long"))
    elif state.derivation is None:
        if draft.take("evaluate"):
            deadline = now + timing.EVALUATE_TIMEOUT_S
            draft.add(e.EvaluateIntended(now, name, plan.name, draft.fence(), deadline))
    elif draft.take("build"):
        draft.add(e.BuildIntended(now, name, plan.name, draft.fence(), now + timing.BUILD_TIMEOUT_S))


def judge_budgets(draft: Draft, name: str, rollout: Rollout) -> bool:
    """End the rollout's forward motion when a budget is exceeded. Returns whether it was."""
    reason = _exceeded(rollout) or _no_progress(draft, name, rollout)
    if reason:
        take_back = rollout.header.spec.policy.on_failure is OnFailure.ROLLBACK
        draft.add(e.RolloutFailing(draft.now, name, reason, take_back))
        return True
    unreachable = _unreachable(rollout)
    if unreachable:
        draft.add(e.RolloutFailing(draft.now, name, unreachable, take_back=False))
        return True
    return False


def _exceeded(rollout: Rollout) -> str:
    """Return which failure budget is exceeded and by whom: failures must be *more* than the budget."""
    spec = rollout.header.spec
    budget, total = spec.policy.failure_budget, len(rollout.hosts)
    every = _failures(rollout, rollout.hosts)
    if not every:
        return ""
    for index, wave in enumerate(rollout.header.waves):
        limit = budget.canary if index == 0 and len(rollout.header.waves) > 1 else budget.wave
        failed = _failures(rollout, wave.hosts)
        if len(failed) > _allowed(limit, len(wave.hosts)):
            return _over(failed, f"wave {wave.name}", _allowed(limit, len(wave.hosts)), rollout)
    if len(every) > _allowed(budget.total, total):
        return _over(every, "the rollout", _allowed(budget.total, total), rollout)
    return ""


def _failures(rollout: Rollout, hosts: Iterable[str]) -> list[str]:
    return [host for host in hosts if is_failure(rollout.hosts[host])]


def _allowed(size: Size, total: int) -> int:
    return size.budget(total)


def _over(failed: list[str], scope: str, allowed: int, rollout: Rollout) -> str:
    host = failed[0]
    why = reason_of(rollout.hosts[host])
    return f"{len(failed)} failed in {scope}, {allowed} allowed: {host}: {why}"


def _no_progress(draft: Draft, name: str, rollout: Rollout) -> str:
    """The progress clock runs only while hosts are in flight or may start; not in a soak, nor behind others' hosts."""
    header = rollout.header
    if header.phase is not e.Phase.ROLLING:
        return ""
    limit = header.spec.policy.progress_deadline_s
    due = max(header.progress_at, draft.world.freed_at) + limit
    if draft.now < due:
        draft.wake(due)
        return ""
    if any(isinstance(state, Copying) for state in rollout.hosts.values()):
        return ""  # a copy has a limit of its own
    holders = draft.unproven.values()
    if holders and name not in holders:
        return ""
    return f"nothing moved for {format_duration(limit)} (progress_deadline)"


def _unreachable(rollout: Rollout) -> str:
    lost = [
        host for host, state in rollout.hosts.items() if isinstance(state, Deferred) and state.kind == "unreachable"
    ]
    allowed = max(1, rollout.header.spec.policy.unreachable_budget.budget(len(rollout.hosts)))
    if len(lost) <= allowed:
        return ""
    return f"{len(lost)} hosts are out of reach, {allowed} allowed: {', '.join(lost[:5])}"


def move_waves(draft: Draft, name: str, rollout: Rollout) -> bool:
    """Refill, pass or end the released wave. Returns whether the rollout moved, so that nothing else is planned."""
    header = rollout.header
    if header.wave >= len(header.waves):
        draft.add(_finished(draft, name, rollout))
        return True
    wave = header.waves[header.wave]
    if any(not is_final(rollout.hosts[host]) for host in wave.hosts):
        return _refill(draft, name, rollout)
    if any(is_unproven(rollout.hosts[host]) for host in wave.hosts):
        return False  # a lost host was tolerated as a failure, and still nobody knows how it ended
    if not any(is_evidence(rollout.hosts[host]) for host in wave.hosts):
        # A wave never passes on nothing: take another host, or end.
        if _refill(draft, name, rollout):
            return True
        if header.wave == len(header.waves) - 1 or not wave.hosts or _is_spent(rollout):
            draft.add(_finished(draft, name, rollout))
        else:
            take_back = header.spec.policy.on_failure is OnFailure.ROLLBACK
            reason = f"no host of wave {wave.name} runs the revision well: {_any_reason(rollout, wave.hosts)}"
            draft.add(e.RolloutFailing(draft.now, name, reason, take_back))
        return True
    if _refill(draft, name, rollout):
        return True
    if header.phase is e.Phase.ROLLING and wave.soak_s > 0:
        draft.add(e.SoakStarted(draft.now, name, header.wave))
        return True
    if wave.soak_s <= 0 or _soaked_s(draft, name, rollout) >= wave.soak_s:
        draft.add(e.WavePassed(draft.now, name, header.wave))
        return True
    return False


def _soaked_s(draft: Draft, name: str, rollout: Rollout) -> float:
    """Return the time for which every well host of the wave was observed healthy."""
    wave = rollout.header.waves[rollout.header.wave]
    hosts = [host for host in wave.hosts if is_evidence(rollout.hosts[host])]
    return min((draft.world.observation(name, host).health.covered_s for host in hosts), default=0.0)


def _refill(draft: Draft, name: str, rollout: Rollout) -> bool:
    """Replace hosts of the released wave that did not count by the next ones of later waves."""
    header = rollout.header
    meant = len(header.spec.waves[header.wave].hosts)
    wave = header.waves[header.wave]
    counting = [host for host in wave.hosts if not _passed_over(rollout.hosts[host])]
    missing = meant - len(counting)
    spare = [
        host
        for later in header.waves[header.wave + 1 :]
        for host in later.hosts
        if isinstance(rollout.hosts[host], Pending)
    ]
    for host in spare[: max(0, missing)]:
        draft.add(e.WaveRefilled(draft.now, name, header.wave, host))
    return missing > 0 and bool(spare)


def _passed_over(state: HostState) -> bool:
    return isinstance(state, Deferred) or (isinstance(state, Failed) and state.kind == SOURCE_FAILED)


def _is_spent(rollout: Rollout) -> bool:
    """Whether no host is left that could still start."""
    return all(is_final(state) for state in rollout.hosts.values())


def plan_ending(draft: Draft, name: str, rollout: Rollout) -> None:
    """A rollout on its way out: skip what has not begun, take back what must go back, then finish."""
    header, now = rollout.header, draft.now
    reason = header.failing.reason if header.failing is not None else "aborted"
    open_hosts = False
    for plan in header.spec.hosts:
        state = rollout.hosts[plan.name]
        if isinstance(state, Pending | Copying | Copied) and state.task.direction is Direction.DEPLOY:
            if isinstance(state, Copying):
                draft.ask(CancelCopy(name, plan.name, state.flight.fence))
            draft.add(e.HostSkipped(now, name, plan.name, reason))
        elif isinstance(state, Committed) and _must_go_back(rollout, plan.name):
            open_hosts = True
            target = _rollback_target(draft, plan.name, state)
            draft.add(e.RollbackDecided(now, name, plan.name, target, reason))
        elif not is_final(state):
            open_hosts = True
    if not open_hosts:
        draft.add(_ended(draft, name, rollout))


def _must_go_back(rollout: Rollout, host: str) -> bool:
    failing = rollout.header.failing
    if failing is None or not failing.take_back:
        return False
    scope = rollout.header.spec.policy.rollback_scope
    if failing.whole or scope is RollbackScope.ROLLOUT:
        return True
    state = rollout.hosts[host]
    if scope is RollbackScope.HOST:
        return is_failure(state)
    wave = next(wave for wave in rollout.header.waves if host in wave.hosts)
    return any(is_failure(rollout.hosts[other]) or _is_going_back(rollout.hosts[other]) for other in wave.hosts)


def _is_going_back(state: HostState) -> bool:
    return state.task.direction is Direction.ROLLBACK


def _rollback_target(draft: Draft, host: str, state: Committed) -> StorePath:
    """Return last good, or what ran before where last good is the very system that failed."""
    good = draft.world.record(host).last_good
    return state.old if good is None or good == state.task.to else good


def _finished(draft: Draft, name: str, rollout: Rollout) -> e.RolloutFinished:
    """The end of a rollout that did not exceed a budget."""
    states = rollout.hosts.values()
    if any(isinstance(state, Stranded) for state in states):
        phase, reason = e.Phase.NEEDS_OPERATOR, _first_reason(rollout, Stranded)
    elif not any(is_evidence(state) for state in states):
        phase, reason = e.Phase.FAILED, "no host came to run the revision: " + _any_reason(rollout)
    elif all(is_evidence(state) for state in states):
        phase, reason = e.Phase.SUCCEEDED, ""
    else:
        phase, reason = e.Phase.INCOMPLETE, _any_reason(rollout)
    return e.RolloutFinished(draft.now, name, phase, reason)


def _ended(draft: Draft, name: str, rollout: Rollout) -> e.RolloutFinished:
    """The end of a rollout that was ended early."""
    header, states = rollout.header, rollout.hosts.values()
    reason = header.failing.reason if header.failing is not None else ""
    if any(isinstance(state, Stranded) for state in states):
        phase, reason = e.Phase.NEEDS_OPERATOR, _first_reason(rollout, Stranded)
    elif header.failing is not None and header.failing.take_back:
        left = any(isinstance(state, Committed) for state in states)
        lost = any(_is_out_of_hand(state) for state in states)
        phase = e.Phase.FAILED if left or lost else e.Phase.ROLLED_BACK
    elif header.aborted is not None:
        phase, reason = e.Phase.ABORTED, f"aborted by {header.aborted.by}: {header.aborted.reason}".rstrip(": ")
    else:
        phase = e.Phase.FAILED
    return e.RolloutFinished(draft.now, name, phase, reason)


def _is_out_of_hand(state: HostState) -> bool:
    """Whether nobody can say that the host is back on what it ran before."""
    return isinstance(state, Lost) or (isinstance(state, Failed) and state.kind in ("lost", "interfered"))


def reason_of(state: HostState) -> str:
    """Return the sentence a state carries, if any."""
    match state:
        case Committed(unhealthy=why):
            return why
        case _:
            return str(getattr(state, "reason", "") or getattr(state, "unhealthy", ""))


def _first_reason(rollout: Rollout, kind: type[Failed] | type[Stranded]) -> str:
    return next((f"{host}: {state.reason}" for host, state in rollout.hosts.items() if isinstance(state, kind)), "")


def _any_reason(rollout: Rollout, hosts: Iterable[str] | None = None) -> str:
    asked = rollout.hosts if hosts is None else hosts
    told = [f"{host}: {reason_of(rollout.hosts[host])}" for host in asked if not is_evidence(rollout.hosts[host])]
    more = f" (and {len(told) - 1} more)" if len(told) > 1 else ""
    return (told[0] if told else "") + more
