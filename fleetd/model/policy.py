"""How a rollout proceeds: waves, limits, deadlines, budgets, and the inequalities that make them possible.

All times are seconds. Letters in this file are those of the host protocol: S switch, K stopping a switch, H healthy,
W contact, C commit, V revert, n one fresh contact, Q the slowest check's proof, R restart of the controller.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum

from fleetd.model.check import Check
from fleetd.model.duration import format_duration
from fleetd.model.goal import Goal
from fleetd.model.window import Window

STOP_SWITCH_S = 30.0
"""K: TERM, then KILL: what it takes to end a switch that hangs."""


@dataclass(frozen=True, slots=True)
class Size:
    """A number of hosts: ``3``, or ``25 %`` of all the rollout's hosts."""

    count: int = 0
    percent: float = 0.0

    def rounded_down(self, total: int) -> int:
        """Limits round down, at least 1: 25 % of 5 hosts is one at a time."""
        return max(1, self.budget(total))

    def rounded_up(self, total: int) -> int:
        """Sizes of waves round up."""
        return self.count if self.count else math.ceil(total * self.percent / 100 - 1e-9)

    def budget(self, total: int) -> int:
        """Budgets round down, and may be 0."""
        return self.count if self.count else math.floor(total * self.percent / 100 + 1e-9)

    def __str__(self) -> str:
        return str(self.count) if self.count or not self.percent else f"{self.percent:g}%"


@dataclass(frozen=True, slots=True)
class WaveSpec:
    """One wave as written: by number, share, or selector; the rest of the hosts is a last wave.

    ``approval_s``: a person must let it start, and has this long to do so; None when nobody is asked.
    """

    name: str
    size: Size = Size()
    on: str = ""
    soak_s: float = 0.0
    approval_s: float | None = None


class OnFailure(StrEnum):
    """What a rollout does once its failures exceed a budget."""

    ROLLBACK = "rollback"
    PAUSE = "pause"
    STOP = "stop"


class RollbackScope(StrEnum):
    """Which committed hosts a failed rollout takes back."""

    HOST = "host"
    WAVE = "wave"
    ROLLOUT = "rollout"


class Unreachable(StrEnum):
    """What a host that cannot be reached before its trial is."""

    DEFER = "defer"
    FAIL = "fail"


class OnDrift(StrEnum):
    """What happens to a host that is not as fleetd left it."""

    BLOCK = "block"
    ADOPT = "adopt"
    RESTORE = "restore"


class Reboot(StrEnum):
    """Whether a rollout may reboot a host that needs it."""

    NEVER = "never"
    WHEN_NEEDED = "when-needed"
    ALWAYS = "always"


class RebootRisk(StrEnum):
    """Whether a host may be rebooted into a system that brings no guard: nothing would take it back by itself."""

    REFUSE = "refuse"
    ACCEPT = "accept"


class LastResort(StrEnum):
    """What a host may do when going back failed."""

    NONE = "none"
    REBOOT = "reboot"


@dataclass(frozen=True, slots=True)
class FailureBudget:
    """Failures tolerated: a rollout fails when failures *exceed* one of these."""

    canary: Size = Size()
    wave: Size = Size(percent=5)
    total: Size = Size(percent=2)


@dataclass(frozen=True, slots=True)
class Policy:
    """A named strategy, frozen into each rollout that is accepted with it."""

    name: str = "default"
    goal: Goal = Goal.SWITCH
    waves: tuple[WaveSpec, ...] = (
        WaveSpec("canary", Size(count=1), soak_s=600),
        WaveSpec("wave-2", Size(percent=10), soak_s=1800),
        WaveSpec("wave-3", Size(percent=40), soak_s=1800),
    )
    max_parallel: Size = Size(percent=25)
    max_unproven: int = 200
    max_domains: int = 1
    switch_timeout_s: float = 900
    min_healthy_s: float = 60
    healthy_deadline_s: float = 300
    contact_timeout_s: float = 180
    commit_timeout_s: float = 300
    revert_timeout_s: float = 900
    restart_allowance_s: float = 30
    """R: a controller that is back within this finds its trials alive."""
    progress_deadline_s: float = 3600
    failure_budget: FailureBudget = field(default_factory=FailureBudget)
    unreachable_budget: Size = Size(percent=10)
    on_failure: OnFailure = OnFailure.ROLLBACK
    rollback_scope: RollbackScope = RollbackScope.ROLLOUT
    rollback_max_parallel: Size = Size(percent=25)
    unreachable: Unreachable = Unreachable.DEFER
    on_drift: OnDrift = OnDrift.BLOCK
    reboot: Reboot = Reboot.NEVER
    reboot_timeout_s: float = 420
    """From the order to reboot until the host answers again: a server's firmware alone takes minutes."""
    reboot_risk: RebootRisk = RebootRisk.REFUSE
    last_resort: LastResort = LastResort.NONE
    builtin_off: tuple[str, ...] = ()
    windows: tuple[Window, ...] = ()
    """When hosts may be started; none: at any time."""

    def cap_s(self, proof_s: float) -> float:
        """T: how long after arming a trial can be kept alive at most, whatever a controller says."""
        return self.switch_timeout_s + STOP_SWITCH_S + self.healthy_deadline_s + proof_s + self.contact_timeout_s

    @property
    def may_reboot_s(self) -> float:
        """What reboots may add to an activation: one there, and one back."""
        return 0.0 if self.reboot is Reboot.NEVER else 2 * self.reboot_timeout_s


def slowest_proof_s(checks: tuple[Check, ...]) -> float:
    """Q: the longest time any check needs to prove health."""
    return max((check.proof_s for check in checks), default=0.0)


def broken_inequalities(policy: Policy, checks: tuple[Check, ...], contact_s: float) -> list[str]:
    """Return one sentence, with its sum, for each inequality of timing that does not hold.

    Args:
        policy: the policy to judge.
        checks: every check that may apply to its hosts.
        contact_s: n, one fresh contact: connect, login and order timeouts together.
    """
    s, h, w = policy.switch_timeout_s, policy.healthy_deadline_s, policy.contact_timeout_s
    c, v, q = policy.commit_timeout_s, policy.revert_timeout_s, slowest_proof_s(checks)
    show, broken = format_duration, []
    if policy.min_healthy_s + q + contact_s > h:
        broken.append(
            f"min_healthy {show(policy.min_healthy_s)} + slowest check {show(q)} + one contact {show(contact_s)} = "
            f"{show(policy.min_healthy_s + q + contact_s)} must be at most healthy_deadline = {show(h)}"
        )
    least_w = max(3 * contact_s, 1.5 * (policy.restart_allowance_s + contact_s))
    if w < least_w:
        broken.append(
            f"contact_timeout = {show(w)} must be at least {show(least_w)}, the larger of 3 contacts of "
            f"{show(contact_s)} and 1.5 times a restart of {show(policy.restart_allowance_s)} with one contact"
        )
    total = s + STOP_SWITCH_S + h + q + w + c + v + policy.may_reboot_s
    reboots = f" + two reboots of {show(policy.reboot_timeout_s)}" if policy.may_reboot_s else ""
    if policy.progress_deadline_s <= total:
        broken.append(
            f"progress_deadline = {show(policy.progress_deadline_s)} must be more than switch_timeout {show(s)} + "
            f"{show(STOP_SWITCH_S)} + healthy_deadline {show(h)} + slowest check {show(q)} + contact_timeout {show(w)} "
            f"+ commit_timeout {show(c)} + revert_timeout {show(v)}{reboots} = {show(total)}"
        )
    return broken
