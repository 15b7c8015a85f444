"""The gates of a rollout: preparing, budgets, passing a wave, and coming to an end."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from fleetd.model.duration import format_duration
from fleetd.model.policy import OnFailure
from fleetd.rollout import events as e
from fleetd.rollout import timing
from fleetd.rollout.brakes import is_held
from fleetd.rollout.decision import CancelCopy, Draft, LockRevision
from fleetd.rollout.hooking import stuck_in, under_way
from fleetd.rollout.owed import OWN_AGAIN_S, debts_of
from fleetd.rollout.spec import RolloutSpec
from fleetd.rollout.states import (
    Copying,
    Failed,
    Pending,
    Placed,
    Stranded,
    is_evidence,
    is_failure,
    is_out_of_hand,
    reason_of,
)
from fleetd.rollout.taking_back import rollback_target, to_take_back
from fleetd.rollout.tally import BUILD, EVALUATE, Mark
from fleetd.rollout.world import Rollout, World

SOAK_LOOK_S = 0.5
"""How soon a wave is looked at again that could have soaked by now, and lacks a round of one host."""


def plan_preparation(draft: Draft, name: str, rollout: Rollout) -> None:
    """Lock the revision, evaluate and build every host; waves start when each is built or known not to build."""
    header = rollout.header
    if header.source_error:
        draft.add(e.RolloutFinished(draft.now, name, e.Phase.FAILED, header.source_error))
        return
    if header.spec.flake is not None and header.locked is None:
        if draft.world.locking is None:
            draft.ask(LockRevision(name, header.spec.flake, deployed_before(draft.world, header.spec)))
        return
    tally = rollout.tally
    if tally.count(Mark.UNBUILT):
        _prepare(draft, name, rollout)
    elif tally.count(Mark.PASSED_OVER) == len(rollout.hosts):
        draft.add(e.RolloutFinished(draft.now, name, e.Phase.FAILED, _first_reason(rollout, Failed)))
    else:
        draft.add(e.RollingStarted(draft.now, name))


def deployed_before(world: World, spec: RolloutSpec) -> str:
    """Return the commit, as a locked reference, of the newest rollout of the same repository that still runs anywhere.

    A branch that moved must contain it. Empty where there is none, where a person named a commit, and where one says
    that it need not (``force``). Looks at every rollout, once for each that is locked.
    """
    base, _, parameters = (spec.flake or "").partition("?")
    if spec.force or "rev=" in parameters:
        return ""
    for rollout in reversed(world.rollouts.values()):
        header = rollout.header
        same = (header.spec.flake or "").partition("?")[0] == base
        if same and header.locked is not None and rollout.tally.count(Mark.EVIDENCE):
            return header.locked
    return world.deployed.get(base, "")


def _prepare(draft: Draft, name: str, rollout: Rollout) -> None:
    """Evaluate and build whoever is next, and end what its own limit did not end."""
    now, tally = draft.now, rollout.tally
    for host in draft.looked_at(name, rollout):
        state = rollout.hosts[host]
        if isinstance(state, Pending) and state.flight is not None:
            draft.place = (name, host)
            draft.wake(state.flight.deadline)
            if now >= state.flight.deadline:
                # The executor bounds the child process with the same limit; this only covers its own death.
                draft.add(e.SourceRefused(now, name, host, state.flight.fence, "took too long"))
    draft.place = ("", "")
    for host in islice(tally.lane(EVALUATE), draft.free["evaluate"]):
        if draft.take("evaluate"):
            draft.add(e.EvaluateIntended(now, name, host, draft.fence(), now + timing.EVALUATE_TIMEOUT_S))
    for host in islice(tally.lane(BUILD), draft.free["build"]):
        if draft.take("build"):
            draft.add(e.BuildIntended(now, name, host, draft.fence(), now + timing.BUILD_TIMEOUT_S))


def judge_budgets(draft: Draft, name: str, rollout: Rollout) -> bool:
    """End the rollout's forward motion when a budget is exceeded. Returns whether it was."""
    header = rollout.header
    exceeded = _exceeded(rollout)
    if exceeded and header.spec.policy.on_failure is OnFailure.PAUSE:
        return draft.pause(name, "the policy (on_failure = pause)", exceeded)
    reason = exceeded or _no_progress(draft, name, rollout)
    if reason:
        take_back = header.spec.policy.on_failure is OnFailure.ROLLBACK
        draft.add(e.RolloutFailing(draft.now, name, reason, take_back))
        return True
    unreachable = "" if header.paused is not None else _unreachable(rollout)
    if unreachable:
        draft.add(e.RolloutFailing(draft.now, name, unreachable, take_back=False))
        return True
    return False


