"""``plan(world, capacity, now)``: what should happen next. Pure, synchronous, the same for the same inputs.

Order is priority: hosts in doubt first, then trials that must be kept alive, ended or committed, then rollbacks, then
whatever may start. Everything that waits says when to look again.

What is looked at is what the agenda names (hosts whose inputs changed or whose time has come) and, for whatever is
scarce, the first in each line: the cost is that of what changes and starts, not of how many hosts there are.
"""

from __future__ import annotations

from fleetd.rollout import events as e
from fleetd.rollout.brakes import end_holds, plan_contact
from fleetd.rollout.decision import Capacity, Decision, Draft
from fleetd.rollout.gates import ask_approval, judge_budgets, move_waves, plan_ending, plan_preparation, supersede
from fleetd.rollout.hooking import plan_hooks
from fleetd.rollout.live import pause_for_errors, plan_live, plan_soak
from fleetd.rollout.patrol import plan_patrol
from fleetd.rollout.starting import plan_rollbacks, plan_starts
from fleetd.rollout.world import Rollout, World


def plan(world: World, capacity: Capacity, now: float, *, everything: bool = False) -> Decision:
    """Return the next decision. Nothing is decided twice: a host in flight is left alone until its deadline.

    Args:
        world: what is so; nothing of it is changed but that empty observations are made.
        capacity: free slots of the executor.
        now: the instant.
        everything: look at every host, whether or not the agenda names it. Slow, and decides the same.
    """
    draft = Draft(world, capacity, now, everything=everything)
    # What is owed waits for what people asked for, also where both wait for a slot.
    active = sorted(world.active(), key=lambda one: one[1].header.spec.kind.pays)
    end_holds(draft)
    plan_contact(draft)
    plan_patrol(draft)
    plan_live(draft)
    plan_hooks(draft)
    for name, rollout in active:
        draft.place = ("", "")
        if not draft.is_isolated:
            plan_rollbacks(draft, name, rollout)
    for name, rollout in active:
        draft.place = ("", "")
        _plan_rollout(draft, name, rollout)
    return draft.done()


def _plan_rollout(draft: Draft, name: str, rollout: Rollout) -> None:
    header = rollout.header
    if header.phase is e.Phase.PENDING:
        _plan_queued(draft, name, rollout)
        return
    if header.starts_nothing:
        plan_ending(draft, name, rollout)
        return
    if header.phase is e.Phase.EVALUATING:
        if header.paused is None and not draft.is_isolated:
            plan_preparation(draft, name, rollout)
        return
    if judge_budgets(draft, name, rollout):
        return
    plan_soak(draft, name, rollout)
    pause_for_errors(draft, name, rollout)
    if header.paused is not None or draft.is_isolated or draft.has_failed(name):
        # What was just found is in no number yet: the next plan judges it before anything passes or starts.
        return
    draft.place = (name, "")
    if ask_approval(draft, name, rollout) or move_waves(draft, name, rollout):
        return
    draft.place = ("", "")
    plan_starts(draft, name, rollout)


def _plan_queued(draft: Draft, name: str, rollout: Rollout) -> None:
    """Start a rollout once no earlier one holds any of its hosts."""
    if rollout.header.starts_nothing:
        plan_ending(draft, name, rollout)
        return
    if rollout.header.paused is not None or draft.is_isolated:
        return
    if not draft.sees((name, "")):
        return
    if all(draft.world.owner(host) == name for host in rollout.hosts):
        draft.add(e.RolloutStarted(draft.now, name))
    else:
        supersede(draft, name, rollout)
