"""What each verb does to hosts in each state, cell by cell, and that each may be said twice."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleetd.cli.render import SKIPPED_BY
from fleetd.controller.commands import (
    ApproveWave,
    DenyWave,
    PauseRollout,
    PromoteRollout,
    ResumeRollout,
    RetryHost,
    RolloutVerb,
    SkipHost,
)
from fleetd.controller.verbs import REPEATED, said
from fleetd.errors import NotFoundError, RefusedError
from fleetd.model.check import BUILT_IN_CHECKS, CheckOutcome, CheckResult
from fleetd.model.facts import HelperState
from fleetd.model.policy import FailureBudget, OnFailure, Size
from fleetd.rollout import events as e
from fleetd.rollout.decision import Capacity, Decision, ProbeRound
from fleetd.rollout.observations import Probed, note
from fleetd.rollout.planner import plan
from fleetd.rollout.spec import Wave
from fleetd.rollout.states import Pending, Skipped
from fleetd.rollout.transitions import IllegalTransition
from tests.rollout.worlds import ORDER, POLICY, Built, system

BY = {"requested_by": "a person", "reason": "because"}
STATES = ("built", "copying", *ORDER[1:])


def world_with(state: str) -> Built:
    """Return a rollout whose host h1 is in ``state``; h2 was committed before, so that nobody must be alone."""
    built = Built()
    built.rollout("r-1", "h1", "h2")
    built.bring("r-1", "h2", "committed")
    if state == "copying":
        built.apply(e.CopyIntended(built.now, "r-1", "h1", built.fence(), built.now + 999))
    else:
        built.bring("r-1", "h1", state)
    return built


def say(built: Built, verb: RolloutVerb) -> None:
    events = said(built.world, verb, built.now).events
    assert events
    for event in events:
        built.apply(event)
    assert said(built.world, verb, built.now) == REPEATED, "said twice it must do nothing more"


def about(decision: Decision, host: str) -> list[str]:
    """Return what a decision does to a host: its events and questions, by kind."""
    things = [*decision.events, *decision.questions]
    return [type(thing).__name__ for thing in things if getattr(thing, "host", "") == host]


def prove(built: Built, host: str) -> None:
    """Let a host in trial be healthy for as long as it must."""
    names = (*BUILT_IN_CHECKS, "web")
    step = built.world.observation("r-1", host).step
    passed = tuple(CheckResult(name, CheckOutcome.PASS) for name in names)
    for _ in range(4):
        built.now += 1
        note(built.world, Probed(built.now, "r-1", host, step, passed, names, 1.0))


def decide(built: Built) -> Decision:
    return plan(built.world, Capacity(), built.now)


# -- the table: what happens to h1 in each state --------------------------------------------------------------------

PAUSED = {
    "built": [],
    "copying": [],
    "copied": [],
    "switching": [],
    "trial": ["CommitIntended"],
    "committing": [],
    "committed": ["ProbeRound"],
}
ABORTED = {
    "built": ["HostSkipped"],
    "copying": ["HostSkipped", "CancelCopy"],
    "copied": ["HostSkipped"],
    "switching": [],
    "trial": ["RevertIntended"],
    "committing": [],
    "committed": [],
}
ROLLED_BACK = {**ABORTED, "committed": ["RollbackDecided"]}


@pytest.mark.parametrize("state", STATES)
def test_a_paused_rollout_starts_nothing_and_ends_what_it_began(state: str) -> None:
    built = world_with(state)
    say(built, PauseRollout("r-1", **BY))
    if state == "trial":
        prove(built, "h1")
    assert about(decide(built), "h1") == PAUSED[state]


@pytest.mark.parametrize("state", STATES)
def test_an_aborted_rollout_takes_trials_back_and_keeps_what_is_committed(state: str) -> None:
    built = world_with(state)
    built.apply(e.AbortRequested(built.now, "r-1", "a person", "because"))
    assert about(decide(built), "h1") == ABORTED[state]


@pytest.mark.parametrize("state", STATES)
def test_a_rolled_back_rollout_takes_everything_back(state: str) -> None:
    built = world_with(state)
    built.apply(e.RollbackRequested(built.now, "r-1", "a person", "because"))
    assert about(decide(built), "h1") == ROLLED_BACK[state]


SKIPPABLE = ("built", "copying", "copied")


@pytest.mark.parametrize("state", STATES)
def test_only_a_host_on_which_nothing_was_done_is_skipped(state: str) -> None:
    built = world_with(state)
    verb = SkipHost("r-1", "h1", **BY)
    if state in SKIPPABLE:
        say(built, verb)
        skipped = built.world.rollouts["r-1"].hosts["h1"]
        assert isinstance(skipped, Skipped)
        # By these words the record of a person's skip is known in the audit.
        assert skipped.reason == f"{SKIPPED_BY}a person: because"
    else:
        with pytest.raises(RefusedError, match="nothing was done"):
            said(built.world, verb, built.now)


@pytest.mark.parametrize("state", STATES)
def test_a_host_that_has_not_ended_or_ended_well_is_not_retried(state: str) -> None:
    built = world_with(state)
    verb = RetryHost("r-1", "h1", **BY)
    if state == "committed":
        with pytest.raises(RefusedError, match="committed"):
            said(built.world, verb, built.now)
    else:
        assert said(built.world, verb, built.now) == REPEATED


# -- each verb ------------------------------------------------------------------------------------------------------


def test_a_paused_rollout_goes_on_when_it_is_resumed() -> None:
    built = world_with("copied")
    built.inspected("r-1", "h1")
    say(built, PauseRollout("r-1", **BY))
    assert about(decide(built), "h1") == []
    say(built, ResumeRollout("r-1", **BY))
    assert about(decide(built), "h1") == ["TrialIntended"]


def test_a_pause_does_not_run_into_the_progress_deadline() -> None:
    built = world_with("copied")
    say(built, PauseRollout("r-1", **BY))
    built.now += 10 * POLICY.progress_deadline_s
    assert [type(event).__name__ for event in decide(built).events] == []
    say(built, ResumeRollout("r-1", **BY))
    assert "RolloutFailing" not in [type(event).__name__ for event in decide(built).events]


def test_a_policy_that_pauses_waits_for_a_person_who_forgives() -> None:
    built = Built()
    pausing = replace(POLICY, on_failure=OnFailure.PAUSE, failure_budget=FailureBudget(Size(), Size(), Size()))
    built.rollout("r-1", "h1", "h2", policy=pausing)
    built.bring("r-1", "h2", "committed")
    built.bring("r-1", "h1", "trial")
    built.apply(e.RevertIntended(built.now, "r-1", "h1", built.fence(), built.now + 99, "bad"))
    built.report("r-1", "h1", HelperState.REVERTED)
    (pause,) = decide(built).events
    assert isinstance(pause, e.PauseRequested)
    assert "h1" in pause.reason
    built.apply(pause)
    assert decide(built).events == ()
    say(built, ResumeRollout("r-1", **BY))
    kinds = [type(event).__name__ for event in decide(built).events]
    assert kinds == ["WavePassed"], "the failure was forgiven"


def soaking() -> Built:
    built = Built()
    built.rollout("r-1", "h1", "h2", waves=(Wave("canary", ("h1",), 60.0), Wave("rest", ("h2",))))
    built.bring("r-1", "h1", "committed")
    built.apply(e.SoakStarted(built.now, "r-1", 0))
    return built


def test_promote_ends_the_soak_and_nothing_else() -> None:
    built = soaking()
    assert "WavePassed" not in [type(event).__name__ for event in decide(built).events]
    say(built, PromoteRollout("r-1", **BY))
    assert [type(event).__name__ for event in decide(built).events] == ["WavePassed"]


def test_promote_does_not_pass_a_wave_that_turned_sick() -> None:
    built = Built()
    built.rollout("r-1", "h1", "h2", "h3", waves=(Wave("canary", ("h1", "h2"), 60.0), Wave("rest", ("h3",))))
    for host in ("h1", "h2"):
        built.bring("r-1", host, "committed")
    built.apply(e.SoakStarted(built.now, "r-1", 0))
    say(built, PromoteRollout("r-1", **BY))
    built.apply(e.HostUnhealthy(built.now, "r-1", "h1", "web: 500"))
    assert [type(event).__name__ for event in decide(built).events] == ["RolloutFailing"]


def test_there_is_nothing_to_promote_outside_a_soak() -> None:
    with pytest.raises(RefusedError, match="no soak"):
        said(world_with("copied").world, PromoteRollout("r-1", **BY), 1.0)


def awaiting() -> Built:
    built = Built()
    waves = (Wave("canary", ("h1",)), Wave("rest", ("h2",), approval_s=600.0))
    built.rollout("r-1", "h1", "h2", waves=waves)
    built.bring("r-1", "h1", "committed")
    for _ in range(2):
        for event in decide(built).events:
            built.apply(event)
    assert built.world.rollouts["r-1"].header.phase is e.Phase.AWAITING_APPROVAL
    return built


def test_a_wave_that_needs_approval_waits_and_is_watched_meanwhile() -> None:
    built = awaiting()
    decision = decide(built)
    assert about(decision, "h2") == []
    assert [type(question) for question in decision.questions] == [ProbeRound]
    say(built, ApproveWave("r-1", **BY))
    assert about(decide(built), "h2") == ["Inspect"]


def test_a_wave_that_is_denied_ends_the_rollout_with_what_it_has() -> None:
    built = awaiting()
    say(built, DenyWave("r-1", **BY))
    assert about(decide(built), "h2") == ["HostSkipped"]
    finished = [event for event in decide(built).events if isinstance(event, e.RolloutFinished)]
    assert [event.phase for event in finished] == [e.Phase.ABORTED]


def test_an_approval_that_nobody_gives_runs_out() -> None:
    built = awaiting()
    built.now += 601
    denied = [event for event in decide(built).events if isinstance(event, e.ApprovalDenied)]
    assert [event.by for event in denied] == ["nobody"]


def test_a_host_that_went_back_is_tried_once_more_under_a_name_of_its_own() -> None:
    built = Built()
    lenient = replace(POLICY, failure_budget=FailureBudget(Size(count=9), Size(count=9), Size(count=9)))
    built.rollout("r-1", "h1", "h2", policy=lenient)
    built.bring("r-1", "h2", "copied")
    built.bring("r-1", "h1", "trial")
    built.apply(e.RevertIntended(built.now, "r-1", "h1", built.fence(), built.now + 99, "bad"))
    built.report("r-1", "h1", HelperState.REVERTED)
    say(built, RetryHost("r-1", "h1", **BY))
    state = built.world.rollouts["r-1"].hosts["h1"]
    assert isinstance(state, Pending)
    assert state.task.attempt == 2
    assert state.task.to == system("h1", 2)
    assert "Inspect" in about(decide(built), "h1")


def test_a_host_of_a_wave_that_has_passed_is_retried_too_and_waited_for() -> None:
    built = Built()
    waves = (Wave("canary", ("h1", "h2"), 0.0), Wave("rest", ("h3",)))
    lenient = replace(POLICY, failure_budget=FailureBudget(Size(count=9), Size(count=9), Size(count=9)))
    built.rollout("r-1", "h1", "h2", "h3", policy=lenient, waves=waves)
    built.apply(e.HostDeferred(built.now, "r-1", "h1", "unreachable", "no answer"))
    built.bring("r-1", "h2", "committed")
    built.apply(e.WavePassed(built.now, "r-1", 0))
    built.bring("r-1", "h3", "committed")
    built.apply(e.HostRetried(built.now, "r-1", "h1", "a person", ""))
    built.apply(e.WavePassed(built.now, "r-1", 1))
    decision = decide(built)
    assert about(decision, "h1") == ["Inspect"]
    assert not any(isinstance(event, e.RolloutFinished) for event in decision.events)


VERBS: tuple[RolloutVerb, ...] = (
    PauseRollout("r-1", **BY),
    PromoteRollout("r-1", **BY),
    ApproveWave("r-1", **BY),
    DenyWave("r-1", **BY),
    RetryHost("r-1", "h1", **BY),
    SkipHost("r-1", "h1", **BY),
)


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: type(verb).__name__)
def test_nothing_is_said_to_a_rollout_that_has_ended_or_never_was(verb: RolloutVerb) -> None:
    built = world_with("committed")
    with pytest.raises(NotFoundError):
        said(built.world, replace(verb, rollout="r-9"), built.now)
    built.apply(e.RolloutFinished(built.now, "r-1", e.Phase.SUCCEEDED, ""))
    with pytest.raises(RefusedError, match="succeeded already"):
        said(built.world, verb, built.now)


def test_a_copy_that_ends_after_its_host_was_skipped_changes_nothing() -> None:
    built = world_with("copying")
    flight = built.world.rollouts["r-1"].hosts["h1"].flight  # type: ignore[union-attr]
    assert flight is not None
    say(built, SkipHost("r-1", "h1", **BY))
    with pytest.raises(IllegalTransition):
        built.apply(e.CopyDone(built.now, "r-1", "h1", flight.fence, 1, 1))
    assert isinstance(built.world.rollouts["r-1"].hosts["h1"], Skipped)


def test_a_host_that_does_not_exist_is_not_found() -> None:
    with pytest.raises(NotFoundError, match="h9"):
        said(world_with("built").world, SkipHost("r-1", "h9", **BY), 1.0)