def _exceeded(rollout: Rollout) -> str:
    """Return which failure budget is exceeded and by whom: failures must be *more* than the budget."""
    spec, tally = rollout.header.spec, rollout.tally
    budget, total = spec.policy.failure_budget, len(rollout.hosts)
    # What a person resumed in spite of counts no more; those hosts are few.
    forgiven = [host for host in rollout.header.forgiven if is_failure(rollout.hosts[host])]
    every = tally.count(Mark.FAILED) - len(forgiven)
    if not every:
        return ""
    for index, wave in enumerate(rollout.header.waves):
        limit = budget.canary if index == 0 and len(rollout.header.waves) > 1 else budget.wave
        allowed = limit.budget(len(wave.hosts))
        if tally.waves[index][Mark.FAILED] - sum(host in wave.hosts for host in forgiven) > allowed:
            failed = [host for host in wave.hosts if is_failure(rollout.hosts[host]) and host not in forgiven]
            return _over(failed, f"wave {wave.name}", allowed, rollout)
    allowed = budget.total.budget(total)
    if every > allowed:
        failed = [host for host in tally.order if is_failure(rollout.hosts[host]) and host not in forgiven]
        return _over(failed, "the rollout", allowed, rollout)
    return ""


def _over(failed: list[str], scope: str, allowed: int, rollout: Rollout) -> str:
    host = failed[0]
    why = reason_of(rollout.hosts[host])
    return f"{len(failed)} failed in {scope}, {allowed} allowed: {host}: {why}"


def _no_progress(draft: Draft, name: str, rollout: Rollout) -> str:
    """The progress clock runs only while hosts are in flight or may start; not in a soak, nor behind others' hosts."""
    header = rollout.header
    if header.phase is not e.Phase.ROLLING or header.paused is not None:
        return ""
    if draft.is_isolated:
        return ""
    if not rollout.tally.count(Mark.OPEN):
        return ""  # all that is waited for is how a lost host ended, which says nothing of the others
    limit = header.spec.policy.progress_deadline_s
    opened_at = draft.world.openings.of(header.spec, draft.now).since
    due = max(header.progress_at, draft.world.freed_at, opened_at) + limit
    if draft.now < due:
        draft.wake(due)
        return ""
    if is_held(draft.world, rollout, draft.now):
        return ""
    if any(isinstance(rollout.hosts[host], Copying) for host in rollout.tally.hosts[Mark.STARTABLE]):
        return ""  # a copy has a limit of its own
    if under_way(draft.world, name):
        return ""  # so has a hook
    if draft.slots_held() and not rollout.tally.count(Mark.UNPROVEN):
        return ""
    return f"nothing moved for {format_duration(limit)} (progress_deadline)"


def _unreachable(rollout: Rollout) -> str:
    lost = list(rollout.tally.hosts[Mark.UNREACHABLE])
    allowed = max(1, rollout.header.spec.policy.unreachable_budget.budget(len(rollout.hosts)))
    if len(lost) <= allowed:
        return ""
    named = ", ".join(f"{host} ({getattr(rollout.hosts[host], 'kind', '')})" for host in lost[:5])
    return f"{len(lost)} hosts are out of reach, {allowed} allowed: {named}"


def ask_approval(draft: Draft, name: str, rollout: Rollout) -> bool:
    """Wait for a person where the released wave needs one. Returns whether it does."""
    header = rollout.header
    if header.wave >= len(header.waves) or header.wave in header.approved:
        return False
    wait_s = header.waves[header.wave].approval_s
    if wait_s is None:
        return False
    if header.approval_until is None:
        draft.add(e.ApprovalAsked(draft.now, name, header.wave, draft.now + wait_s))
    elif draft.now >= header.approval_until:
        reason = f"wave {header.waves[header.wave].name} was not approved within {format_duration(wait_s)}"
        draft.add(e.ApprovalDenied(draft.now, name, header.wave, "nobody", reason))
    else:
        draft.wake(header.approval_until)
    return True


