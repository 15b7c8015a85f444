"""Hosts that were away while others got a new system get it when they are back, whatever goes wrong then."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from fleetd.model.policy import FailureBudget, Size, Unreachable
from tests.simulation.scenario import BAD, POLICY, Crash, Mishap, Request, Scenario, names, system
from tests.simulation.sim_machine import GOOD
from tests.simulation.simulation import Report, simulate
from tests.simulation.watch import ViolationError

BLOCK = 40
LENIENT = replace(
    POLICY,
    failure_budget=FailureBudget(Size(count=1), Size(count=9), Size(count=9)),
    unreachable_budget=Size(percent=100),
)
AWAY = Mishap(0.0, "link", "h3", 400.0)
ONE_AWAY = Scenario(
    seed=1, hosts=names(4), policy=LENIENT, mishaps=(AWAY,), quiet_at_s=500.0, observe_s=20.0, waves=(), soak_s=0.0
)


def draw_owed(seed: int) -> Scenario:
    """Draw a scenario in which hosts are away when a deploy begins, and are back at some time."""
    rng = Random(f"owed {seed}")
    fleet = names(rng.randint(2, 8))
    away = [host for host in fleet if rng.random() < 0.4] or [rng.choice(fleet)]
    mishaps = [Mishap(0.0, rng.choice(("link", "power")), host, rng.uniform(30, 1500)) for host in away]
    mishaps += [Mishap(rng.uniform(0, 2500), rng.choice(("link", "mute", "power", "disk", "uplink")), rng.choice(fleet),
                       rng.choice((5.0, 60.0, 400.0))) for _ in range(rng.choice((0, 1, 3, 6)))]  # fmt: skip
    behaviours = {str(system(host, 2)): rng.choice(BAD) for host in fleet if rng.random() < 0.15}
    requests = [Request(0.0, "deploy")]
    if rng.random() < 0.4:
        requests.append(Request(rng.uniform(60, 2000), "deploy", fleet, supersede=rng.random() < 0.3))
    for kind in ("freeze", "lock"):
        if rng.random() < 0.3:
            requests.append(Request(rng.uniform(20, 1500), kind, tuple(away), rng.choice((100.0, 900.0))))
    crashes = [
        Crash(rng.randint(2, 40 * len(fleet)), rng.random() < 0.5, rng.choice((1.0, 25.0, 90.0, 900.0)))
        for _ in range(rng.choice((0, 0, 1, 3)))
    ]
    return Scenario(
        seed=seed,
        hosts=fleet,
        policy=replace(LENIENT, unreachable=Unreachable.DEFER, max_parallel=Size(count=rng.randint(1, 4))),
        waves=rng.choice(((), (1,), (1, 2))),
        soak_s=rng.choice((0.0, 15.0)),
        behaviours=behaviours,
        mishaps=tuple(mishaps),
        crashes=tuple(crashes),
        requests=tuple(sorted(requests, key=lambda asked: asked.at_s)),
        brake=rng.choice((0, 0, 2)),
        observe_s=rng.choice((20.0, 60.0)),
    )


def caught_up(report: Report) -> list[str]:
    """Return the hosts that a rollout asked for by nobody was about."""
    return [line.split()[-2] for line in report.trace if line.endswith("HostOwed")]


@pytest.mark.parametrize("block", range(4))
def test_what_is_owed_is_paid_whatever_goes_wrong(block: int) -> None:
    owed = 0
    for seed in range(block * BLOCK, (block + 1) * BLOCK):
        try:
            owed += len(caught_up(simulate(draw_owed(seed))))
        except ViolationError as error:
            raise ViolationError(f"draw_owed({seed}): {error}") from error
    assert owed > BLOCK / 2, "hosts are to be away when it counts"


def test_a_host_that_was_away_gets_what_the_others_have() -> None:
    report = simulate(ONE_AWAY)
    assert report.phases == {"r-1": "incomplete", "r-2": "succeeded"}
    assert report.states["r-1"]["h3"] == "deferred"
    assert report.states["r-2"] == {"h3": "committed"}
    assert set(report.runs.values()) == {system(name, 2) for name in names(4)}


def test_nobody_is_caught_up_where_nobody_looks() -> None:
    report = simulate(replace(ONE_AWAY, observe_s=None))
    assert report.phases == {"r-1": "incomplete"}
    assert report.runs["h3"] == system("h3", 1)


def test_what_fails_there_is_taken_back_and_never_tried_again() -> None:
    bad = replace(ONE_AWAY, behaviours={system("h3", 2): replace(GOOD, healthy=False)})
    report = simulate(bad)
    assert report.phases == {"r-1": "incomplete", "r-2": "failed"}
    assert report.states["r-2"] == {"h3": "reverted"}
    assert report.runs["h3"] == system("h3", 1)


def test_a_rollout_that_was_taken_back_owes_nothing() -> None:
    bad = {str(system(host, 2)): replace(GOOD, healthy=False) for host in ("h1", "h2", "h4")}
    strict = replace(ONE_AWAY, behaviours=bad, policy=replace(POLICY, unreachable_budget=Size(percent=100)))
    report = simulate(strict)
    assert report.phases == {"r-1": "rolled-back"}
    assert report.runs["h3"] == system("h3", 1)


def test_a_newer_rollout_takes_the_place_of_what_was_owed() -> None:
    report = simulate(replace(ONE_AWAY, requests=(Request(0.0, "deploy"), Request(200.0, "deploy"))))
    assert report.phases == {"r-1": "incomplete", "r-2": "incomplete", "r-3": "succeeded"}
    assert report.runs["h3"] == system("h3", 3)


@pytest.mark.parametrize("kind", ["freeze", "lock"])
def test_a_person_who_holds_a_host_holds_it_from_this_too(kind: str) -> None:
    held = Request(100.0, kind, ("h3",), 2000.0)
    report = simulate(replace(ONE_AWAY, requests=(Request(0.0, "deploy"), held), quiet_at_s=2500.0))
    assert report.phases == {"r-1": "incomplete", "r-2": "succeeded"}
    (begun,) = [line for line in report.trace if "r-2" in line and line.endswith("RolloutRequested")]
    assert float(begun.split()[1]) % 100_000 >= 2100.0, "not before the hold had ended"


def test_a_crash_at_any_append_changes_nothing_of_what_is_paid() -> None:
    whole = simulate(ONE_AWAY)
    for append in range(1, whole.appends + 1):
        for durable in (False, True):
            report = simulate(replace(ONE_AWAY, crashes=(Crash(append, durable, 1.0),)))
            assert report.phases == whole.phases, f"killed at append {append}, {durable=}"
            assert report.runs == whole.runs, f"killed at append {append}, {durable=}"
