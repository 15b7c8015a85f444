"""Time counts only while it is covered by rounds that asked and passed."""

from __future__ import annotations

import pytest

from fleetd.model.check import CheckOutcome, CheckResult
from fleetd.rollout.health import Health, observe

REQUIRED = ("login", "web")
PASS, FAIL, ERROR = CheckOutcome.PASS, CheckOutcome.FAIL, CheckOutcome.ERROR


def round_of(*outcomes: CheckOutcome) -> tuple[CheckResult, ...]:
    return tuple(CheckResult(name, outcome) for name, outcome in zip(REQUIRED, outcomes, strict=False))


def after(*rounds: tuple[float, tuple[CheckResult, ...]]) -> Health:
    health = Health()
    for at, results in rounds:
        health = observe(health, results, REQUIRED, at=at, interval_s=1.0)
    return health


def test_passing_rounds_cover_the_time_between_them() -> None:
    assert after((0, round_of(PASS, PASS)), (1, round_of(PASS, PASS)), (3, round_of(PASS, PASS))).covered_s == 3


def test_a_gap_covers_nothing() -> None:
    assert after((0, round_of(PASS, PASS)), (4, round_of(PASS, PASS))).covered_s == 0


@pytest.mark.parametrize("silent", [(), round_of(PASS), round_of(PASS, ERROR)])
def test_a_round_that_did_not_ask_everything_covers_nothing(silent: tuple[CheckResult, ...]) -> None:
    passed = round_of(PASS, PASS)
    assert after((0, passed), (1, passed), (2, silent), (3, silent), (4, passed)).covered_s == 1


def test_a_failure_begins_the_count_anew() -> None:
    passed = round_of(PASS, PASS)
    assert after((0, passed), (1, passed), (2, round_of(PASS, FAIL)), (3, passed), (4, passed)).covered_s == 1
