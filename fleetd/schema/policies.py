"""Policies in the fleet file."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from fleetd.model.check import BUILT_IN_CHECKS
from fleetd.model.goal import Goal
from fleetd.model.policy import (
    FailureBudget,
    LastResort,
    OnDrift,
    OnFailure,
    Policy,
    Reboot,
    RebootRisk,
    RollbackScope,
    Unreachable,
    WaveSpec,
)
from fleetd.schema.problems import Duration, Period, SizeText, Strict, seconds, size_of, word_of
from fleetd.schema.windows import WindowTable, windows_of


class WaveTable(Strict):
    """One wave, as written."""

    name: str | None = None
    count: int | None = Field(None, ge=1)
    percent: float | None = Field(None, gt=0, le=100)
    on: str | None = None
    soak: Duration = "0s"
    approval: Period | None = None


class _Budget(Strict):
    canary: SizeText = 0
    wave: SizeText = "5%"
    total: SizeText = "2%"


class PolicyTable(Strict):
    """One policy, as written."""

    goal: Literal["switch", "boot", "test", "dry-activate"] = "switch"
    waves: list[WaveTable] | None = None
    max_parallel: SizeText = "25%"
    max_unproven: int = Field(200, ge=1)
    max_domains: int = Field(1, ge=1)
    switch_timeout: Period = "15m"
    min_healthy: Duration = "1m"
    healthy_deadline: Period = "5m"
    contact_timeout: Period = "3m"
    commit_timeout: Period = "5m"
    revert_timeout: Period = "15m"
    restart_allowance: Duration = "30s"
    progress_deadline: Period = "1h"
    failure_budget: _Budget = _Budget()
    unreachable_budget: SizeText = "10%"
    on_failure: Literal["rollback", "stop", "pause"] = "rollback"
    rollback_scope: Literal["host", "wave", "rollout"] = "rollout"
    rollback_max_parallel: SizeText = "25%"
    unreachable: Literal["defer", "fail"] = "defer"
    on_drift: Literal["block", "adopt", "restore"] = "block"
    reboot: Literal["never", "when-needed", "always"] = "never"
    reboot_timeout: Period = "7m"
    reboot_risk: Literal["refuse", "accept"] = "refuse"
    last_resort: Literal["none", "reboot"] = "none"
    builtin_off: list[str] = Field(default_factory=list)
    windows: list[WindowTable] = Field(default_factory=list)


def policy_of(name: str, raw: PolicyTable, problems: list[str]) -> Policy:
    """Return the policy of a table; what is wrong with it is added to ``problems``, with its place."""
    place = f"policies.{word_of(name)}"
    wrong = sorted(set(raw.builtin_off) - set(BUILT_IN_CHECKS))
    if wrong:
        problems.append(
            f"{place}.builtin_off: no built-in check {wrong[0]!r} (there are: {', '.join(BUILT_IN_CHECKS)})"
        )
    budget = raw.failure_budget
    return Policy(
        name=name,
        goal=Goal(raw.goal),
        waves=_waves(place, raw.waves, problems),
        max_parallel=size_of(raw.max_parallel),
        max_unproven=raw.max_unproven,
        max_domains=raw.max_domains,
        switch_timeout_s=seconds(raw.switch_timeout),
        min_healthy_s=seconds(raw.min_healthy),
        healthy_deadline_s=seconds(raw.healthy_deadline),
        contact_timeout_s=seconds(raw.contact_timeout),
        commit_timeout_s=seconds(raw.commit_timeout),
        revert_timeout_s=seconds(raw.revert_timeout),
        restart_allowance_s=seconds(raw.restart_allowance),
        progress_deadline_s=seconds(raw.progress_deadline),
        failure_budget=FailureBudget(size_of(budget.canary), size_of(budget.wave), size_of(budget.total)),
        unreachable_budget=size_of(raw.unreachable_budget),
        on_failure=OnFailure(raw.on_failure),
        rollback_scope=RollbackScope(raw.rollback_scope),
        rollback_max_parallel=size_of(raw.rollback_max_parallel),
        unreachable=Unreachable(raw.unreachable),
        on_drift=OnDrift(raw.on_drift),
        reboot=Reboot(raw.reboot),
        reboot_timeout_s=seconds(raw.reboot_timeout),
        reboot_risk=RebootRisk(raw.reboot_risk),
        last_resort=LastResort(raw.last_resort),
        builtin_off=tuple(raw.builtin_off),
        windows=windows_of(place, raw.windows, problems),
    )


def _waves(place: str, raw: list[WaveTable] | None, problems: list[str]) -> tuple[WaveSpec, ...]:
    if raw is None:
        return Policy().waves
    waves = []
    for index, wave in enumerate(raw):
        given = [word for word in ("count", "percent", "on") if getattr(wave, word) is not None]
        if len(given) != 1:
            problems.append(
                f"{place}.waves.{index}: exactly one of count, percent, on is needed, found {given or 'none'}"
            )
        size = size_of(wave.count) if wave.count is not None else size_of(f"{wave.percent or 0:g}%")
        name = wave.name or ("canary" if index == 0 else f"wave-{index + 1}")
        approval_s = seconds(wave.approval) if wave.approval is not None else None
        waves.append(WaveSpec(name, size, wave.on or "", seconds(wave.soak), approval_s))
    total = sum(wave.percent or 0 for wave in raw)
    if total > 100:
        problems.append(f"{place}.waves: the shares add up to {total:g}%, at most 100% make sense")
    return tuple(waves)
