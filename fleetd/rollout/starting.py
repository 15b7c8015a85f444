"""Starting hosts: who is next in the released wave, who may, and what is asked before anything is done."""

from __future__ import annotations

from collections.abc import Iterable

from fleetd.model.facts import UNREADABLE, HostFacts
from fleetd.model.goal import Goal
from fleetd.model.policy import Reboot
from fleetd.model.store_path import StorePath, parse_store_path
from fleetd.rollout import events as e
from fleetd.rollout import timing
from fleetd.rollout.asking import inspected, pass_over
from fleetd.rollout.before import counting
from fleetd.rollout.brakes import freeze_of, is_braked, is_in_window, lock_of
from fleetd.rollout.decision import CancelCopy, Draft
from fleetd.rollout.health import passed
from fleetd.rollout.hooking import begins_with_hooks, is_elsewhere, ready_since, under_way
from fleetd.rollout.hooks import is_ready
from fleetd.rollout.preflight import blocks, newer_controller, stages
from fleetd.rollout.preparing import COPIES
from fleetd.rollout.quorum import keeps_quorum
from fleetd.rollout.seen import Unheard
from fleetd.rollout.spec import HostPlan, Kind
from fleetd.rollout.states import Copied, Copying, Direction, DryRunning, Lost, Pending, is_final
from fleetd.rollout.tally import BACK, Mark
from fleetd.rollout.world import Rollout

INSPECTIONS_A_COPY = 4
"""Hosts are asked before they are copied to. Some need nothing, so more are asked than there are slots for copies; but
what is asked too early must be asked again."""

COPY_MARGIN_S = 60.0
"""What a copy that was ended by its own limit has to say so."""

FACTS_FRESH_S = 60.0
"""What a host said longer ago is asked again before anything is decided by it: people work on hosts too."""

ROLLBACKS_STRANDED = 2
"""When a second host is unwell on its old system too, the revision was not the cause: a person is needed."""


def plan_starts(draft: Draft, name: str, rollout: Rollout) -> None:
    """Plan copies and trials for the hosts of the released wave: trials first, each line until nothing is free."""
    header = rollout.header
    if header.phase not in (e.Phase.ROLLING, e.Phase.SOAKING):
        return
    for host in draft.looked_at(name, rollout):
        state = rollout.hosts[host]
        if isinstance(state, Copying):
            draft.place = (name, host)
            _bound_copy(draft, name, rollout.plans[host], state)
        if isinstance(state, DryRunning):
            draft.place = (name, host)
            _bound_dry_run(draft, name, host, state)
    draft.place = ("", "")
    if freeze_of(draft.world, rollout) is not None or not is_in_window(draft, name, rollout):
        return
    released = min(header.wave, len(header.waves) - 1)
    _start_drained(draft, name, rollout, Direction.DEPLOY)
    if is_braked(draft.world, rollout):
        unwell = _unwell(draft, rollout, released)
        _start_trials(draft, name, rollout, unwell)
        _start_copies(draft, name, rollout, unwell)
        return
    for wave in range(released, -1, -1):  # in earlier waves are only those that are tried once more
        _start_trials(draft, name, rollout, rollout.tally.trials(wave, _open_domains(draft, rollout)))
    for wave in range(released, -1, -1):
        _start_copies(draft, name, rollout, rollout.tally.lane(f"copy {wave}"))


def _unwell(draft: Draft, rollout: Rollout, released: int) -> list[str]:
    """Return the hosts of released waves that are known to be unwell and are to be deployed."""
    tally = rollout.tally
    found = [
        host
        for host in draft.world.fleetwide.unwell
        if host in rollout.hosts
        and tally.wave_of[host] <= released
        and rollout.hosts[host].task.direction is Direction.DEPLOY
    ]
    return sorted(found, key=tally.position.__getitem__)


def _start_copies(draft: Draft, name: str, rollout: Rollout, hosts: Iterable[str]) -> None:
    """Plan what comes before a trial for hosts in turn, until there is no slot left for a copy."""
    asked = 0
    for host in hosts:
        if asked >= INSPECTIONS_A_COPY * draft.free["copy"] or draft.free["probe"] <= 0:
            break
        state = rollout.hosts[host]
        if isinstance(state, Pending):
            _plan_pending(draft, name, rollout, rollout.plans[host], state)
            asked += bool(draft.world.observation(name, host).asking) or draft.has_asked(name, host)


