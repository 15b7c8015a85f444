"""Hosts that do not come back from a reboot: unlock them, and at the very end take their power away once.

**Unlocking** gives a host what it waits for before it boots. It does nothing to a host that waits for nothing, so it is
volatile, like a question, and repeated while the host is silent.

**A power cycle** ends whatever runs, so it is journalled as an intent, done once for an activation, and only to a host
that cannot be at work any more:

- it went down for a trial by reboot and was given up: nobody has seen it come up. One that was seen in its new system
  and fell silent then is not one of these: it may well work, or have been committed;
- it has been silent for so long that, if its new system had come up where nobody can reach it, that one's guard would
  have booted the old system by now: ``timing.power_cycle_after_s``;
- it was asked once more after that and did not answer, while the controller does hear others; whoever cycles the power
  asks a last time, and leaves a host alone that answers in whatever way.

What it boots then is its boot default, which is the old system until a commit. Where it hung before its boot loader
took the choice for one boot, that is the new system, on trial, with the guard that its own boot brings.
"""

from __future__ import annotations

from fleetd.model.policy import LastResort, Reboot
from fleetd.model.program import Aid
from fleetd.rollout import events as e
from fleetd.rollout import timing
from fleetd.rollout.decision import Draft, Unlock
from fleetd.rollout.seen import Observation
from fleetd.rollout.spec import HostPlan, RolloutSpec
from fleetd.rollout.states import LiveState, Lost, Switching

UNLOCK_EVERY_S = 15.0
"""How long after a try the next one comes at the earliest: an initrd answers within seconds once it is there."""

UNLOCK_TRIES = 40
"""They are spread over the time that a host has for its reboot: firmware alone may take minutes of it."""

CYCLE_DEADLINE_S = 900.0
"""The last look at the host, and the longest command."""


def plan_power(draft: Draft, name: str, plan: HostPlan, state: LiveState, spec: RolloutSpec) -> None:
    """Plan for a host that was asked and did not answer."""
    seen = draft.world.observation(name, plan.name)
    if not seen.failures:
        return
    if Aid.UNLOCK in seen.aids and _may_be_booting(state, spec):
        _unlock(draft, name, plan, spec, seen)
    if Aid.POWER_CYCLE in seen.aids and isinstance(state, Lost):
        _cycle(draft, name, plan, state, spec, seen)


def cycles_at(state: Lost, spec: RolloutSpec) -> float | None:
    """Return from when on the power of a lost host may be cycled; None: never."""
    silent_since = state.live.lost_since
    if state.down_since is None or silent_since is None or state.cycled_at is not None:
        return None
    # One that was heard since, on its way back, gets all of the time for that once more.
    return max(state.at, max(state.down_since, silent_since) + timing.power_cycle_after_s(spec))


def _may_be_booting(state: LiveState, spec: RolloutSpec) -> bool:
    if state.live.rebooting_since is not None or spec.policy.last_resort is LastResort.REBOOT:
        return True
    return spec.policy.reboot is not Reboot.NEVER and isinstance(state, Switching | Lost)


def _unlock(draft: Draft, name: str, plan: HostPlan, spec: RolloutSpec, seen: Observation) -> None:
    if seen.unlocking or seen.unlocks >= UNLOCK_TRIES:
        return
    if draft.now < seen.unlock_at:
        draft.wake(seen.unlock_at)
    elif draft.take("program"):
        again_s = max(UNLOCK_EVERY_S, spec.policy.reboot_timeout_s / UNLOCK_TRIES)
        draft.ask(Unlock(name, plan.name, seen.step, seen.unlocks + 1, again_s))


def _cycle(draft: Draft, name: str, plan: HostPlan, state: Lost, spec: RolloutSpec, seen: Observation) -> None:
    at = cycles_at(state, spec)
    if at is None:
        return
    if draft.now < at:
        draft.wake(at)
        return
    # Not before it was asked after that: the next answer, or its lack, looks here again.
    is_its_own = draft.world.contacts.counts(plan.name) and not draft.is_isolated
    if seen.asked_at >= at and is_its_own and draft.take("program"):
        deadline = draft.now + CYCLE_DEADLINE_S
        draft.add(e.PowerCycleIntended(draft.now, name, plan.name, draft.fence(), deadline))
        draft.wake(deadline)
