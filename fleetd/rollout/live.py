"""Hosts that an activation holds: settle what is in doubt, keep trials alive, commit or take back."""

from __future__ import annotations

import math

from fleetd.model.check import Check
from fleetd.model.duration import format_duration
from fleetd.model.goal import Goal
from fleetd.model.policy import RollbackScope
from fleetd.rollout import events as e
from fleetd.rollout import timing
from fleetd.rollout.decision import FLEETD, Draft, Extend, ProbeRound, Reach
from fleetd.rollout.health import (
    ERRORS_IN_A_ROW,
    LARGEST_GAP_INTERVALS,
    has_errors,
    is_proven,
    lasting_failures,
    not_passing,
    unaskable,
)
from fleetd.rollout.power import plan_power
from fleetd.rollout.spec import HostPlan, RolloutSpec
from fleetd.rollout.states import (
    Committed,
    Current,
    Direction,
    LiveState,
    Lost,
    Placed,
    Rebooting,
    Trial,
    TrialKept,
)
from fleetd.rollout.world import Rollout

REACH_EVERY_S = 3.0
"""How soon a host of unknown outcome is asked again: short against every guard, long against a handshake."""

REACH_LOST_S = 60.0
"""How often one is asked whose guard must have fired long ago."""


def plan_live(draft: Draft) -> None:
    """Plan for every unproven host, whatever its rollout's phase is."""
    for name, host in draft.unproven():
        draft.place = (name, host)
        rollout = draft.world.rollouts[name]
        state = rollout.hosts[host]
        if isinstance(state, LiveState):
            _plan_host(draft, name, rollout, rollout.plans[host], state)


def _plan_host(draft: Draft, name: str, rollout: Rollout, plan: HostPlan, state: LiveState) -> None:
    live, now, spec = state.live, draft.now, rollout.header.spec
    if live.flight is not None and live.flight.fence.term == draft.world.term and now < live.flight.deadline:
        draft.wake(live.flight.deadline)
        return
    doubtful = live.lost_since is not None or live.flight is not None or not isinstance(state, Trial)
    if not doubtful and isinstance(state, Trial):
        _plan_trial(draft, name, rollout, plan, state)
        return
    give_up_at = _give_up_at(spec, state)
    is_given_up = now >= give_up_at and not draft.is_isolated and draft.world.contacts.counts(plan.name)
    if live.lost_since is not None and is_given_up and not isinstance(state, Lost):
        draft.add(e.HostGivenUp(now, name, plan.name, _why_given_up(spec, state, now - live.lost_since)))
        return
    if now < live.retry_at:
        draft.wake(live.retry_at)
        return
    if live.lost_since is not None and not _is_reached(draft, name, plan, state, spec):
        plan_power(draft, name, plan, state, spec)
        if not isinstance(state, Lost) and now < give_up_at:
            draft.wake(give_up_at)
        return
    if draft.take("order"):
        deadline = now + timing.settle_deadline_s(spec)
        draft.add(e.SettleIntended(now, name, plan.name, draft.fence(), deadline))
        draft.wake(deadline)


def _give_up_at(spec: RolloutSpec, state: LiveState) -> float:
    """Return when the rollout goes on without a host that does not answer; it keeps its slot."""
    if isinstance(state, Rebooting):
        return state.since + spec.policy.reboot_timeout_s
    return state.live.armed_at + timing.give_up_after_s(spec)


def _why_given_up(spec: RolloutSpec, state: LiveState, lost_s: float) -> str:
    if isinstance(state, Rebooting):
        within = format_duration(spec.policy.reboot_timeout_s)
        return f"it did not come back within {within} of its reboot; a power cycle boots its old system"
    return f"no answer for {format_duration(round(lost_s))}, long after its guard must have fired"


def _is_reached(draft: Draft, name: str, plan: HostPlan, state: LiveState, spec: RolloutSpec) -> bool:
    """Whether a lost host has answered since; asks it when not. Nothing of this is journalled, however long it takes.

    The answer settles nothing: an order of ours may still be on its way. It says that a settle will arrive.
    """
    seen = draft.world.observation(name, plan.name)
    if seen.reached_at is not None and seen.reached_at >= state.live.retry_at:
        return True
    if seen.asking:
        return False
    every_s = REACH_EVERY_S if draft.now < _boots_until(state, spec) else REACH_LOST_S
    due = seen.asked_at + every_s
    if seen.failures and draft.now < due:
        draft.wake(due)
    elif draft.take("reach"):
        draft.ask(Reach(name, plan.name, seen.step))
    return False