def _start_trials(draft: Draft, name: str, rollout: Rollout, hosts: Iterable[str]) -> None:
    """Plan the trials of hosts in turn, until there is no slot left for those that are being asked and the next."""
    ahead, drained = 0, under_way(draft.world, name)
    for host in hosts:
        state = rollout.hosts[host]
        if not isinstance(state, Copied) or host in drained:
            continue
        if draft.free["order"] <= 0 or draft.free["probe"] <= 0:
            break
        if rollout.header.spec.goal is Goal.DRY_ACTIVATE:
            _plan_dry_run(draft, name, rollout, rollout.plans[host], state)
            continue
        if not _has_slot(draft, rollout, state, ahead):
            break
        if state.task.direction is Direction.DEPLOY and draft.has_failed(name):
            break
        _plan_copied(draft, name, rollout, rollout.plans[host], state)
        ahead += bool(draft.world.observation(name, host).asking) or draft.has_asked(name, host)


def _start_drained(draft: Draft, name: str, rollout: Rollout, direction: Direction) -> None:
    """Plan the trials of hosts that have their slots already, by what they ran before."""
    for host, work in under_way(draft.world, name).items():
        state, plan = rollout.hosts[host], rollout.plans[host]
        if not isinstance(state, Copied) or state.task.direction is not direction:
            continue
        if not is_ready(rollout.header.spec, plan, work):
            continue
        if draft.free["order"] <= 0 or draft.free["probe"] <= 0:
            return
        if direction is Direction.DEPLOY and not _may_go_on(draft, name, rollout, host):
            continue
        if draft.unproven_count() < draft.limit(rollout, direction):
            _plan_copied(draft, name, rollout, plan, state)


def _may_go_on(draft: Draft, name: str, rollout: Rollout, host: str) -> bool:
    is_stopped = is_braked(draft.world, rollout) and host not in draft.world.fleetwide.unwell
    return not is_stopped and not draft.has_failed(name)


def _open_domains(draft: Draft, rollout: Rollout) -> tuple[str, ...]:
    """Return the domains in which a host may become unproven now."""
    held = draft.domains()
    if len(held) < rollout.header.spec.policy.max_domains:
        return rollout.tally.domains
    return tuple(domain for domain in rollout.tally.domains if domain in held)


def plan_rollbacks(draft: Draft, name: str, rollout: Rollout) -> None:
    """Plan the trials that take committed hosts back; no wave, soak or window is in their way."""
    if rollout.tally.count(Mark.NOT_TAKEN_BACK) < ROLLBACKS_STRANDED:
        _start_drained(draft, name, rollout, Direction.ROLLBACK)
        _start_trials(draft, name, rollout, rollout.tally.lane(BACK))
        return
    reason = "two hosts are unwell on their old system too: the revision is not the cause"
    for host in rollout.tally.lane(BACK):
        if isinstance(rollout.hosts[host], Copied | Pending):
            draft.add(e.HostFailed(draft.now, name, host, "needs-operator", reason))


def _plan_pending(draft: Draft, name: str, rollout: Rollout, plan: HostPlan, state: Pending) -> None:
    if lock_of(draft.world, plan.name, state) is not None:
        return
    if draft.world.holder(plan.name) is not None:
        _plan_held(draft, name, plan)
        return
    stranded = draft.world.record(plan.name).stranded
    if stranded:
        draft.add(e.HostDeferred(draft.now, name, plan.name, "stranded", f"a person must look at it: {stranded}"))
        return
    if draft.now < state.retry_at:
        draft.wake(state.retry_at)
        return
    if state.copies_failed >= COPIES:
        reason = f"the copy was cut {state.copies_failed} times"
        pass_over(draft, name, rollout, plan, Unheard.UNREACHABLE, reason)
        return
    facts = inspected(draft, name, rollout, plan, since=draft.now - FACTS_FRESH_S)
    if facts is None or _is_settled_by(draft, name, rollout, plan, state, facts):
        return
    _copy(draft, name, plan, state)


def _plan_held(draft: Draft, name: str, plan: HostPlan) -> None:
    """Pass over a host that was lost in an earlier rollout; one that is only on its way back is waited for."""
    holder = draft.world.holder(plan.name)
    if holder is not None and isinstance(draft.world.rollouts[holder].hosts[plan.name], Lost):
        reason = f"how it ended in {holder} is not known yet: it does not answer"
        draft.add(e.HostDeferred(draft.now, name, plan.name, "unsettled", reason))


