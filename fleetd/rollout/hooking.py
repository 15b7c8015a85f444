"""When hooks run, what it means when one does not succeed, and what waits for them.

A ``before`` is begun only where a trial could be, and takes the slot that the trial will have. From then on the host is
brought on to its trial, or given back: by its ``always-after`` once it may not be tried now, was passed over, or ended
in whatever way. While nobody knows how a host ended nothing is given back: it may not be fit for load.

A rollback runs hooks as well, and is held up by none of them: a host must not stay on a system that failed because it
could not be drained.
"""

from __future__ import annotations

from fleetd.model.hook import Hook, HookEnd, OnHookFailure, When
from fleetd.rollout import events as e
from fleetd.rollout.brakes import freeze_of, is_braked, lock_of
from fleetd.rollout.decision import FLEETD, Draft
from fleetd.rollout.hooks import HostHooks, first_before, is_ready, is_spent, next_hook
from fleetd.rollout.spec import HostPlan
from fleetd.rollout.states import Committed, Copied, Direction, HostState, Lost, shown
from fleetd.rollout.world import Rollout, World

HOOK_TRIES = 6
"""Of what comes after a trial: about three minutes in all, which an API server that is restarted does not need."""

BEFORE_UNKNOWN = 3
"""How often a ``before`` is run again when nobody knows how it ended. One that failed is not: the host is untouched,
and another one can take its place."""

READY_S = 120.0
"""How long a host that is drained may wait for its trial, as for its group, until it is given back meanwhile."""

HOOK_MARGIN_S = 60.0
"""What the executor has to end a hook beyond its time: its group is killed, or the link to the host closed."""


def plan_hooks(draft: Draft) -> None:
    """Plan the next hook of every host that has begun with its own, whatever its rollout's phase is."""
    if draft.is_isolated or draft.own_is_on_trial:
        return
    # All of them are looked at in every plan: to wake in the name of a host would put off what else it is due for.
    draft.place = ("", "")
    for (name, host), work in draft.world.hooks.items():
        rollout = draft.world.rollouts[name]
        _plan_host(draft, rollout, rollout.plans[host], work)


def _plan_host(draft: Draft, rollout: Rollout, plan: HostPlan, work: HostHooks) -> None:
    spec, state, now = rollout.header.spec, rollout.hosts[plan.name], draft.now
    held = _is_held(draft, rollout, plan, work)
    hook, flight = next_hook(spec, plan, work, state, held=held), work.flight
    if flight is not None:
        if flight.fence.term == draft.world.term and now < flight.deadline + HOOK_MARGIN_S:
            draft.wake(flight.deadline + HOOK_MARGIN_S)
            return
        if flight.fence.term == draft.world.term or hook is None or hook.name != flight.hook:
            # One that ran when the controller died is run again where it is still wanted.
            place = (spec.id, plan.name, flight.fence, flight.hook)
            draft.add(e.HookEnded(now, *place, HookEnd.UNKNOWN, "nobody saw its end"))
            return
    if hook is None:
        return
    if work.tries and work.trying == hook.name and flight is None:
        if _is_given_up(hook, work):
            _give_up(draft, rollout, plan, state, hook, work)
            return
        if now < work.retry_at:
            draft.wake(work.retry_at)
            return
    _run(draft, rollout, plan, state, hook, work)


def _run(draft: Draft, rollout: Rollout, plan: HostPlan, state: HostState, hook: Hook, work: HostHooks | None) -> bool:
    """Run a hook where there is a slot for it. Returns whether there was."""
    if draft.own_is_on_trial or not draft.take("hook"):
        return False
    spec = rollout.header.spec
    number = work.tries + 1 if work is not None and work.trying == hook.name else 1
    deadline = draft.now + hook.timeout_s + 2 * spec.contact_s
    word = shown(state)
    draft.add(e.HookIntended(draft.now, spec.id, plan.name, draft.fence(), deadline, hook.name, word, number))
    return True


