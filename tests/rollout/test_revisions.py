"""Which commit a branch that moved must contain, and how a rollout ends whose commit may not be deployed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleetd.model.facts import HelperState
from fleetd.rollout import events as e
from fleetd.rollout.decision import Capacity, LockRevision
from fleetd.rollout.documents import rollout_document
from fleetd.rollout.planner import plan
from tests.rollout.worlds import Built, spec_of, system

MAIN = "git+ssh://git@x/infra?ref=main"
REV = "&rev=" + "1" * 40


def lock_asked(built: Built, flake: str, *, force: bool = False) -> LockRevision:
    """Ask for a rollout of a flake, and return the question that the planner asks of it."""
    name = f"r-{len(built.world.rollouts) + 1}"
    built.apply(e.RolloutRequested(built.now, name, replace(spec_of(("h9",)), id=name, flake=flake, force=force)))
    built.apply(e.RolloutStarted(built.now, name))
    (question,) = [
        asked for asked in plan(built.world, Capacity(), built.now).questions if isinstance(asked, LockRevision)
    ]
    assert question.rollout == name
    return question


def deployed(built: Built, name: str, flake: str, locked: str, *, to: str = "committed") -> None:
    built.apply(e.RolloutRequested(built.now, name, replace(spec_of(("h1",)), id=name, flake=flake)))
    built.apply(e.RolloutStarted(built.now, name))
    built.apply(e.RevisionLocked(built.now, name, locked))
    fence = built.fence()
    built.apply(e.BuildIntended(built.now, name, "h1", fence, built.now + 9))
    built.apply(e.Built(built.now, name, "h1", fence, system("h1", 2)))
    built.apply(e.RollingStarted(built.now, name))
    built.bring(name, "h1", to)
    if to == "trial":
        built.apply(e.RevertIntended(built.now, name, "h1", built.fence(), built.now + 9, "bad"))
        built.report(name, "h1", HelperState.REVERTED)
        built.apply(e.RolloutFinished(built.now, name, e.Phase.ROLLED_BACK, "bad"))
    else:
        built.apply(e.WavePassed(built.now, name, 0))
        built.apply(e.RolloutFinished(built.now, name, e.Phase.SUCCEEDED, ""))


@pytest.mark.parametrize(
    ("flake", "since"),
    [
        (MAIN, MAIN + REV),
        ("git+ssh://git@x/infra?ref=hotfix", MAIN + REV),
        ("git+ssh://git@x/infra", MAIN + REV),
        ("git+ssh://git@x/other?ref=main", ""),
        (f"git+ssh://git@x/infra?rev={'2' * 40}", ""),
    ],
    ids=["the same branch", "another branch", "its head", "another repository", "a commit that a person named"],
)
def test_a_branch_must_contain_what_was_deployed_last_of_its_repository(flake: str, since: str) -> None:
    built = Built()
    deployed(built, "r-1", MAIN, f"{MAIN}&rev={'0' * 40}")
    deployed(built, "r-2", MAIN, MAIN + REV)
    assert lock_asked(built, flake).since == since


def test_what_went_back_or_never_came_to_run_was_not_deployed() -> None:
    built = Built()
    deployed(built, "r-1", MAIN, MAIN + REV)
    deployed(built, "r-2", MAIN, f"{MAIN}&rev={'2' * 40}", to="trial")
    assert lock_asked(built, MAIN).since == MAIN + REV


def test_a_person_may_say_that_it_need_not() -> None:
    built = Built()
    deployed(built, "r-1", MAIN, MAIN + REV)
    assert lock_asked(built, MAIN, force=True).since == ""


def test_a_commit_that_may_not_be_deployed_ends_the_rollout_by_its_kind() -> None:
    built = Built()
    lock_asked(built, MAIN)
    built.apply(e.RevisionRefused(built.now, "r-1", "it does not contain …", "not-fast-forward"))
    decision = plan(built.world, Capacity(), built.now)
    (finished,) = [event for event in decision.events if isinstance(event, e.RolloutFinished)]
    assert finished.phase is e.Phase.FAILED
    built.apply(finished)
    document = rollout_document(built.world, built.world.rollouts["r-1"], built.now)
    assert document["error"] == {"kind": "not-fast-forward", "detail": "it does not contain …"}


def test_a_journal_of_before_says_that_the_source_was_wrong() -> None:
    assert e.RevisionRefused(1.0, "r-1", "why").kind == "source"
