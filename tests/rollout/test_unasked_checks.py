"""Checks that could not be asked: they blame nobody and prove nothing, and after some of them a person is asked."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleetd.model.check import Check, CheckOutcome, CheckResult
from fleetd.model.facts import HelperState, Verdict
from fleetd.rollout import events as e
from fleetd.rollout.asking import INSPECT_AGAIN_S
from fleetd.rollout.decision import Capacity, Decision, Inspect, ProbeRound
from fleetd.rollout.health import ERRORS_IN_A_ROW, Health, forget_errors, observe, unaskable
from fleetd.rollout.observations import Inspected, Probed, note
from fleetd.rollout.planner import plan
from fleetd.rollout.spec import Kind, Wave
from fleetd.rollout.states import Committed, Pending, Reverted, Stranded, Trial
from fleetd.rollout.timing import SOAK_ASKS_PER_S, soak_interval_s
from tests.rollout.worlds import CHECK, POLICY, Built, facts_of, spec_of, system

PASS, FAIL, ERROR = CheckOutcome.PASS, CheckOutcome.FAIL, CheckOutcome.ERROR
NO_NAME = "no name server answers"


def probed(built: Built, host: str, own: CheckOutcome, login: CheckOutcome = PASS) -> None:
    """Let one round on a host end, in which every built-in check answers like the login."""
    rounds = [ask for ask in decide(built).questions if isinstance(ask, ProbeRound) and ask.host == host]
    (asked,) = rounds
    results = [CheckResult(name, login if name == "login" or login is PASS else ERROR) for name in asked.builtin]
    results.append(CheckResult("web", own, NO_NAME if own is ERROR else ""))
    note(built.world, Probed(built.now, "r-1", host, asked.step, tuple(results), asked.required, asked.interval_s))


def decide(built: Built, after_s: float = 0.0) -> Decision:
    """Plan, and let what is decided be so."""
    built.now += after_s
    decision = plan(built.world, Capacity(), built.now)
    for event in decision.events:
        built.apply(event)
    return decision


def errors(built: Built, host: str, rounds: int) -> None:
    for _ in range(rounds):
        built.now += 1.0
        probed(built, host, ERROR)


def in_trial(*hosts: str) -> Built:
    built = Built()
    built.rollout("r-1", *hosts)
    built.bring("r-1", hosts[0], "trial")
    return built


def went_back(built: Built, host: str, verdict: Verdict = Verdict.LIVE) -> None:
    fence = built.world.rollouts["r-1"].hosts[host].live.flight.fence  # type: ignore[union-attr]
    built.apply(e.HostReported(built.now, "r-1", host, fence, HelperState.REVERTED, True, verdict, "order", ""))


def test_after_some_errors_in_a_row_the_rollout_pauses_and_says_why() -> None:
    built = in_trial("h1", "h2")
    errors(built, "h1", ERRORS_IN_A_ROW - 1)
    assert decide(built).events == ()
    errors(built, "h1", 1)
    (pause,) = decide(built).events
    assert isinstance(pause, e.PauseRequested)
    assert pause.by == "fleetd"
    assert pause.reason == f"h1: could not ask {ERRORS_IN_A_ROW} times in a row: web: {NO_NAME}"
    assert isinstance(built.world.rollouts["r-1"].hosts["h1"], Trial), "nothing is taken back for it"


def test_an_answer_in_between_begins_the_count_anew() -> None:
    built = in_trial("h1")
    errors(built, "h1", ERRORS_IN_A_ROW - 1)
    built.now += 1.0
    probed(built, "h1", PASS)
    errors(built, "h1", ERRORS_IN_A_ROW - 1)
    assert decide(built).events == ()


def test_a_trial_whose_checks_answer_again_is_committed_although_the_rollout_is_paused() -> None:
    built = in_trial("h1", "h2")
    errors(built, "h1", ERRORS_IN_A_ROW)
    decide(built)
    for _ in range(3):
        built.now += 1.0
        probed(built, "h1", PASS)
    assert any(isinstance(event, e.CommitIntended) for event in decide(built).events)


def test_a_trial_that_could_not_be_judged_goes_back_unblamed_and_waits_for_a_person() -> None:
    built = in_trial("h1", "h2")
    built.now += POLICY.healthy_deadline_s - 1
    probed(built, "h1", ERROR)
    pause, revert = decide(built, 1.0).events
    assert isinstance(pause, e.PauseRequested)
    assert isinstance(revert, e.RevertIntended)
    assert revert.unjudged
    assert revert.reason == f"could not be judged within 20s: web: {NO_NAME}"
    went_back(built, "h1")
    state = built.world.rollouts["r-1"].hosts["h1"]
    assert isinstance(state, Pending)
    assert state.task.attempt == 2
    assert decide(built, 60.0).events == (), "no budget is used, and nothing starts"
    built.apply(e.ResumeRequested(built.now, "r-1", "ops", "the name server is back", ()))
    assert "h1" in [ask.host for ask in decide(built).questions if isinstance(ask, Inspect)]


def test_after_a_restart_a_host_on_its_way_back_is_still_not_blamed() -> None:
    built = in_trial("h1", "h2")
    built.now += POLICY.healthy_deadline_s - 1
    probed(built, "h1", ERROR)
    decide(built, 1.0)
    built.apply(e.ControllerStarted(built.now, 2, 1.0))
    settle = e.SettleIntended(built.now, "r-1", "h1", built.fence(), built.now + 9)
    built.apply(settle)
    built.report("r-1", "h1", HelperState.TRIAL)
    state = built.world.rollouts["r-1"].hosts["h1"]
    assert isinstance(state, Trial)
    assert state.unjudged, "the order never arrived, and is given once more for the same reason"
    (revert,) = (event for event in decide(built).events if isinstance(event, e.RevertIntended))
    assert revert.unjudged
    went_back(built, "h1")
    assert isinstance(built.world.rollouts["r-1"].hosts["h1"], Pending)


@pytest.mark.parametrize("own, login", [(FAIL, PASS), (ERROR, FAIL), (ERROR, ERROR)])
def test_what_failed_or_may_be_the_host_s_own_silence_is_blamed(own: CheckOutcome, login: CheckOutcome) -> None:
    built = in_trial("h1", "h2")
    built.now += POLICY.healthy_deadline_s - 1
    probed(built, "h1", own, login)
    built.world.contacts.hear("h1", built.now)
    (revert,) = decide(built, 1.0).events
    assert isinstance(revert, e.RevertIntended)
    assert not revert.unjudged
    went_back(built, "h1")
    assert isinstance(built.world.rollouts["r-1"].hosts["h1"], Reverted)


def test_a_switch_that_failed_is_blamed_whatever_the_checks_could_not_ask() -> None:
    built = in_trial("h1", "h2")
    built.now += POLICY.healthy_deadline_s - 1
    probed(built, "h1", ERROR)
    assert "RevertIntended" in [type(event).__name__ for event in decide(built, 1.0).events]
    went_back(built, "h1", Verdict.FAILED)
    assert isinstance(built.world.rollouts["r-1"].hosts["h1"], Reverted)


def test_a_rollback_that_nobody_can_judge_still_needs_a_person() -> None:
    built = in_trial("h1", "h2")
    built.bring_on("r-1", "h1", "committing", "committed")
    built.apply(e.RollbackRequested(built.now, "r-1", "ops", "no"))
    decide(built)
    built.bring_on("r-1", "h1", "switching", "trial")
    built.now += POLICY.healthy_deadline_s - 1
    probed(built, "h1", ERROR)
    (revert,) = (event for event in decide(built, 1.0).events if isinstance(event, e.RevertIntended))
    assert not revert.unjudged
    went_back(built, "h1")
    assert isinstance(built.world.rollouts["r-1"].hosts["h1"], Stranded)


def test_in_a_soak_errors_pause_and_a_resume_gives_them_as_many_more() -> None:
    built = Built()
    built.rollout("r-1", "h1", "h2", waves=(Wave("canary", ("h1",), soak_s=60.0), Wave("rest", ("h2",))))
    built.bring("r-1", "h1", "committed")
    decide(built)
    errors(built, "h1", ERRORS_IN_A_ROW)
    assert [type(event) for event in decide(built).events] == [e.PauseRequested]
    state = built.world.rollouts["r-1"].hosts["h1"]
    assert isinstance(state, Committed)
    assert not state.unhealthy
    built.apply(e.ResumeRequested(built.now, "r-1", "ops", "", ()))
    errors(built, "h1", ERRORS_IN_A_ROW - 1)
    assert decide(built).events == ()
    errors(built, "h1", 1)
    assert [type(event) for event in decide(built).events] == [e.PauseRequested]


def test_what_a_resume_forgets_are_errors_and_nothing_else() -> None:
    health = Health()
    results = (CheckResult("web", ERROR), CheckResult("login", PASS), CheckResult("db", FAIL))
    for at in (0.0, 1.0):
        health = observe(health, results, ("web", "login", "db"), at=at, interval_s=1.0)
    streaks = {name: standing.streak for name, standing in forget_errors(health).standings.items()}
    assert streaks == {"web": 0, "login": 2, "db": 2}


def test_a_check_that_was_never_asked_is_no_error() -> None:
    health = observe(Health(), (CheckResult("login", PASS),), ("login", "web"), at=0.0, interval_s=1.0)
    assert unaskable(health, ("login", "web"), (CHECK,)) == ()


# -- before the switch ---------------------------------------------------------------------------------------------


def inspected(built: Built, host: str, own: CheckOutcome) -> None:
    """Let a host answer what it is asked before its trial."""
    asked = [ask for ask in decide(built).questions if isinstance(ask, Inspect) and ask.host == host]
    assert len(asked) == 1
    results = (CheckResult("web", own, NO_NAME if own is ERROR else ""),)
    note(built.world, Inspected(built.now, "r-1", host, asked[0].step, facts_of(host, system(host, 1)), results, ""))


def test_no_host_is_switched_whose_check_could_not_be_asked_before() -> None:
    built = Built()
    built.rollout("r-1", "h1")
    built.bring("r-1", "h1", "copied")
    for _ in range(ERRORS_IN_A_ROW - 1):
        built.now += INSPECT_AGAIN_S
        inspected(built, "h1", ERROR)
        assert decide(built).events == ()
    built.now += INSPECT_AGAIN_S
    inspected(built, "h1", PASS)
    (trial,) = decide(built).events
    assert isinstance(trial, e.TrialIntended)
    assert trial.passed_before == ("web",)


def test_after_some_errors_before_the_switch_the_rollout_pauses_and_a_resume_asks_again() -> None:
    built = Built()
    built.rollout("r-1", "h1", "h2")
    built.bring("r-1", "h1", "copied")
    for _ in range(ERRORS_IN_A_ROW):
        built.now += INSPECT_AGAIN_S
        inspected(built, "h1", ERROR)
    (pause,) = decide(built).events
    assert isinstance(pause, e.PauseRequested)
    assert pause.reason == f"h1: could not ask {ERRORS_IN_A_ROW} times in a row: web: {NO_NAME}"
    built.apply(e.ResumeRequested(built.now, "r-1", "ops", "", ()))
    inspected(built, "h1", PASS)
    assert [type(event) for event in decide(built).events] == [e.TrialIntended]


def test_what_runs_already_is_evidence_only_once_its_checks_were_asked() -> None:
    built = Built()
    built.rollout("r-1", "h1")
    built.bring("r-1", "h1", "copied")
    (asked,) = [ask for ask in decide(built).questions if isinstance(ask, Inspect)]
    facts = facts_of("h1", system("h1", 2))
    results = (CheckResult("web", ERROR, NO_NAME),)
    note(built.world, Inspected(built.now, "r-1", "h1", asked.step, facts, results, ""))
    assert decide(built).events == ()


def test_a_rollback_by_a_person_waits_for_no_check() -> None:
    built = Built()
    built.roll("r-1", replace(spec_of(("h1",)), kind=Kind.ROLLBACK), {"h1": system("h1", 2)})
    built.bring("r-1", "h1", "copied")
    inspected(built, "h1", ERROR)
    assert [type(event) for event in decide(built).events] == [e.TrialIntended]


# -- how often ----------------------------------------------------------------------------------------------------


def test_hosts_in_soak_are_asked_as_their_checks_say_until_there_are_too_many() -> None:
    assert soak_interval_s((CHECK,), SOAK_ASKS_PER_S) == 1.0
    assert soak_interval_s((CHECK,), 3 * SOAK_ASKS_PER_S) == 3.0
    assert soak_interval_s((), 10 * SOAK_ASKS_PER_S) == 30.0


def test_the_limit_is_of_all_rollouts_together() -> None:
    many = tuple(Check(f"c{n}", "*", CHECK.kind, soak_interval_s=1) for n in range(SOAK_ASKS_PER_S - 1))
    built = Built()
    for name, host in (("r-1", "h1"), ("r-2", "h2")):
        spec = spec_of((host,), waves=(Wave("all", (host,), soak_s=60.0),))
        plans = tuple(replace(plan_of, checks=("c0",)) for plan_of in spec.hosts)
        built.roll(name, replace(spec, checks=many, hosts=plans), {host: system(host, 2)})
        built.bring(name, host, "committed")
        asked = [ask for ask in plan(built.world, Capacity(), built.now).questions if isinstance(ask, ProbeRound)]
        assert {ask.interval_s for ask in asked} == {1.0 if host == "h1" else 2.0}
