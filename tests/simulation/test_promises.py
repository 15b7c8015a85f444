"""Promises 1, 2, 4, 5 and 6 over generated worlds: the real controller against simulated hosts."""

from __future__ import annotations

from random import Random

import pytest

from tests.simulation.scenario import Scenario, draw, names
from tests.simulation.simulation import simulate


def test_a_good_revision_reaches_every_host() -> None:
    report = simulate(Scenario(seed=1, hosts=names(6)))
    assert report.phases == {"r-1": "succeeded"}


@pytest.mark.parametrize("seed", range(200))
def test_promises_hold(seed: int) -> None:
    simulate(draw(Random(seed), seed=seed))
