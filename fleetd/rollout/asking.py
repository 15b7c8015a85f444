"""What a host says of itself before anything is done to it, and what becomes of one that does not answer."""

from __future__ import annotations

from fleetd.model.facts import HostFacts
from fleetd.model.policy import Unreachable
from fleetd.rollout import events as e
from fleetd.rollout.before import waits_for_checks
from fleetd.rollout.decision import Draft, Inspect
from fleetd.rollout.seen import Observation, Unheard
from fleetd.rollout.spec import HostPlan
from fleetd.rollout.states import Copied, Direction, HostState
from fleetd.rollout.world import Rollout

INSPECTIONS = 2
"""A host counts as out of reach when it did not answer twice: one lost packet is no reason to pass it over."""

INSPECT_AGAIN_S = 2.0
"""Between two tries to reach a host that is to be started."""

ROLLBACK_REACH_S = 600.0
"""How long a host that must go back may be out of reach until a person is needed: longer than a slow reboot."""


def inspected(draft: Draft, name: str, rollout: Rollout, plan: HostPlan, *, since: float) -> HostFacts | None:
    """Return facts that are newer than ``since``, or ask for them and return None."""
    seen = draft.world.observation(name, plan.name)
    if seen.asking:
        return None
    if seen.inspected_at is not None and seen.inspected_at >= since and seen.facts is not None:
        if not waits_for_checks(draft, name, rollout, plan.name):
            return seen.facts
        if draft.now < seen.inspected_at + INSPECT_AGAIN_S:
            draft.wake(seen.inspected_at + INSPECT_AGAIN_S)
            return None
    if seen.failures >= INSPECTIONS and not _is_waited_for(draft, rollout.hosts[plan.name], seen):
        pass_over(draft, name, rollout, plan, seen.unheard, seen.unreachable)
        return None
    if seen.failures and draft.now < seen.next_round_at:
        draft.wake(seen.next_round_at)
        return None
    if draft.take("probe"):
        checks = tuple(check.name for check in rollout.header.spec.checks_of(plan))
        draft.ask(Inspect(name, plan.name, seen.step, checks))
    return None


def _is_waited_for(draft: Draft, state: HostState, seen: Observation) -> bool:
    """Whether a host that does not answer is asked on: one that must go back is not given up at once.

    What counts is how long it has not answered, not how long it has waited for its turn.
    """
    if not isinstance(state, Copied) or state.task.direction is not Direction.ROLLBACK:
        return False
    return draft.now < seen.silent_since + ROLLBACK_REACH_S


def pass_over(draft: Draft, name: str, rollout: Rollout, plan: HostPlan, kind: Unheard, reason: str) -> None:
    """Defer a host that is out of reach, or fail it where the policy says so; not while it may be ours to reach it."""
    if not draft.world.contacts.counts(plan.name):
        return
    fails = rollout.header.spec.policy.unreachable is Unreachable.FAIL
    going_back = rollout.hosts[plan.name].task.direction is Direction.ROLLBACK
    if fails or going_back:
        draft.add(e.HostFailed(draft.now, name, plan.name, kind.value, reason))
    else:
        draft.add(e.HostDeferred(draft.now, name, plan.name, kind.value, reason))
