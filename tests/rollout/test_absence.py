"""What a controller makes of hosts that it left alone for a while: nothing counts against them that it did not see."""

from __future__ import annotations

import pytest

from fleetd.model.facts import HelperState, Verdict
from fleetd.rollout import events as e
from fleetd.rollout import timing
from fleetd.rollout.decision import Capacity, Extend, Reach
from fleetd.rollout.planner import plan
from fleetd.rollout.spec import Wave
from fleetd.rollout.states import Copied, Direction, Failed, HostState, LiveState, Pending, Reverted, Trial
from tests.rollout.worlds import Built, system


def away(built: Built, for_s: float) -> None:
    """Let the controller end, and another one begin after a while."""
    built.now += for_s
    built.apply(e.ControllerStarted(built.now, built.world.term + 1, for_s))


def settle(built: Built, state: HelperState, by: str = "") -> HostState:
    """Ask a host what became of it, let it answer, and return what is true then."""
    built.apply(e.SettleIntended(built.now, "r-1", "h1", built.fence(), built.now + 9))
    live = built.world.rollouts["r-1"].hosts["h1"]
    assert isinstance(live, LiveState)
    assert live.live.flight is not None
    fence = live.live.flight.fence
    built.apply(e.HostReported(built.now, "r-1", "h1", fence, state, True, Verdict.LIVE, by, ""))
    return built.world.rollouts["r-1"].hosts["h1"]


def brought(to: str) -> Built:
    built = Built()
    built.rollout("r-1", "h1")
    built.bring("r-1", "h1", to)
    return built


def test_a_trial_that_survived_is_renewed_at_once() -> None:
    built = brought("trial")
    away(built, 27.0)  # its guard fires after 30
    assert isinstance(settle(built, HelperState.TRIAL), Trial)
    questions = plan(built.world, Capacity(), built.now).questions
    assert [question.host for question in questions if isinstance(question, Extend)] == ["h1"]


@pytest.mark.parametrize("step", ["switching", "trial", "committing"])
@pytest.mark.parametrize("seen_before", [(), (HelperState.REVERTING,)], ids=["back", "seen on its way back"])
def test_a_host_that_its_guard_took_back_meanwhile_is_tried_once_more(
    step: str, seen_before: tuple[HelperState, ...]
) -> None:
    built = brought(step)
    away(built, 200.0)
    for state in seen_before:
        settle(built, state, by="guard")
    again = settle(built, HelperState.REVERTED, by="guard")
    assert isinstance(again, Pending)
    assert again.task.attempt == 2


def test_a_rollback_that_its_guard_undid_meanwhile_is_tried_once_more() -> None:
    built = brought("committed")
    built.apply(e.RollbackRequested(built.now, "r-1", "a person", ""))
    built.apply(e.RollbackDecided(built.now, "r-1", "h1", system("h1", 1), ""))
    order = e.TrialIntended(built.now, "r-1", "h1", built.fence(), built.now + 99, system("h1", 2), "m-h1", ())
    built.apply(order)
    built.report("r-1", "h1", HelperState.TRIAL)
    away(built, 200.0)
    again = settle(built, HelperState.REVERTED, by="guard")
    assert isinstance(again, Copied)
    assert again.task.direction is Direction.ROLLBACK
    assert again.task.attempt == 2


def test_the_time_for_health_stands_still_while_nobody_is_there_also_for_a_commit_that_was_not_sent() -> None:
    built = brought("committing")
    away(built, 25.0)  # more than healthy_deadline
    settle(built, HelperState.TRIAL)
    assert [
        event for event in plan(built.world, Capacity(), built.now).events if isinstance(event, e.RevertIntended)
    ] == []


def test_a_host_is_asked_before_it_is_given_up_however_long_nobody_was_there() -> None:
    built = brought("trial")
    away(built, 2 * timing.give_up_after_s(built.world.rollouts["r-1"].header.spec))
    decision = plan(built.world, Capacity(), built.now)
    assert decision.events == ()
    assert [question.host for question in decision.questions if isinstance(question, Reach)] == ["h1"]


def test_a_person_has_the_time_to_approve_in_which_somebody_was_there_to_be_told() -> None:
    built = Built()
    built.rollout("r-1", "h1", waves=(Wave("canary", ("h1",), approval_s=600.0),))
    built.apply(e.ApprovalAsked(built.now, "r-1", 0, built.now + 600.0))
    away(built, 3600.0)
    assert plan(built.world, Capacity(), built.now).events == ()
    built.now += 601.0
    (denied,) = plan(built.world, Capacity(), built.now).events
    assert isinstance(denied, e.ApprovalDenied)


def test_a_journal_of_a_release_that_counted_such_a_host_as_reverted_is_read() -> None:
    built = brought("trial")
    away(built, 200.0)
    settle(built, HelperState.REVERTED, by="guard")
    built.apply(e.HostRetried(built.now, "r-1", "h1", "a person", ""))
    state = built.world.rollouts["r-1"].hosts["h1"]
    assert isinstance(state, Pending)
    assert state.task.attempt == 3


def test_a_journal_of_a_release_that_counted_such_a_rollback_as_stranded_is_read() -> None:
    built = brought("committed")
    built.apply(e.RollbackRequested(built.now, "r-1", "a person", ""))
    built.apply(e.RollbackDecided(built.now, "r-1", "h1", system("h1", 1), ""))
    built.bring_on("r-1", "h1", "switching", "trial")
    away(built, 200.0)
    settle(built, HelperState.REVERTED, by="guard")
    built.apply(e.HostCleared(built.now, "r-1", "h1", "a person", "repaired"))
    state = built.world.rollouts["r-1"].hosts["h1"]
    assert isinstance(state, Failed)
    assert state.kind == "stranded"


def test_a_host_that_a_person_had_tried_again_is_tried_once_more_too_and_not_for_ever() -> None:
    built = brought("trial")
    built.apply(e.RevertIntended(built.now, "r-1", "h1", built.fence(), built.now + 99, "web: 500"))
    built.report("r-1", "h1", HelperState.REVERTED)
    built.apply(e.HostRetried(built.now, "r-1", "h1", "a person", ""))
    for ends in (Pending, Reverted):
        built.bring("r-1", "h1", "trial")
        away(built, 200.0)
        assert isinstance(settle(built, HelperState.REVERTED, by="guard"), ends)
