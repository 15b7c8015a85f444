"""Orders that do not leave, again and again: bounded in the journal, and told in the end."""

from __future__ import annotations

from fleetd.rollout import events as e
from fleetd.rollout.decision import Capacity, Inspect
from fleetd.rollout.planner import plan
from tests.rollout.worlds import Built, system

HOURS_S = 7200.0


def refuse_trials(built: Built, runs: int) -> list[e.Event]:
    """Let a host answer questions, and no trial be sent to it, for two hours; return what was decided."""
    decided: list[e.Event] = []
    until = built.now + HOURS_S
    while built.now < until and not built.world.rollouts["r-1"].header.phase.is_final:
        built.now += 1.0
        decision = plan(built.world, Capacity(), built.now)
        built.world.agenda.settle(decision.visits, built.now)
        for event in decision.events:
            built.apply(event)
            if isinstance(event, e.TrialIntended):
                built.apply(e.OrderNotSent(built.now, "r-1", "h1", event.fence, "sudo: not allowed"))
        for question in decision.questions:
            if isinstance(question, Inspect):
                built.inspected("r-1", "h1", system("h1", runs))
        decided += decision.events
    return decided


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
