"""The planner looks at few hosts. One that looks at every host, every time, must decide the same."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest

from fleetd.controller import loop
from fleetd.rollout.decision import Capacity, Decision
from fleetd.rollout.planner import plan
from fleetd.rollout.tally import Tally
from fleetd.rollout.world import Rollout, World
from tests.simulation.scenario import draw
from tests.simulation.simulation import simulate
from tests.simulation.watch import require


def plan_twice(world: World, capacity: Capacity, now: float) -> Decision:
    """Plan as the controller does, and compare with a plan that scans everything and with numbers counted anew."""
    decision = plan(world, capacity, now)
    oracle = plan(world, capacity, now, everything=True)
    require(decision.events == oracle.events, f"{now}: {decision.events} instead of {oracle.events}")
    require(decision.questions == oracle.questions, f"{now}: {decision.questions} instead of {oracle.questions}")
    for name, rollout in world.rollouts.items():
        require(numbers(rollout.tally) == numbers(counted(rollout)), f"{name}: the numbers are wrong")
    return decision


def counted(rollout: Rollout) -> Tally:
    """Count a rollout's hosts anew."""
    fresh = Tally(rollout.header.spec.waves, rollout.hosts, rollout.plans)
    for index, wave in enumerate(rollout.header.waves):
        for host in wave.hosts:
            if fresh.wave_of[host] != index:
                fresh.moved(host, rollout.hosts[host], index)
    return fresh


def numbers(tally: Tally) -> object:
    """Everything in a tally, to compare."""
    return (
        {mark: sorted(hosts) for mark, hosts in tally.hosts.items()},
        [+counts for counts in tally.waves],
        [+words for words in tally.words],
        {name: waiting for name, waiting in tally._lanes.items() if waiting},
    )


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let controllers plan with the oracle beside them."""
    monkeypatch.setattr(loop, "plan", plan_twice)
    yield


@pytest.mark.usefixtures("checked")
@pytest.mark.parametrize("block", range(4))
def test_looking_at_what_changed_decides_what_looking_at_everything_does(block: int) -> None:
    for seed in range(block * 30, (block + 1) * 30):
        simulate(draw(Random(seed), seed=seed))


@pytest.mark.usefixtures("checked")
@pytest.mark.parametrize("seed", range(6))
def test_the_same_in_a_large_fleet(seed: int) -> None:
    simulate(draw(Random(seed), seed=seed, hosts=40))
