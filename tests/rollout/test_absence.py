"""What a controller makes of hosts that it left alone for a while: nothing counts against them that it did not see."""

from __future__ import annotations

from fleetd.model.facts import HelperState, Verdict
from fleetd.rollout import events as e
from fleetd.rollout.decision import Capacity, Extend
from fleetd.rollout.planner import plan
from fleetd.rollout.states import HostState, LiveState, Trial
from tests.rollout.worlds import Built


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
