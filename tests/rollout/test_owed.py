"""What hosts are owed: by which rollouts, until when, and how often it is tried."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetd.model.facts import HelperState
from fleetd.model.goal import Goal
from fleetd.rollout import events as e
from fleetd.rollout.decision import Capacity
from fleetd.rollout.owed import FIRST_WAIT_S, LONGEST_WAIT_S, TRIES, owed_waits
from fleetd.rollout.planner import plan
from fleetd.rollout.record import Owed
from fleetd.rollout.roots import wanted_roots
from fleetd.rollout.spec import Kind
from fleetd.rollout.transitions import IllegalTransition
from tests.rollout.test_planner import decide
from tests.rollout.worlds import Built, spec_of, system

CATCH_UP = Kind.CATCH_UP


def passed_over(why: str = "unreachable", kind: Kind = Kind.DEPLOY, goal: Goal = Goal.SWITCH) -> Built:
    """Return a world in which a rollout has brought h1 its system, and h2 was away."""
    built = Built()
    spec = replace(spec_of(("h1", "h2")), kind=kind, goal=goal)
    built.roll("r-1", spec, {host: system(host, 2) for host in ("h1", "h2")})
    built.bring("r-1", "h1", "committed")
    built.apply(e.HostDeferred(built.now, "r-1", "h2", why, "no answer"))
    for _ in range(3):
        for event in decide(built).events:
            built.apply(event)
    return built


def owed(built: Built, host: str = "h2") -> Owed:
    found = built.world.record(host).owed
    assert found is not None
    return found


def try_again(built: Built, name: str, *, finish: e.Phase | None = e.Phase.FAILED) -> None:
    """Let a catch-up begin, and end without having come to anything."""
    built.roll(name, replace(spec_of(("h2",)), kind=CATCH_UP), {"h2": system("h2", 2)})
    built.apply(e.HostDeferred(built.now, name, "h2", "unreachable", "gone again"))
    if finish is not None:
        built.apply(e.RolloutFinished(built.now, name, finish, ""))


def test_a_rollout_that_went_well_owes_its_system_to_whom_it_passed_over() -> None:
    built = passed_over()
    assert built.world.rollouts["r-1"].header.phase is e.Phase.INCOMPLETE
    assert (owed(built).to, owed(built).rollout, owed(built).policy) == (system("h2", 2), "r-1", "default")
    assert built.world.record("h2").wanted == system("h2", 2)
    assert list(built.world.owing) == ["h2"]
    assert system("h2", 2) in wanted_roots(built.world).paths, "what is owed must not be collected"
    blocked = owed_waits(built.world.record("h2"), "h2")
    assert blocked is not None
    assert "r-1 passed it over" in blocked.text


@pytest.mark.parametrize(
    ("kind", "goal"), [(Kind.ROLLBACK, Goal.SWITCH), (Kind.REBOOT, Goal.SWITCH), (Kind.DEPLOY, Goal.TEST)]
)
def test_other_kinds_and_goals_owe_nothing(kind: Kind, goal: Goal) -> None:
    assert not passed_over(kind=kind, goal=goal).world.owing


def test_what_waiting_does_not_mend_is_given_up_at_once() -> None:
    built = passed_over("needs-reboot")
    assert owed(built).given_up
    assert owed(built).reason == "no answer"


def test_what_failed_there_once_is_not_owed() -> None:
    built = Built()
    built.rollout("r-0", "h2")
    built.bring("r-0", "h2", "trial")
    built.apply(e.RevertIntended(built.now, "r-0", "h2", built.fence(), built.now + 9, "web: 500"))
    built.report("r-0", "h2", HelperState.REVERTED)
    built.apply(e.RolloutFinished(built.now, "r-0", e.Phase.FAILED, ""))
    assert built.world.record("h2").failed == (system("h2", 2),)
    built.roll("r-1", spec_of(("h1", "h2")), {host: system(host, 2) for host in ("h1", "h2")})
    built.bring("r-1", "h1", "committed")
    built.apply(e.HostDeferred(built.now, "r-1", "h2", "unreachable", "no answer"))
    for _ in range(3):
        for event in decide(built).events:
            built.apply(event)
    assert built.world.rollouts["r-1"].header.phase is e.Phase.INCOMPLETE
    assert not built.world.owing


def test_what_fails_there_is_given_up() -> None:
    built = passed_over()
    built.roll("r-2", replace(spec_of(("h2",)), kind=CATCH_UP), {"h2": system("h2", 2)})
    built.bring("r-2", "h2", "trial")
    built.apply(e.RevertIntended(built.now, "r-2", "h2", built.fence(), built.now + 9, "web: 500"))
    built.report("r-2", "h2", HelperState.REVERTED)
    assert owed(built).given_up
    assert "web: 500" in owed(built).reason
    blocked = owed_waits(built.world.record("h2"), "h2")
    assert blocked is not None
    assert blocked.todo == f"fleetctl deploy --toplevel h2={system('h2', 2)}"


def test_it_is_paid_by_the_system_itself_and_ended_by_a_newer_one() -> None:
    paid = passed_over()
    paid.roll("r-2", replace(spec_of(("h2",)), kind=CATCH_UP), {"h2": system("h2", 2)})
    paid.bring("r-2", "h2", "trial")
    assert paid.world.owing, "not before it is committed"
    paid.bring_on("r-2", "h2", "committing", "committed")
    assert not paid.world.owing
    newer = passed_over()
    newer.roll("r-2", spec_of(("h2",)), {"h2": system("h2", 3)})
    newer.bring("r-2", "h2", "switching")
    assert not newer.world.owing


@given(st.lists(st.booleans(), max_size=3 * TRIES))
def test_it_is_tried_ever_more_rarely_and_not_for_ever(superseded: list[bool]) -> None:
    built, counted = passed_over(), 0
    for number, gives_way in enumerate(superseded, 2):
        if owed(built).given_up:
            break
        before = owed(built)
        try_again(built, f"r-{number}", finish=e.Phase.SUPERSEDED if gives_way else e.Phase.FAILED)
        if gives_way:
            assert owed(built) == before, "what gave way to people counts for nothing"
            continue
        counted += 1
        waits_s = owed(built).retry_at - built.now
        assert waits_s == min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** (counted - 1))
        built.now = owed(built).retry_at
    assert owed(built).tries == counted <= TRIES
    assert owed(built).given_up is (counted == TRIES)


def test_people_may_want_nothing_of_it() -> None:
    built = passed_over()
    built.apply(e.HostNotOwed(built.now, "h2", "kim", "rolled back"))
    assert not built.world.owing
    assert built.world.record("h2").wanted == built.world.record("h2").left
    with pytest.raises(IllegalTransition):
        built.apply(e.HostNotOwed(built.now, "h2", "kim", "again"))


def test_whatever_people_ask_for_takes_its_place() -> None:
    built = passed_over()
    built.roll("r-2", replace(spec_of(("h2",)), kind=CATCH_UP), {"h2": system("h2", 2)})
    built.apply(e.RolloutRequested(built.now, "r-3", replace(spec_of(("h1", "h2")), id="r-3")))
    decision = decide(built)
    (superseded,) = [event for event in decision.events if isinstance(event, e.RolloutSuperseded)]
    assert (superseded.rollout, superseded.by) == ("r-2", "r-3")


def test_it_waits_for_what_people_asked_for_where_both_want_a_slot() -> None:
    built = passed_over()
    built.roll("r-2", replace(spec_of(("h2",)), kind=CATCH_UP), {"h2": system("h2", 2)})
    built.roll("r-3", spec_of(("h1",)), {"h1": system("h1", 3)})
    for name, host in (("r-2", "h2"), ("r-3", "h1")):
        built.bring(name, host, "copied")
        built.inspected(name, host, system(host, 1 if host == "h2" else 2))
    decision = plan(built.world, Capacity(order=1), built.now)
    (trial,) = [event for event in decision.events if isinstance(event, e.TrialIntended)]
    assert (trial.rollout, trial.host) == ("r-3", "h1")
