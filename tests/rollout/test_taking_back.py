"""Taking committed hosts back: nothing is given up early, and one host's trouble is not taken for another's."""

from __future__ import annotations

import pytest

from fleetd.model.facts import HelperState
from fleetd.rollout import events as e
from fleetd.rollout.decision import Capacity, Decision, Inspect
from fleetd.rollout.observations import Inspected, note
from fleetd.rollout.planner import plan
from tests.rollout.worlds import Built, system


def going_back(*hosts: str) -> Built:
    """Return a world in which hosts are committed and have to go back."""
    built = Built()
    built.rollout("r-1", *hosts)
    for host in hosts:
        built.bring("r-1", host, "committed")
    built.apply(e.RolloutFailing(built.now, "r-1", "bad", take_back=True))
    for host in hosts:
        built.apply(e.RollbackDecided(built.now, "r-1", host, system(host, 1), "bad"))
    return built


def decide(built: Built, after_s: float = 0.0) -> Decision:
    built.now += after_s
    return plan(built.world, Capacity(), built.now)


def silent(built: Built, host: str, times: int) -> Decision:
    """Let a host not answer some times in a row, and return what is decided then."""
    for _ in range(times):
        decide(built, 3.0)
        step = built.world.observation("r-1", host).step
        note(built.world, Inspected(built.now, "r-1", host, step, None, (), "no answer"))
    return decide(built, 3.0)


def given_up(decision: Decision) -> list[str]:
    return [event.host for event in decision.events if isinstance(event, e.HostFailed)]


def test_a_host_whose_turn_came_late_is_waited_for_like_any_other() -> None:
    built = going_back("h1")
    decide(built, 1200.0)  # others went first
    assert given_up(silent(built, "h1", 2)) == [], "it did not answer twice in six seconds"
    assert given_up(silent(built, "h1", 190)) == []
    assert given_up(silent(built, "h1", 10)) == ["h1"]


def test_a_host_is_waited_for_by_a_controller_that_was_away_itself() -> None:
    built = going_back("h1")
    built.now += 1200.0
    built.apply(e.ControllerStarted(built.now, 2, 1200.0))
    assert given_up(silent(built, "h1", 2)) == []


def test_hosts_out_of_reach_do_not_keep_others_on_the_bad_system() -> None:
    built = going_back("h1", "h2", "h3", "h4")
    for host in ("h1", "h2"):
        built.apply(e.HostFailed(built.now, "r-1", host, "unreachable", "no answer"))
    decision = decide(built)
    assert given_up(decision) == []
    assert [question.host for question in decision.questions if isinstance(question, Inspect)] == ["h3"]


@pytest.mark.parametrize("ends", [HelperState.REVERTED, HelperState.STRANDED])
def test_two_hosts_that_are_unwell_on_their_old_system_end_it(ends: HelperState) -> None:
    built = going_back("h1", "h2", "h3")
    for host in ("h1", "h2"):
        order = e.TrialIntended(built.now, "r-1", host, built.fence(), built.now + 99, system(host, 2), f"m-{host}", ())
        built.apply(order)
        built.report("r-1", host, HelperState.TRIAL)
        built.apply(e.RevertIntended(built.now, "r-1", host, built.fence(), built.now + 99, "web: 500"))
        built.report("r-1", host, ends)
    assert given_up(decide(built)) == ["h3"]
