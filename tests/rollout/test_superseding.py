"""A later rollout of the same hosts takes the place of an earlier one, where that is asked for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleetd.rollout import events as e
from fleetd.rollout.blocked import Reason, rollout_waits
from fleetd.rollout.decision import CancelCopy
from fleetd.rollout.spec import Kind, RolloutSpec
from fleetd.rollout.states import Skipped
from tests.rollout.test_ends import planned
from tests.rollout.test_planner import decide, hosts_of
from tests.rollout.worlds import Built, spec_of, system


def running(*hosts: str, kind: Kind = Kind.DEPLOY) -> Built:
    built = Built()
    built.roll("r-1", replace(spec_of(hosts), kind=kind), {host: system(host, 2) for host in hosts})
    return built


def ask(built: Built, *hosts: str, supersede: bool = True) -> None:
    spec: RolloutSpec = replace(spec_of(hosts), id="r-2", revision="v3", supersede=supersede)
    built.apply(e.RolloutRequested(built.now, "r-2", spec))


def superseded(built: Built) -> list[str]:
    return [event.rollout for event in decide(built).events if isinstance(event, e.RolloutSuperseded)]


def test_the_earlier_one_starts_nothing_more_and_the_later_one_begins() -> None:
    built = running("h1", "h2")
    ask(built, "h1", "h2", "h3")
    found = planned(built)
    assert [event.phase for event in found if isinstance(event, e.RolloutFinished)] == [e.Phase.SUPERSEDED]
    assert [event.rollout for event in found if isinstance(event, e.RolloutStarted)] == ["r-2"]
    assert all(isinstance(state, Skipped) for state in built.world.rollouts["r-1"].hosts.values())
    assert built.world.rollouts["r-1"].header.finish_reason == "superseded by r-2"


def test_it_is_not_done_unasked_nor_to_one_that_has_other_hosts() -> None:
    built = running("h1", "h2")
    ask(built, "h1", "h2", supersede=False)
    assert superseded(built) == []
    built = running("h1", "h2")
    ask(built, "h1")
    assert superseded(built) == [], "nobody would bring h2 on"
    (blocked,) = rollout_waits(built.world, built.world.rollouts["r-2"], built.now)
    assert blocked.todo == "fleetctl abort r-1"


def test_a_trial_ends_by_its_checks_and_is_not_taken_back() -> None:
    built = running("h1", "h2", "h3")
    built.bring("r-1", "h1", "committed")
    built.bring("r-1", "h2", "trial")
    built.apply(e.CopyIntended(built.now, "r-1", "h3", built.fence(), built.now + 99))
    ask(built, "h1", "h2", "h3")
    assert superseded(built) == ["r-1"]
    for event in decide(built).events:
        built.apply(event)
    decision = decide(built)
    assert hosts_of(decision, e.RevertIntended) == []
    assert [question.host for question in decision.questions if isinstance(question, CancelCopy)] == ["h3"]
    assert not any(isinstance(event, e.RolloutFinished) for event in decision.events), "h2 is still in trial"
    for event in decision.events:
        built.apply(event)
    (waits,) = rollout_waits(built.world, built.world.rollouts["r-1"], built.now)
    assert waits.reason is Reason.SUPERSEDED
    (queued,) = rollout_waits(built.world, built.world.rollouts["r-2"], built.now)
    assert "which it supersedes" in queued.text
    built.bring_on("r-1", "h2", "committing", "committed")
    found = planned(built)
    assert [event.phase for event in found if isinstance(event, e.RolloutFinished)] == [e.Phase.SUPERSEDED]


def test_what_was_good_before_both_stays_what_is_gone_back_to() -> None:
    built = running("h1")
    built.bring("r-1", "h1", "committed")
    ask(built, "h1")
    planned(built)
    record = built.world.record("h1")
    assert (record.left, record.last_good) == (system("h1", 2), system("h1", 1))


@pytest.mark.parametrize("how", ["rolled back by a person", "failing", "aborted", "a rollback of its own"])
def test_a_rollback_in_progress_is_never_superseded(how: str) -> None:
    kind = Kind.ROLLBACK if how == "a rollback of its own" else Kind.DEPLOY
    built = running("h1", "h2", kind=kind)
    built.bring("r-1", "h1", "committed")
    match how:
        case "rolled back by a person":
            built.apply(e.RollbackRequested(built.now, "r-1", "kim", ""))
        case "failing":
            built.apply(e.RolloutFailing(built.now, "r-1", "h2 failed", take_back=True))
        case "aborted":
            built.apply(e.AbortRequested(built.now, "r-1", "kim", ""))
        case _:
            pass
    ask(built, "h1", "h2")
    assert superseded(built) == []


def test_one_that_only_waits_itself_is_superseded_at_once_and_so_are_several() -> None:
    built = running("h1", "h2")
    built.apply(e.RolloutRequested(built.now, "r-3", replace(spec_of(("h1",)), id="r-3")))
    ask(built, "h1", "h2")
    found = planned(built)
    ended = [event.rollout for event in found if isinstance(event, e.RolloutFinished)]
    assert sorted(ended) == ["r-1", "r-3"]
    assert [event.rollout for event in found if isinstance(event, e.RolloutStarted)] == ["r-2"]


def test_a_person_may_still_take_it_back() -> None:
    built = running("h1", "h2")
    built.bring("r-1", "h1", "committed")
    built.bring("r-1", "h2", "trial")
    ask(built, "h1", "h2")
    for _ in range(2):
        for event in decide(built).events:
            built.apply(event)
    built.apply(e.RollbackRequested(built.now, "r-1", "kim", ""))
    decision = decide(built)
    assert hosts_of(decision, e.RevertIntended) == ["h2"]
    assert hosts_of(decision, e.RollbackDecided) == ["h1"]