def _boots_until(state: LiveState, spec: RolloutSpec) -> float:
    """Return until when an answer may come at any moment. A cycle may take minutes: its end is what counts."""
    if not isinstance(state, Lost):
        return math.inf
    return -math.inf if state.cycled_at is None else state.live.retry_at + spec.policy.reboot_timeout_s


def _plan_trial(draft: Draft, name: str, rollout: Rollout, plan: HostPlan, state: Trial) -> None:
    spec, now, host = rollout.header.spec, draft.now, plan.name
    reason, unjudged = _why_revert(draft, name, rollout, plan, state)
    if reason:
        if draft.take("order"):
            if unjudged:
                # Before anything else may be tried, which could be judged no better.
                draft.pause(name, FLEETD, f"{host}: {reason}")
            deadline = now + timing.revert_deadline_s(spec)
            draft.add(e.RevertIntended(now, name, host, draft.fence(), deadline, reason, unjudged))
            draft.wake(deadline)
        return
    checks, required = spec.checks_of(plan), required_checks(rollout, plan, state.live.passed_before)
    health = draft.world.observation(name, host).health
    if is_proven(health, required, checks, spec.policy.min_healthy_s) and draft.take("order"):
        _end_well(draft, name, rollout, plan, state)
        return
    if now < state.since + spec.policy.healthy_deadline_s:
        draft.wake(state.since + spec.policy.healthy_deadline_s)
    _keep_alive(draft, name, rollout, plan, state)
    _probe_trial(draft, name, rollout, plan, state)


def _end_well(draft: Draft, name: str, rollout: Rollout, plan: HostPlan, state: Trial) -> None:
    """Commit; or let go of a test that is proven. What takes a host back is committed in a test as well."""
    spec, now = rollout.header.spec, draft.now
    if spec.goal is Goal.TEST and state.task.direction is Direction.DEPLOY:
        deadline = now + timing.settle_deadline_s(spec)
        draft.add(e.ReleaseIntended(now, name, plan.name, draft.fence(), deadline))
    else:
        deadline = now + timing.commit_deadline_s(spec)
        draft.add(e.CommitIntended(now, name, plan.name, draft.fence(), deadline))
    draft.wake(deadline)


def _why_revert(draft: Draft, name: str, rollout: Rollout, plan: HostPlan, state: Trial) -> tuple[str, bool]:
    """Return why a trial must end now, empty while it may go on; and whether only because nobody could judge it."""
    header = rollout.header
    if state.failed:
        return state.failed, state.unjudged
    if state.task.direction is Direction.DEPLOY:
        if header.aborted is not None:
            return f"aborted by {header.aborted.by}", False
        failing = header.failing
        beyond_host = header.spec.policy.rollback_scope is not RollbackScope.HOST
        if failing is not None and failing.take_back and (failing.whole or beyond_host):
            return f"the rollout is taken back: {failing.reason}", False
    if draft.now < state.since + header.spec.policy.healthy_deadline_s or not _is_judged(draft, plan.name):
        return "", False
    required = required_checks(rollout, plan, state.live.passed_before)
    health, policy = draft.world.observation(name, plan.name).health, header.spec.policy
    deadline = format_duration(policy.healthy_deadline_s)
    could_not_ask = unaskable(health, required, header.spec.checks_of(plan))
    # A host on its way back has nowhere better to be, and its rollout cannot wait for anybody. And while the control
    # node's own host is on trial, that is the first suspect; nor could the release before this one read of it.
    if could_not_ask and state.task.direction is Direction.DEPLOY and not draft.own_is_on_trial:
        return f"could not be judged within {deadline}: {'; '.join(could_not_ask)}", True
    why = "; ".join(not_passing(health, required)) or (
        f"seen to be well for {format_duration(round(health.covered_s, 1))} in a row, and"
        f" {format_duration(policy.min_healthy_s)} are needed; a gap of more than {LARGEST_GAP_INTERVALS} intervals"
        " between two rounds of its checks does not count, as when each takes long"
    )
    return f"not healthy within {deadline}: {why}", False


def _is_judged(draft: Draft, host: str) -> bool:
    """Whether what a host shows may be held against it: its silence only once others were heard since."""
    if draft.is_isolated:
        return False
    return draft.world.contacts.counts(host) or not draft.world.contacts.is_silent(host)


def _keep_alive(draft: Draft, name: str, rollout: Rollout, plan: HostPlan, state: Trial) -> None:
    """Extend the guard's deadline every third of the silence that a trial survives."""
    seen, spec = draft.world.observation(name, plan.name), rollout.header.spec
    # What another controller renewed is not known, nor how long it was away: such a trial is renewed at once.
    renewed_at = seen.extended_at or (0.0 if state.live.absent else state.since)
    due = renewed_at + timing.extend_every_s(spec)
    if seen.extending:
        return
    if draft.now < due:
        draft.wake(due)
        return
    # No slot is taken: a renewal must never wait behind other work.
    draft.ask(Extend(name, plan.name, state.task.attempt, state.task.direction, state.live.fence, seen.step))


