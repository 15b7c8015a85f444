"""How rollouts end, and what they say of it: never more than is known of every host."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from fleetd.model.check import CheckOutcome, CheckResult
from fleetd.model.facts import HelperState, Verdict
from fleetd.model.fence import Fence
from fleetd.model.policy import FailureBudget, Size
from fleetd.rollout import events as e
from fleetd.rollout.decision import Capacity
from fleetd.rollout.observations import Probed, note
from fleetd.rollout.planner import plan
from fleetd.rollout.spec import Wave
from fleetd.rollout.states import LiveState
from tests.rollout.worlds import POLICY, Built

LENIENT = replace(POLICY, failure_budget=FailureBudget(Size(count=1), Size(count=1), Size(count=5)))


def taken_back(built: Built, host: str, ends: HelperState = HelperState.REVERTED) -> None:
    """Bring a copied or built host into a trial that goes wrong."""
    built.bring("r-1", host, "trial")
    built.apply(e.RevertIntended(built.now, "r-1", host, built.fence(), built.now + 99, "web: 500"))
    built.report("r-1", host, ends)


def planned(built: Built) -> list[e.Event]:
    """Plan until nothing more is decided, and return what was."""
    found: list[e.Event] = []
    while decided := plan(built.world, Capacity(), built.now).events:
        for event in decided:
            built.apply(event)
        found += decided
    return found


def test_a_rollout_does_not_end_before_a_host_of_an_earlier_wave_that_is_tried_once_more() -> None:
    built = Built()
    waves = (Wave("canary", ("h0", "h1")), Wave("rest", ("h2",)))
    built.rollout("r-1", "h0", "h1", "h2", policy=LENIENT, waves=waves)
    built.bring("r-1", "h0", "committed")
    taken_back(built, "h1")
    built.apply(e.WavePassed(built.now, "r-1", 0))
    built.apply(e.HostRetried(built.now, "r-1", "h1", "a person", ""))
    built.bring("r-1", "h1", "trial")
    taken_back(built, "h2")
    assert [event for event in planned(built) if isinstance(event, e.RolloutFinished)] == []
    built.bring_on("r-1", "h1", "committing", "committed")
    assert [event.phase for event in planned(built) if isinstance(event, e.RolloutFinished)] == [e.Phase.INCOMPLETE]


def state_lost(built: Built) -> None:
    built.apply(e.HostReported(built.now, "r-1", "h1", revert(built), HelperState.IDLE, False, Verdict.NONE, "", ""))


def newer_controller(built: Built) -> None:
    built.apply(e.OrderRejected(built.now, "r-1", "h1", revert(built), "stale-fence", "the host holds 9.1"))


def interfered(built: Built) -> None:
    revert(built)
    built.report("r-1", "h1", HelperState.INTERFERED)


def stranded_and_cleared(built: Built) -> None:
    revert(built)
    built.report("r-1", "h1", HelperState.STRANDED)
    built.apply(e.HostCleared(built.now, "r-1", "h1", "a person", "looked at"))


def revert(built: Built) -> Fence:
    """Order a revert; return its fence."""
    fence = built.fence()
    built.apply(e.RevertIntended(built.now, "r-1", "h1", fence, built.now + 99, "web: 500"))
    return fence


@pytest.mark.parametrize("ends", [state_lost, newer_controller, interfered, stranded_and_cleared])
def test_a_rollout_is_not_called_rolled_back_where_nobody_saw_a_host_go_back(ends: Callable[[Built], None]) -> None:
    built = Built()
    built.rollout("r-1", "h1")
    built.bring("r-1", "h1", "trial")
    ends(built)
    assert [event.phase for event in planned(built) if isinstance(event, e.RolloutFinished)] == [e.Phase.FAILED]


def test_a_wave_that_was_promoted_does_not_pass_in_the_plan_that_finds_its_host_unwell() -> None:
    built = Built()
    waves = (Wave("canary", ("h1",), 60.0), Wave("rest", ("h2",)))
    built.rollout("r-1", "h1", "h2", policy=LENIENT, waves=waves)
    built.bring("r-1", "h1", "committed")
    built.apply(e.SoakStarted(built.now, "r-1", 0))
    step = built.world.observation("r-1", "h1").step
    for at in (built.now, built.now + 1.0):
        failing = (CheckResult("login", CheckOutcome.PASS), CheckResult("web", CheckOutcome.FAIL, "500"))
        note(built.world, Probed(at, "r-1", "h1", step, failing, ("web",), 1.0))
    built.apply(e.PromoteRequested(built.now, "r-1", 0, "a person", ""))
    decided = planned(built)
    assert [event.host for event in decided if isinstance(event, e.HostUnhealthy)] == ["h1"]
    assert [event for event in decided if isinstance(event, e.WavePassed)] == [], "no host of it is well (promise 1)"


def test_a_lost_host_within_the_budget_does_not_take_the_others_back_however_long_it_is_waited_for() -> None:
    built = Built()
    built.rollout("r-1", "h1", "h2", policy=LENIENT)
    built.bring("r-1", "h1", "committed")
    built.bring("r-1", "h2", "switching")
    state = built.world.rollouts["r-1"].hosts["h2"]
    assert isinstance(state, LiveState)
    built.apply(e.ContactLost(built.now, "r-1", "h2", state.live.fence, "no answer"))
    built.apply(e.HostGivenUp(built.now, "r-1", "h2", "no answer for 1h"))
    built.now += 2 * LENIENT.progress_deadline_s
    assert planned(built) == []
    built.apply(e.HostCleared(built.now, "r-1", "h2", "a person", "scrapped"))
    assert [event.phase for event in planned(built) if isinstance(event, e.RolloutFinished)] == [e.Phase.INCOMPLETE]
