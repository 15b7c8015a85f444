"""Health from observations: streaks per check, and time *covered* by passing rounds.

Covered time is the sum of the intervals between passing rounds that are close together. A gap (the controller was
away, the check could not ask) adds nothing, so neither a soak nor a trial can pass while nobody looks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from fleetd.model.check import Check, CheckOutcome, CheckResult

LARGEST_GAP_INTERVALS = 3
"""Passing rounds further apart than this many intervals do not cover the time between them (design, "Time")."""

ERRORS_IN_A_ROW = 4
"""So often a check may be impossible to ask before somebody should look: one name server that restarts is no reason."""

BUILT_IN_SUCCESSES = 2
"""A built-in check needs a second opinion before it counts either way: one login can be unlucky."""


@dataclass(frozen=True, slots=True)
class Standing:
    """The newest answer of one check, and how many times in a row it was the same."""

    outcome: CheckOutcome
    streak: int
    text: str


@dataclass(frozen=True, slots=True)
class Health:
    """What was observed of one host since its last change."""

    standings: Mapping[str, Standing] = field(default_factory=dict)
    covered_s: float = 0.0
    passing_since: float | None = None
    """When the newest round was made, if it passed: the next one may cover the time since."""


def observe(
    health: Health, results: Sequence[CheckResult], required: Sequence[str], *, at: float, interval_s: float
) -> Health:
    """Return the health after one round.

    Args:
        health: what was known before.
        results: the answers of this round.
        required: names of the checks that count; a check that failed before the switch does not.
        at: when the round ended.
        interval_s: how far apart rounds are meant to be.
    """
    standings = dict(health.standings)
    for result in results:
        before = standings.get(result.check)
        streak = before.streak + 1 if before is not None and before.outcome is result.outcome else 1
        standings[result.check] = Standing(result.outcome, streak, result.text)
    # Only this round speaks: an older answer must not cover time in which nobody asked.
    answered = {result.check: result.outcome for result in results}
    outcomes = [answered[name] for name in required if name in answered]
    if any(outcome is CheckOutcome.FAIL for outcome in outcomes):
        return Health(standings, 0.0, None)
    if len(outcomes) < len(required) or any(outcome is CheckOutcome.ERROR for outcome in outcomes):
        return Health(standings, health.covered_s, None)
    covered_s = health.covered_s
    if health.passing_since is not None and at - health.passing_since <= LARGEST_GAP_INTERVALS * interval_s:
        covered_s += at - health.passing_since
    return Health(standings, covered_s, at)


def is_proven(health: Health, required: Sequence[str], checks: Sequence[Check], min_healthy_s: float) -> bool:
    """Whether every required check passed often enough in a row, and for long enough in covered time."""
    needed = {check.name: check.successes for check in checks}
    for name in required:
        standing = health.standings.get(name)
        if standing is None or standing.outcome is not CheckOutcome.PASS:
            return False
        if standing.streak < needed.get(name, BUILT_IN_SUCCESSES):
            return False
    return health.covered_s >= min_healthy_s


def lasting_failures(health: Health, required: Sequence[str], checks: Sequence[Check]) -> tuple[str, ...]:
    """Return a sentence for each required check that failed as often in a row as it must pass to count as well."""
    needed = {check.name: check.successes for check in checks}
    found = []
    for name in required:
        standing = health.standings.get(name)
        if standing is None or standing.outcome is not CheckOutcome.FAIL:
            continue
        if standing.streak >= needed.get(name, BUILT_IN_SUCCESSES):
            found.append(f"{name}: {standing.text}")
    return tuple(found)


def not_passing(health: Health, required: Sequence[str]) -> tuple[str, ...]:
    """Return a sentence for each required check whose newest answer is not a pass, or that never answered."""
    found = []
    for name in required:
        standing = health.standings.get(name)
        if standing is None:
            found.append(f"{name}: never answered")
        elif standing.outcome is not CheckOutcome.PASS:
            found.append(f"{name}: {standing.text}")
    return tuple(found)


def has_errors(health: Health) -> bool:
    """Whether any check could not be asked the last time."""
    return any(standing.outcome is CheckOutcome.ERROR for standing in health.standings.values())


def unaskable(health: Health, required: Sequence[str], checks: Sequence[Check], errors: int = 1) -> tuple[str, ...]:
    """Return a sentence for each required check of the fleet file that could not be asked, ``errors`` times in a row.

    Empty where anything that is required failed or was never asked, and where nothing passed: then it may be the host
    that is in the way, by what it runs now, and its silence is judged as such.
    """
    asked = [health.standings[name] for name in required if name in health.standings]
    if len(asked) < len(required) or not any(standing.outcome is CheckOutcome.PASS for standing in asked):
        return ()
    own = {check.name for check in checks}
    bad = [name for name in required if health.standings[name].outcome is not CheckOutcome.PASS]
    if any(name not in own or health.standings[name].outcome is CheckOutcome.FAIL for name in bad):
        return ()
    lasting = [name for name in bad if health.standings[name].streak >= errors]
    return tuple(f"{name}: {health.standings[name].text}" for name in lasting)


def forget_errors(health: Health) -> Health:
    """Return a health in which no check was impossible to ask so far: somebody looked, and wants to go on."""
    standings = {
        name: replace(standing, streak=0) if standing.outcome is CheckOutcome.ERROR else standing
        for name, standing in health.standings.items()
    }
    return replace(health, standings=standings)


def passed(results: Sequence[CheckResult]) -> tuple[str, ...]:
    """Return the names of the checks that passed in one round."""
    return tuple(result.check for result in results if result.outcome is CheckOutcome.PASS)