def move_waves(draft: Draft, name: str, rollout: Rollout) -> bool:
    """Refill, pass or end the released wave. Returns whether the rollout moved, so that nothing else is planned."""
    header = rollout.header
    if header.wave >= len(header.waves):
        if rollout.tally.count(Mark.OPEN) or under_way(draft.world, name):
            return False  # a host of an earlier wave is tried once more, or its hooks run
        _finish(draft, name, rollout)
        return True
    wave, counts = header.waves[header.wave], rollout.tally.waves[header.wave]
    if counts[Mark.OPEN]:
        return _refill(draft, name, rollout)
    if counts[Mark.UNPROVEN]:
        return False  # a lost host was tolerated as a failure, and still nobody knows how it ended
    if _refill(draft, name, rollout):
        return True
    if not under_way(draft.world, name).keys().isdisjoint(wave.hosts):
        return False  # what is not back in service shows little of how it is
    if not counts[Mark.EVIDENCE]:
        # A wave never passes on nothing: no other host was there to take, so this is the end.
        if not rollout.tally.count(Mark.OPEN) and not under_way(draft.world, name):
            _finish(draft, name, rollout)
        elif header.wave == len(header.waves) - 1 or not wave.hosts:
            return False  # a host of an earlier wave is tried once more
        else:
            take_back = header.spec.policy.on_failure is OnFailure.ROLLBACK
            reason = f"no host of wave {wave.name} runs the revision well: {_any_reason(rollout, wave.hosts)}"
            draft.add(e.RolloutFailing(draft.now, name, reason, take_back))
        return True
    if header.phase is e.Phase.ROLLING and wave.soak_s > 0:
        draft.add(e.SoakStarted(draft.now, name, header.wave))
        return True
    if wave.soak_s <= 0 or _is_soaked(draft, name, rollout, wave.soak_s):
        draft.add(e.WavePassed(draft.now, name, header.wave))
        return True
    return False


def _is_soaked(draft: Draft, name: str, rollout: Rollout, soak_s: float) -> bool:
    """Whether every well host of the wave was observed healthy for long enough; not asked before it can be."""
    if rollout.header.promoted == rollout.header.wave:
        return True
    if not draft.is_due(name):
        return False
    wave = rollout.header.waves[rollout.header.wave]
    soaked, look_at = True, draft.now + SOAK_LOOK_S
    for host in wave.hosts:
        if is_evidence(rollout.hosts[host]):
            health = draft.world.observation(name, host).health
            soaked = soaked and health.covered_s >= soak_s
            # Time is covered no faster than it passes.
            since = draft.now if health.passing_since is None else health.passing_since
            look_at = max(look_at, since + soak_s - health.covered_s)
    if not soaked:
        draft.wake(look_at)
    return soaked


def _refill(draft: Draft, name: str, rollout: Rollout) -> bool:
    """Replace hosts of the released wave that did not count by the next ones of later waves."""
    header = rollout.header
    meant = len(header.spec.waves[header.wave].hosts)
    wave = header.waves[header.wave]
    missing = meant - (len(wave.hosts) - rollout.tally.waves[header.wave][Mark.PASSED_OVER])
    if missing <= 0:
        return False
    spare = [
        host
        for later in header.waves[header.wave + 1 :]
        for host in later.hosts
        if not later.apart and isinstance(rollout.hosts[host], Pending)
    ]
    for host in spare[:missing]:
        draft.add(e.WaveRefilled(draft.now, name, header.wave, host))
    return bool(spare)


def plan_ending(draft: Draft, name: str, rollout: Rollout) -> None:
    """A rollout on its way out: skip what has not begun, take back what must go back, then finish."""
    now, reason, tally = draft.now, _why_ending(rollout), rollout.tally
    for host in tally.hosts[Mark.STARTABLE]:
        state = rollout.hosts[host]
        if isinstance(state, Copying):
            draft.ask(CancelCopy(name, host, state.flight.fence))
        draft.add(e.HostSkipped(now, name, host, reason))
    going_back = to_take_back(rollout)
    for host, state in going_back:
        draft.add(e.RollbackDecided(now, name, host, rollback_target(draft, host, state), reason))
    still = tally.count(Mark.OPEN) != tally.count(Mark.STARTABLE) or under_way(draft.world, name)
    if not going_back and not still:
        draft.add(_ended(draft, name, rollout))


