"""Orders that do not leave, or find no copy, again and again: bounded in the journal, and told in the end."""

from __future__ import annotations

from collections.abc import Callable
from unittest.mock import ANY

import pytest

from fleetd.rollout import events as e
from fleetd.rollout.decision import Capacity, Inspect
from fleetd.rollout.planner import plan
from fleetd.rollout.preparing import COPIES
from fleetd.rollout.states import Deferred, Stranded, Switching
from tests.rollout.worlds import Built, system

HOURS_S = 7200.0


def decide(built: Built, for_s: float, runs: int, answer: Callable[[e.Event], None]) -> list[e.Event]:
    """Plan each second, and let ``answer`` say what comes of each event; return what was decided."""
    decided: list[e.Event] = []
    until = built.now + for_s
    while built.now < until and not built.world.rollouts["r-1"].header.phase.is_final:
        built.now += 1.0
        decision = plan(built.world, Capacity(), built.now)
        built.world.agenda.settle(decision.visits, built.now)
        for event in decision.events:
            built.apply(event)
            answer(event)
        for question in decision.questions:
            if isinstance(question, Inspect):
                built.inspected("r-1", "h1", system("h1", runs))
        decided += decision.events
    return decided


def refuse_trials(built: Built, runs: int) -> list[e.Event]:
    """Let a host answer questions, and no trial be sent to it, for two hours; return what was decided."""

    def answer(event: e.Event) -> None:
        if isinstance(event, e.TrialIntended):
            built.apply(e.OrderNotSent(built.now, "r-1", "h1", event.fence, "sudo: not allowed"))

    return decide(built, HOURS_S, runs, answer)


def test_a_trial_that_is_never_sent_ends_at_the_progress_deadline() -> None:
    built = Built()
    built.rollout("r-1", "h1")
    built.bring("r-1", "h1", "copied")
    failing = [event.reason for event in refuse_trials(built, runs=1) if isinstance(event, e.RolloutFailing)]
    assert failing == ["nothing moved for 1h (progress_deadline)"]


def test_a_rollback_that_is_never_sent_is_tried_ever_more_rarely() -> None:
    built = Built()
    built.rollout("r-1", "h1")
    built.bring("r-1", "h1", "committed")
    built.apply(e.RolloutFailing(built.now, "r-1", "bad", take_back=True))
    built.apply(e.RollbackDecided(built.now, "r-1", "h1", system("h1", 1), "bad"))
    tries = [event.at for event in refuse_trials(built, runs=2) if isinstance(event, e.TrialIntended)]
    assert tries[1] - tries[0] < 10.0, "the first time may be bad luck"
    assert len(tries) < 50, "each is two records in the journal"


def lose_copies(built: Built, times: int, runs: int) -> list[e.Event]:
    """Let a host have no copy, so many times, when the order of its trial comes; return what was decided."""
    left = times

    def answer(event: e.Event) -> None:
        nonlocal left
        if isinstance(event, e.CopyIntended):
            built.apply(e.CopyDone(built.now, "r-1", "h1", event.fence, 1, 1))
        if isinstance(event, e.TrialIntended) and left > 0:
            left -= 1
            built.apply(e.OrderRejected(built.now, "r-1", "h1", event.fence, "not-valid", "it is not valid"))

    return decide(built, 600.0, runs, answer)


@pytest.mark.parametrize("times", range(COPIES))
def test_a_copy_that_is_gone_when_it_is_needed_is_made_again(times: int) -> None:
    built = Built()
    built.rollout("r-1", "h1")
    decided = lose_copies(built, times, runs=1)
    assert [type(event) for event in decided].count(e.TrialIntended) == times + 1
    assert [type(event) for event in decided].count(e.CopyIntended) == times + 1
    assert isinstance(built.world.rollouts["r-1"].hosts["h1"], Switching)


def test_a_host_that_loses_every_copy_is_passed_over_and_the_revision_not_blamed() -> None:
    built = Built()
    built.rollout("r-1", "h1")
    decided = lose_copies(built, 100, runs=1)
    assert [type(event) for event in decided].count(e.TrialIntended) == COPIES
    assert built.world.rollouts["r-1"].hosts["h1"] == Deferred(ANY, "not-valid", "it is not valid", ANY)
    assert not [event for event in decided if isinstance(event, e.HostFailed | e.RolloutFailing)]


def test_a_rollback_whose_system_is_gone_needs_a_person() -> None:
    built = Built()
    built.rollout("r-1", "h1")
    built.bring("r-1", "h1", "committed")
    built.apply(e.RolloutFailing(built.now, "r-1", "bad", take_back=True))
    built.apply(e.RollbackDecided(built.now, "r-1", "h1", system("h1", 1), "bad"))
    lose_copies(built, 1, runs=2)
    assert isinstance(built.world.rollouts["r-1"].hosts["h1"], Stranded)
