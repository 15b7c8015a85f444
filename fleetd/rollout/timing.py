"""Deadlines of effects, from a rollout's policy. Letters as in ``model.policy``; everything in seconds."""

from __future__ import annotations

import math
from functools import lru_cache

from fleetd.model.check import BUILT_IN_CHECKS, BUILT_IN_INTERVAL_S, Check
from fleetd.model.order import OrderTimes
from fleetd.model.policy import STOP_SWITCH_S, slowest_proof_s
from fleetd.rollout.spec import RolloutSpec

EVALUATE_TIMEOUT_S = 1800.0
"""A NixOS evaluation takes a minute at most; half an hour means that it hangs."""

BUILD_TIMEOUT_S = 4 * 3600.0
"""A kernel and a browser built from source on a small machine still fit."""

COPY_TIMEOUT_S = 2 * 3600.0
"""A first closure of several GB over a slow line."""

GIVE_UP_MARGIN_S = 600.0
"""How much longer than its guard could possibly take an unknown host keeps its slot (architecture notes, 6)."""

SOAK_BUILT_IN = ("login", "units", "route")
"""The built-in checks that go on after the commit; the others were part of proving it."""


def order_times(spec: RolloutSpec) -> OrderTimes:
    """Return the times that go with a trial and cannot be changed later; whole seconds, rounded up."""
    policy = spec.policy
    return OrderTimes(
        switch_timeout_s=math.ceil(policy.switch_timeout_s),
        contact_timeout_s=math.ceil(policy.contact_timeout_s),
        cap_s=math.ceil(policy.cap_s(slowest_proof_s(spec.checks))),
        commit_timeout_s=math.ceil(policy.commit_timeout_s),
        revert_timeout_s=math.ceil(policy.revert_timeout_s),
        reboot_timeout_s=math.ceil(policy.reboot_timeout_s),
    )


def trial_deadline_s(spec: RolloutSpec) -> float:
    """How long a trial order and its switch may take until the outcome counts as unknown."""
    return spec.policy.switch_timeout_s + STOP_SWITCH_S + 2 * spec.contact_s


def commit_deadline_s(spec: RolloutSpec) -> float:
    """How long a commit may take until its outcome counts as unknown."""
    return spec.policy.commit_timeout_s + 2 * spec.contact_s


def stage_deadline_s(spec: RolloutSpec) -> float:
    """How long moving the next boot, and putting it back when that fails, may take until it counts as unknown."""
    return 2 * spec.policy.commit_timeout_s + 2 * spec.contact_s


DRY_RUN_S = 90.0
"""Reading two sets of units and running the dry part of an activation; the helper ends it after 60 s."""


def dry_run_deadline_s(spec: RolloutSpec) -> float:
    """How long a host may take to say what a switch would change."""
    return DRY_RUN_S + 2 * spec.contact_s


def revert_deadline_s(spec: RolloutSpec) -> float:
    """How long a revert may take until its outcome counts as unknown."""
    return STOP_SWITCH_S + spec.policy.revert_timeout_s + spec.policy.may_reboot_s / 2 + 2 * spec.contact_s


def settle_deadline_s(spec: RolloutSpec) -> float:
    """How long a settle may take until it is sent again."""
    return 2 * spec.contact_s


def give_up_after_s(spec: RolloutSpec) -> float:
    """How long after arming an unknown host is given up: by then its guard has fired long ago."""
    policy = spec.policy
    back_s = policy.cap_s(slowest_proof_s(spec.checks)) + policy.revert_timeout_s + policy.may_reboot_s
    return back_s + GIVE_UP_MARGIN_S


def power_cycle_after_s(spec: RolloutSpec) -> float:
    """How long after a host in a trial by reboot was last heard nothing on it can still be at work by itself.

    It boots within the time for that; if the new system came up and nobody can reach it, its guard fires after the
    switch's time and the silence that a trial survives, and then it has the revert's time and that of a second boot.
    """
    policy = spec.policy
    guard_s = policy.switch_timeout_s + STOP_SWITCH_S + policy.contact_timeout_s
    return guard_s + policy.revert_timeout_s + 2 * policy.reboot_timeout_s


def extend_every_s(spec: RolloutSpec) -> float:
    """A third of the longest silence that a trial survives: two extends may be lost."""
    return spec.policy.contact_timeout_s / 3


def trial_interval_s(checks: tuple[Check, ...]) -> float:
    """How often a host in trial is asked: as often as its most frequent check."""
    return min((check.interval_s for check in checks), default=BUILT_IN_INTERVAL_S)


SOAK_ASKS_PER_S = 200
"""Questions a second to all hosts in soak together. One takes 0.2 to 0.4 ms of the control node's time (architecture
notes, 8), so most of a core stays free for hosts in trial, which are asked more often and must not wait."""


def asks_a_round(spec: RolloutSpec) -> int:
    """How many questions one round to one host in soak is at most: each check, and one login for the built-in ones."""
    return 1 + len(spec.checks)


def soak_interval_s(checks: tuple[Check, ...], asks: int) -> float:
    """How often a host in soak is asked: as its checks say, but more rarely where there are too many of them.

    ``asks`` is how many questions a round to all hosts in soak is, over all rollouts.
    """
    wanted_s = min((check.soak_interval_s for check in checks), default=30.0)
    return max(wanted_s, asks / SOAK_ASKS_PER_S)


def builtin_of(spec: RolloutSpec, names: tuple[str, ...] = BUILT_IN_CHECKS) -> tuple[str, ...]:
    """Return the built-in checks that are on."""
    return _without(names, spec.policy.builtin_off)


@lru_cache(maxsize=64)
def _without(names: tuple[str, ...], off: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in names if name not in off)