def _why_ending(rollout: Rollout) -> str:
    header = rollout.header
    if header.failing is not None:
        return header.failing.reason
    return "aborted" if header.aborted is not None else f"superseded by {header.superseded_by}"


def is_supersedable(rollout: Rollout) -> bool:
    """Whether a later rollout may take this one's place: one that takes hosts back is never ended by another."""
    kind = rollout.header.spec.kind
    if rollout.header.starts_nothing or not (kind.brings or kind.pays):
        return False
    return not rollout.tally.count(Mark.BACK)


def supersede(draft: Draft, name: str, rollout: Rollout) -> None:
    """End the earlier rollouts in whose place a queued one was asked for: those all of whose hosts are its own.

    One that only catches hosts up ends in favour of whatever people ask for of any of them.
    """
    asked = rollout.header.spec.supersede
    for earlier_name, earlier in draft.world.active():
        if earlier_name == name:
            return
        within = asked and all(host in rollout.hosts for host in earlier.hosts)
        gives_way = earlier.header.spec.kind.pays and any(host in rollout.hosts for host in earlier.hosts)
        if is_supersedable(earlier) and (within or gives_way):
            draft.add(e.RolloutSuperseded(draft.now, earlier_name, name))


def _finish(draft: Draft, name: str, rollout: Rollout) -> None:
    """End a rollout, and tell what it owes: not before that may be written, or it would be owed nowhere."""
    finished = _finished(draft, name, rollout)
    debts = debts_of(finished, rollout.header.spec, rollout.hosts, draft.world.record)
    if debts and draft.own_is_on_trial:
        draft.wake(draft.now + OWN_AGAIN_S)
        return
    for event in (*debts, finished):
        draft.add(event)


def _finished(draft: Draft, name: str, rollout: Rollout) -> e.RolloutFinished:
    """The end of a rollout that did not exceed a budget."""
    states = rollout.hosts.values()
    if any(isinstance(state, Stranded) for state in states):
        phase, reason = e.Phase.NEEDS_OPERATOR, _first_reason(rollout, Stranded)
    elif stuck := _stuck_reason(draft, name):
        phase, reason = e.Phase.NEEDS_OPERATOR, stuck
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
    elif stuck := _stuck_reason(draft, name):
        phase, reason = e.Phase.NEEDS_OPERATOR, stuck
    elif header.failing is not None and header.failing.take_back:
        left = any(isinstance(state, Placed) for state in states)
        lost = any(is_out_of_hand(state) for state in states)
        phase = e.Phase.FAILED if left or lost else e.Phase.ROLLED_BACK
    elif header.aborted is not None:
        phase, reason = e.Phase.ABORTED, f"aborted by {header.aborted.by}: {header.aborted.reason}".rstrip(": ")
    elif header.superseded_by:
        phase, reason = e.Phase.SUPERSEDED, f"superseded by {header.superseded_by}"
    else:
        phase = e.Phase.FAILED
    return e.RolloutFinished(draft.now, name, phase, reason)


def _first_reason(rollout: Rollout, kind: type[Failed] | type[Stranded]) -> str:
    return next((f"{host}: {state.reason}" for host, state in rollout.hosts.items() if isinstance(state, kind)), "")


def _stuck_reason(draft: Draft, name: str) -> str:
    return next((f"{host}: {work.stuck}" for host, work in stuck_in(draft.world, name).items()), "")


def _any_reason(rollout: Rollout, hosts: Iterable[str] | None = None) -> str:
    asked = rollout.hosts if hosts is None else hosts
    told = [f"{host}: {reason_of(rollout.hosts[host])}" for host in asked if not is_evidence(rollout.hosts[host])]
    more = f" (and {len(told) - 1} more)" if len(told) > 1 else ""
    return (told[0] if told else "") + more