def _is_held(draft: Draft, rollout: Rollout, plan: HostPlan, work: HostHooks) -> bool:
    """Whether a host may not begin its trial now, or waited for it for so long that it is given back meanwhile."""
    world, header, state = draft.world, rollout.header, rollout.hosts[plan.name]
    if not isinstance(state, Copied) or state.task.direction is Direction.ROLLBACK:
        return False
    if header.paused is not None or header.starts_nothing or header.phase.is_final:
        return True
    if freeze_of(world, rollout) is not None or lock_of(world, plan.name, state) is not None:
        return True
    if not world.openings.of(header.spec, draft.now).is_open:
        return True
    if is_braked(world, rollout) and plan.name not in world.fleetwide.unwell:
        return True
    if not is_ready(header.spec, plan, work):
        return False
    draft.wake(work.ended_at + READY_S)
    return draft.now >= work.ended_at + READY_S


def _is_given_up(hook: Hook, work: HostHooks) -> bool:
    if hook.when is When.BEFORE:
        return work.tries >= (BEFORE_UNKNOWN if work.unknown else 1)
    return work.tries >= HOOK_TRIES


def _give_up(draft: Draft, rollout: Rollout, plan: HostPlan, state: HostState, hook: Hook, work: HostHooks) -> None:
    """Decide what it means for a host that one of its hooks does not succeed."""
    name, host, now = rollout.header.spec.id, plan.name, draft.now
    reason = f"its hook {hook.name} ({hook.when.value}) did not succeed: {work.problem}"
    ignored = hook.on_failure is OnHookFailure.IGNORE
    match hook.when:
        case When.BEFORE if not ignored and state.task.direction is Direction.DEPLOY:
            kind = e.HostFailed if hook.on_failure is OnHookFailure.FAIL else e.HostDeferred
            draft.add(kind(now, name, host, "hook", reason))
            return
        case When.AFTER_COMMIT if not ignored and isinstance(state, Committed) and not rollout.header.phase.is_final:
            draft.add(e.HostUnhealthy(now, name, host, reason))
        case _:
            pass
    stuck = not ignored and hook.when in (When.AFTER_REVERT, When.ALWAYS_AFTER)
    draft.add(e.HookGivenUp(now, name, host, hook.name, reason, stuck))
    if stuck and not rollout.header.phase.is_final:
        # More hosts would be taken out of service, and as little would come back.
        draft.pause(name, FLEETD, f"{host}: {reason}")


def begins_with_hooks(draft: Draft, rollout: Rollout, plan: HostPlan, state: Copied) -> bool:
    """Begin with what a host has to run before its trial. Returns whether its trial must wait for that."""
    spec = rollout.header.spec
    first, work = first_before(spec, plan), draft.world.hooks.get((spec.id, plan.name))
    if work is not None and not is_spent(spec, plan, work, state):
        return not is_ready(spec, plan, work)
    if first is None:
        return False
    draft.place = (spec.id, plan.name)
    if _run(draft, rollout, plan, state, first, None):
        draft.start(spec.id, plan.name)
    return True


def ready_since(world: World, name: str, host: str) -> float:
    """Return when a host's last hook before its trial ended: what was seen of it earlier is not how it is drained."""
    work = world.hooks.get((name, host))
    return 0.0 if work is None else work.ended_at


def is_elsewhere(world: World, name: str, host: str) -> bool:
    """Whether hooks of another rollout still run on a host; what waits for nobody but a person holds up nothing."""
    others = [other for other, _work in world.hooks.of_host(host) if other != name]
    return any(host not in waits_for_person(world, other) for other in others)


def under_way(world: World, name: str) -> dict[str, HostHooks]:
    """Return the hosts of a rollout that are brought on: they wait for no person, and are not lost until seen."""
    rollout = world.rollouts[name]
    return {
        host: work
        for host, work in world.hooks.of_rollout(name).items()
        if not isinstance(state := rollout.hosts[host], Lost)
        and not is_spent(rollout.header.spec, rollout.plans[host], work, state)
    }


def waits_for_person(world: World, name: str) -> list[str]:
    """Return the hosts of a rollout whose hooks have all ended, and of which one is known not to have put back."""
    rollout = world.rollouts[name]
    return [
        host
        for host, work in stuck_in(world, name).items()
        if is_spent(rollout.header.spec, rollout.plans[host], work, rollout.hosts[host])
    ]


def stuck_in(world: World, name: str) -> dict[str, HostHooks]:
    """Return the hosts of a rollout of which a person must look whether they are back in service."""
    return {host: work for host, work in world.hooks.of_rollout(name).items() if work.stuck}
