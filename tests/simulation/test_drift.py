"""Somebody switches a host by hand after it was deployed: each policy does what it says, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from fleetd.model.policy import OnDrift
from tests.simulation.scenario import Crash, Mishap, Request, Scenario, names, system
from tests.simulation.simulation import Report, simulate
from tests.simulation.test_owed import LENIENT
from tests.simulation.watch import ViolationError

BLOCK = 40
LATER = Request(590.0, "unfreeze")
"""Asks for nothing: until then the run goes on, so that hosts are looked at."""


def drifting(on_drift: OnDrift, **changes: object) -> Scenario:
    """Return a fleet that is deployed, and on one host of which a person switches to a system of theirs then."""
    scenario = Scenario(
        seed=1,
        hosts=names(3),
        policy=replace(LENIENT, on_drift=on_drift),
        mishaps=(Mishap(200.0, "meddle", "h2"),),
        meddled=("h2",),
        quiet_at_s=600.0,
        observe_s=20.0,
        requests=(Request(0.0, "deploy"), LATER),
        waves=(),
        soak_s=0.0,
    )
    return replace(scenario, **changes)  # type: ignore[arg-type]


def told(report: Report, kind: str) -> list[str]:
    return [line for line in report.trace if line.endswith(kind)]


def test_block_leaves_it_and_a_later_deploy_leaves_it_too() -> None:
    report = simulate(drifting(OnDrift.BLOCK, requests=(Request(0.0, "deploy"), Request(400.0, "deploy"))))
    assert told(report, "h2 HostFoundUnwell")
    assert report.states["r-2"]["h2"] == "deferred"
    assert report.runs["h2"] == system("h2", 9)


def test_adopt_takes_it_and_a_later_deploy_goes_on_from_there() -> None:
    report = simulate(drifting(OnDrift.ADOPT))
    assert len(told(report, "h2 HostAdopted")) == 1
    assert report.phases == {"r-1": "succeeded"}
    assert report.runs["h2"] == system("h2", 9)
    later = simulate(drifting(OnDrift.ADOPT, requests=(Request(0.0, "deploy"), Request(400.0, "deploy"))))
    assert later.states["r-2"]["h2"] == "committed"


def test_restore_brings_it_back_by_a_rollout_of_its_own() -> None:
    report = simulate(drifting(OnDrift.RESTORE))
    assert report.phases == {"r-1": "succeeded", "r-2": "succeeded"}
    assert report.states["r-2"] == {"h2": "committed"}
    assert set(report.runs.values()) == {system(name, 2) for name in names(3)}


def test_nothing_is_restored_under_a_lock() -> None:
    held = (
        Request(0.0, "deploy"),
        Request(100.0, "lock", ("h2",)),
        Request(3000.0, "unlock", ("h2",)),
        replace(LATER, at_s=3300.0),
    )
    report = simulate(drifting(OnDrift.RESTORE, requests=held))
    (begun,) = [line for line in report.trace if "r-2" in line and line.endswith("RolloutRequested")]
    assert float(begun.split()[1]) % 100_000 >= 3000.0


def test_a_host_that_lost_its_state_is_left_alone_whatever_the_policy_says() -> None:
    for on_drift in OnDrift:
        lost = drifting(on_drift, mishaps=(Mishap(200.0, "state", "h2"),))
        report = simulate(replace(lost, requests=(Request(0.0, "deploy"), Request(400.0, "deploy"))))
        assert report.states["r-2"]["h2"] == "deferred"
        assert report.runs["h2"] == system("h2", 2)
        assert not told(report, "h2 HostAdopted")


@pytest.mark.parametrize("block", range(3))
def test_whatever_goes_wrong_a_policy_does_what_it_says(block: int) -> None:
    for seed in range(block * BLOCK, (block + 1) * BLOCK):
        rng = Random(f"drift {seed}")
        scenario = drifting(rng.choice(list(OnDrift)), seed=seed)
        kinds = ("meddle", "meddle", "state", "menu", "link", "power")
        mishaps = [Mishap(rng.uniform(0, 600), rng.choice(kinds), rng.choice(names(3)), 40.0) for _ in range(4)]
        crashes = [Crash(rng.randint(2, 80), rng.random() < 0.5, rng.choice((1.0, 30.0, 300.0))) for _ in range(2)]
        deploys = (Request(0.0, "deploy"), Request(rng.uniform(100, 500), "deploy"), replace(LATER, at_s=1500.0))
        meddled = tuple(dict.fromkeys(each.host for each in mishaps if each.kind in ("meddle", "state", "menu")))
        drawn = replace(scenario, mishaps=tuple(mishaps), crashes=tuple(crashes), requests=deploys, meddled=meddled)
        try:
            simulate(drawn)
        except ViolationError as error:
            raise ViolationError(f"drift {seed}: {error}") from error