def _probe_trial(draft: Draft, name: str, rollout: Rollout, plan: HostPlan, state: Trial) -> None:
    spec = rollout.header.spec
    checks = spec.checks_of(plan)
    builtin = timing.builtin_of(spec)
    required = required_checks(rollout, plan, state.live.passed_before)
    ask_round(draft, name, plan, checks, builtin, required, state, timing.trial_interval_s(checks))


def required_checks(rollout: Rollout, plan: HostPlan, passed_before: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of the checks that count: the built-in ones, and those that passed before the switch."""
    spec = rollout.header.spec
    own = tuple(check.name for check in spec.checks_of(plan) if check.name in passed_before)
    return timing.builtin_of(spec) + own


def ask_round(
    draft: Draft,
    name: str,
    plan: HostPlan,
    checks: tuple[Check, ...],
    builtin: tuple[str, ...],
    required: tuple[str, ...],
    state: Trial | Committed | TrialKept | Current,
    interval_s: float,
) -> None:
    """Ask for a round of checks when one is due and none is under way."""
    seen = draft.world.observation(name, plan.name)
    if seen.asking:
        return
    if draft.now < seen.next_round_at:
        draft.wake(seen.next_round_at)
        return
    to = state.task.to
    if to is None or not draft.take("probe"):
        return
    # In trial, and after a test, the boot default is still the old system; after a commit it must be the new one.
    match state:
        case Trial(live=live):
            boot_default = live.old
        case TrialKept(old=old):
            boot_default = old
        case _:
            boot_default = to
    names = tuple(check.name for check in checks)
    draft.ask(ProbeRound(name, plan.name, seen.step, names, builtin, required, to, boot_default, interval_s))


def plan_soak(draft: Draft, name: str, rollout: Rollout) -> None:
    """Keep checking every host that was committed, in every wave, until the rollout ends."""
    spec = rollout.header.spec
    builtin = timing.builtin_of(spec, timing.SOAK_BUILT_IN)
    for host in draft.looked_at(name, rollout):
        plan, state = rollout.plans[host], rollout.hosts[host]
        if not isinstance(state, Committed | TrialKept | Current) or state.unhealthy:
            continue
        draft.place = (name, host)
        checks = spec.checks_of(plan)
        required = soak_required(rollout, plan, state)
        failures = lasting_failures(draft.world.observation(name, plan.name).health, required, checks)
        if failures and _is_judged(draft, host):
            draft.add(e.HostUnhealthy(draft.now, name, plan.name, "; ".join(failures)))
            continue
        on_host = builtin if isinstance(state, Placed) else tuple(word for word in builtin if word == "login")
        ask_round(draft, name, plan, checks, on_host, required, state, timing.soak_interval_s(checks, draft.soak_asks))


def pause_for_errors(draft: Draft, name: str, rollout: Rollout) -> None:
    """Pause a rollout one of whose checks could not be asked for some time: it shows nothing, good or bad."""
    if draft.is_isolated:
        return
    for host in draft.looked_at(name, rollout):
        plan, state = rollout.plans[host], rollout.hosts[host]
        health = draft.world.observation(name, host).health
        if not has_errors(health):
            continue
        match state:
            case Trial() if state.task.direction is Direction.DEPLOY:
                required = required_checks(rollout, plan, state.live.passed_before)
            case Committed(unhealthy="") | TrialKept(unhealthy="") | Current(unhealthy=""):
                required = soak_required(rollout, plan, state)
            case _:
                continue
        lasting = unaskable(health, required, rollout.header.spec.checks_of(plan), ERRORS_IN_A_ROW)
        if lasting:
            draft.pause(name, FLEETD, f"{host}: could not ask {ERRORS_IN_A_ROW} times in a row: {'; '.join(lasting)}")
            return


def soak_required(rollout: Rollout, plan: HostPlan, state: Committed | TrialKept | Current) -> tuple[str, ...]:
    """Return the checks that count in a soak; a host that was not switched by us has no baseline of units."""
    spec = rollout.header.spec
    words = timing.SOAK_BUILT_IN if isinstance(state, Placed) else ("login",)
    own = tuple(check.name for check in spec.checks_of(plan) if check.name in state.passed_before)
    return timing.builtin_of(spec, words) + own