def _copy(draft: Draft, name: str, plan: HostPlan, state: Pending) -> None:
    if draft.take("copy"):
        building_s = timing.BUILD_TIMEOUT_S if state.task.derivation else 0.0
        deadline = draft.now + timing.COPY_TIMEOUT_S + building_s
        draft.add(e.CopyIntended(draft.now, name, plan.name, draft.fence(), deadline))


def _bound_copy(draft: Draft, name: str, plan: HostPlan, state: Copying) -> None:
    """End a copy that its own limit did not end: only a mistake in an adapter comes here."""
    flight, over = state.flight, state.flight.deadline + COPY_MARGIN_S
    if draft.now < over:
        draft.wake(over)
        return
    draft.ask(CancelCopy(name, plan.name, flight.fence))
    draft.add(e.CopyRefused(draft.now, name, plan.name, flight.fence, "stalled", "the copy took too long"))


def _plan_copied(draft: Draft, name: str, rollout: Rollout, plan: HostPlan, state: Copied) -> None:
    if draft.now < state.retry_at:
        draft.wake(state.retry_at)
        return
    if lock_of(draft.world, plan.name, state) is not None:
        return
    if not _may_start(draft, name, rollout, plan, state.task.direction):
        return
    draft.place = (name, plan.name)
    if not keeps_quorum(draft, name, rollout, plan.name):
        _bound_wait_for_group(draft, name, rollout, plan, state)
        return
    since = max(state.at, draft.now - FACTS_FRESH_S, ready_since(draft.world, name, plan.name))
    facts = inspected(draft, name, rollout, plan, since=since)
    if facts is None or _is_settled_by(draft, name, rollout, plan, state, facts):
        return
    spec = rollout.header.spec
    is_staged = stages(spec.goal, state.task, facts)
    if not is_staged and plan.hooks and begins_with_hooks(draft, rollout, plan, state):
        return
    if not draft.take("order"):
        return
    if is_staged:
        _stage(draft, name, rollout, plan, facts)
        return
    baseline = state.task.baseline
    if baseline is None:
        baseline = counting(draft, name, rollout, plan, facts)
    deadline = draft.now + timing.trial_deadline_s(spec)
    old = facts.goes_back_to(state.task.to)
    draft.add(
        e.TrialIntended(
            draft.now, name, plan.name, draft.fence(), deadline, parse_store_path(old), facts.machine_id, baseline
        )
    )
    draft.start(name, plan.name)
    draft.wake(deadline)


def _bound_wait_for_group(draft: Draft, name: str, rollout: Rollout, plan: HostPlan, state: Copied) -> None:
    """Give a host that must go back to a person, when its group has had no room for as long as nothing may move.

    One that is to be deployed waits: a person may skip it.
    """
    if state.task.direction is not Direction.ROLLBACK:
        return
    header = rollout.header
    since = max(state.at, header.progress_at, draft.world.freed_at)
    if draft.now >= since + header.spec.policy.progress_deadline_s:
        reason = "its group has had no room for it for as long as a rollout may stand still"
        draft.add(e.HostFailed(draft.now, name, plan.name, "needs-operator", reason))
    else:
        draft.wake(since + header.spec.policy.progress_deadline_s)


def _plan_dry_run(draft: Draft, name: str, rollout: Rollout, plan: HostPlan, state: Copied) -> None:
    """Ask a host what a switch would change. It takes no slot: nothing becomes unproven by it."""
    if draft.now < state.retry_at:
        draft.wake(state.retry_at)
        return
    if draft.holder(plan.name) is not None:
        return
    facts = inspected(draft, name, rollout, plan, since=max(state.at, draft.now - FACTS_FRESH_S))
    if facts is None or _is_settled_by(draft, name, rollout, plan, state, facts):
        return
    if draft.take("order"):
        deadline = draft.now + timing.dry_run_deadline_s(rollout.header.spec)
        draft.add(e.DryRunIntended(draft.now, name, plan.name, draft.fence(), deadline))
        draft.wake(deadline + COPY_MARGIN_S)


def _bound_dry_run(draft: Draft, name: str, host: str, state: DryRunning) -> None:
    """End a question that its own limit did not end: only a mistake in an adapter comes here."""
    over = state.flight.deadline + COPY_MARGIN_S
    if draft.now < over:
        draft.wake(over)
        return
    draft.add(e.ContactLost(draft.now, name, host, state.flight.fence, "it took too long"))


