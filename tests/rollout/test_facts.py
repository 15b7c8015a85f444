"""What a host says of itself is a word of the host: what follows from it, and what does not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleetd.model.facts import HelperState
from fleetd.rollout import events as e
from fleetd.rollout.decision import Capacity
from fleetd.rollout.observations import Inspected, note
from fleetd.rollout.planner import plan
from tests.rollout.worlds import Built, facts_of, system


@pytest.mark.parametrize("current", ["", "/run/current-system", "/nix/store/x"])
def test_a_host_that_says_nothing_sensible_of_its_system_is_left_alone_and_stops_nobody(current: str) -> None:
    built = Built()
    built.rollout("r-1", "h1")
    built.bring("r-1", "h1", "copied")
    step = built.world.observation("r-1", "h1").step
    facts = replace(facts_of("h1", system("h1", 1)), current=current)
    note(built.world, Inspected(built.now, "r-1", "h1", step, facts, (), ""))
    (deferred,) = plan(built.world, Capacity(), built.now).events
    assert isinstance(deferred, e.HostDeferred)
    assert deferred.kind == "no-system"
    assert repr(current) in deferred.reason


BUSY = [state for state in HelperState if state.is_moving or state is HelperState.TRIAL]


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        *(({"state": state, "id": "r-9.h1.1"}, "unsettled") for state in BUSY),
        ({"machine_id": "another"}, "wrong-host"),
    ],
    ids=[*BUSY, "another machine"],
)
def test_a_host_is_not_called_current_by_its_paths_alone(said: dict[str, str], kind: str) -> None:
    built = Built()
    built.rollout("r-0", "h1")
    built.bring("r-0", "h1", "committed")
    built.apply(e.RolloutFinished(built.now, "r-0", e.Phase.SUCCEEDED, ""))
    built.rollout("r-1", "h1")
    plan(built.world, Capacity(), built.now)
    step = built.world.observation("r-1", "h1").step
    facts = replace(built.facts("h1", system("h1", 2)), **said)  # type: ignore[arg-type]
    note(built.world, Inspected(built.now, "r-1", "h1", step, facts, (), ""))
    (deferred,) = plan(built.world, Capacity(), built.now).events
    assert isinstance(deferred, e.HostDeferred), "success over a host that goes back, or is not the one that is meant"
    assert deferred.kind == kind