def _stage(draft: Draft, name: str, rollout: Rollout, plan: HostPlan, facts: HostFacts) -> None:
    deadline = draft.now + timing.stage_deadline_s(rollout.header.spec)
    old = parse_store_path(facts.boots)
    draft.add(e.StageIntended(draft.now, name, plan.name, draft.fence(), deadline, old, facts.machine_id))
    draft.start(name, plan.name)
    draft.wake(deadline)


def _has_slot(draft: Draft, rollout: Rollout, state: Copied, ahead: int) -> bool:
    """Whether one more host may become unproven besides those that are being asked just now: promise 2."""
    if draft.closed or draft.slots_held() + ahead >= draft.limit(rollout, state.task.direction):
        # Whoever comes later in the order must not take the slot that this one waits for.
        draft.closed = True
        return False
    return True


def _may_start(draft: Draft, name: str, rollout: Rollout, plan: HostPlan, direction: Direction) -> bool:
    """Whether a host may become unproven now that there is a slot: the first host alone, and one actor per host."""
    if draft.holder(plan.name) is not None:
        return False
    first = direction is Direction.DEPLOY and rollout.tally.count(Mark.EVIDENCE) == 0
    if first and (rollout.tally.count(Mark.UNPROVEN) or draft.has_started(name)):
        return False
    if is_elsewhere(draft.world, name, plan.name) or (first and under_way(draft.world, name).keys() - {plan.name}):
        return False
    if any(draft.holder(host) is not None or has_turn_first(rollout, host, plan.name) for host in plan.depends_on):
        return False
    if any(draft.holder(host) == name for host in rollout.dependents.get(plan.name, ())):
        return False
    domains = draft.domains()
    return plan.domain in domains or len(domains) < rollout.header.spec.policy.max_domains


def has_turn_first(rollout: Rollout, host: str, dependent: str) -> bool:
    """Whether a dependency has its own turn first: it is of the same wave or an earlier one."""
    state, wave_of = rollout.hosts.get(host), rollout.tally.wave_of
    return state is not None and wave_of[host] <= wave_of[dependent] and not is_final(state)


def _is_settled_by(
    draft: Draft, name: str, rollout: Rollout, plan: HostPlan, state: Pending | Copied, facts: HostFacts
) -> bool:
    """Decide what the facts alone decide: nothing to do, or blocked. Returns whether they did."""
    seen, to, now = draft.world.observation(name, plan.name), state.task.to, draft.now
    # First: the paths of another machine, or of one that is on its way to others, are evidence of nothing.
    blocked = newer_controller(facts, draft.world)
    blocked = blocked or blocks(rollout.header.spec, plan.name, draft.world.record(plan.name), facts, state.task)
    if blocked is None and rollout.header.spec.goal is Goal.DRY_ACTIVATE:
        return False  # also of a host that needs nothing: it says so itself
    if blocked is None and rollout.header.spec.kind is Kind.REBOOT and state.task.direction is Direction.DEPLOY:
        blocked = _blocked_reboot(facts, to)
        if blocked is None and not _is_due_for_reboot(rollout, facts):
            draft.add(e.FoundCurrent(now, name, plan.name, facts.machine_id, passed(seen.baseline)))
            return True
    elif blocked is None and facts.current == to and facts.profile == to and facts.boot_default in (to, UNREADABLE):
        draft.add(e.FoundCurrent(now, name, plan.name, facts.machine_id, passed(seen.baseline)))
        return True
    if blocked is None:
        return False
    kind, reason = blocked
    if state.task.direction is Direction.ROLLBACK:
        draft.add(e.HostFailed(now, name, plan.name, kind, reason))
    else:
        draft.add(e.HostDeferred(now, name, plan.name, kind, reason))
    return True


def _is_due_for_reboot(rollout: Rollout, facts: HostFacts) -> bool:
    return rollout.header.spec.policy.reboot is Reboot.ALWAYS or facts.needs_reboot


def _blocked_reboot(facts: HostFacts, to: StorePath | None) -> tuple[str, str] | None:
    """Return why a host is not rebooted: what boots must be what ran, and what was meant."""
    if facts.current != to:
        return "drifted", f"it runs {facts.current}, and ran {to} when its reboot was asked for"
    if facts.profile != to or facts.boot_default != to:
        return "unsettled", f"it runs {to}, its profile is {facts.profile} and it would boot {facts.boot_default}"
    return None
