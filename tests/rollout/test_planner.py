"""What the planner decides, one rule at a time."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleetd.model.check import BUILT_IN_CHECKS, CheckOutcome, CheckResult
from fleetd.model.facts import HelperState
from fleetd.model.fence import Fence
from fleetd.model.fleet import Installable, Prebuilt
from fleetd.model.policy import FailureBudget, OnFailure, Size, Unreachable
from fleetd.rollout import events as e
from fleetd.rollout import timing
from fleetd.rollout.blocked import explain, host_waits
from fleetd.rollout.decision import Capacity, Decision, Extend, Inspect, Reach
from fleetd.rollout.documents import host_document
from fleetd.rollout.health import Health, observe
from fleetd.rollout.observations import Inspected, Probed, Reached, note
from fleetd.rollout.planner import plan
from fleetd.rollout.seen import Unheard
from fleetd.rollout.spec import Kind, Wave
from fleetd.rollout.states import Deferred, LiveState, Lost, is_unproven
from tests.rollout.worlds import POLICY, Built, facts_of, spec_of, system

PASS = (CheckResult("web", CheckOutcome.PASS),)


def decide(built: Built, after_s: float = 0.0, capacity: Capacity | None = None) -> Decision:
    """Plan; whatever is decided, time must pass or something must have been decided."""
    built.now += after_s
    decision = plan(built.world, capacity or Capacity(), built.now)
    if decision.wake_at is not None and not decision.events:
        assert decision.wake_at > built.now or decision.questions, "the loop would spin"
    return decision


def hosts_of(decision: Decision, kind: type) -> list[str]:
    return [str(getattr(event, "host", "")) for event in decision.events if isinstance(event, kind)]


# -- health -------------------------------------------------------------------------------------------------------


def test_time_that_nobody_watched_is_not_healthy_time() -> None:
    health = Health()
    for at in (0.0, 1.0, 2.0, 100.0, 101.0):
        health = observe(health, PASS, ("web",), at=at, interval_s=1.0)
    assert health.covered_s == pytest.approx(3.0)


def test_a_trial_whose_rounds_take_too_long_to_count_says_so() -> None:
    built = Built()
    built.rollout("r-1", "h1")
    built.bring("r-1", "h1", "trial")
    seen, began = built.world.observation("r-1", "h1"), built.now
    passing = (
        CheckResult("web", CheckOutcome.PASS),
        *(CheckResult(word, CheckOutcome.PASS) for word in BUILT_IN_CHECKS),
    )
    while built.now < began + POLICY.healthy_deadline_s:
        built.now += 4.0
        note(built.world, Probed(built.now, "r-1", "h1", seen.step, passing, ("web", *BUILT_IN_CHECKS), 1.0))
    (revert,) = [event for event in decide(built).events if isinstance(event, e.RevertIntended)]
    assert revert.reason.startswith("not healthy within 20s: seen to be well for 0s in a row, and 2s are needed; a gap")


def test_a_failing_round_takes_healthy_time_back_to_nothing() -> None:
    health = Health()
    for at in (0.0, 1.0, 2.0):
        health = observe(health, PASS, ("web",), at=at, interval_s=1.0)
    health = observe(health, (CheckResult("web", CheckOutcome.FAIL),), ("web",), at=3.0, interval_s=1.0)
    assert health.covered_s == 0.0


def test_a_round_that_could_not_ask_adds_nothing() -> None:
    health = observe(Health(), PASS, ("web",), at=0.0, interval_s=1.0)
    health = observe(health, (CheckResult("web", CheckOutcome.ERROR),), ("web",), at=1.0, interval_s=1.0)
    health = observe(health, PASS, ("web",), at=2.0, interval_s=1.0)
    assert health.covered_s == 0.0


# -- answers ------------------------------------------------------------------------------------------------------


def test_an_answer_to_a_question_of_an_earlier_step_is_forgotten() -> None:
    built = Built()
    built.rollout("r-1", "h1")
    before = built.world.observation("r-1", "h1").step
    built.bring("r-1", "h1", "trial")
    seen = built.world.observation("r-1", "h1")
    note(built.world, Inspected(built.now, "r-1", "h1", before, None, (), "no answer"))
    note(built.world, Probed(built.now, "r-1", "h1", before, PASS, ("web",), 1.0))
    assert seen.step != before
    assert seen.failures == 0
    assert seen.health.standings == {}


def test_facts_that_have_grown_old_are_asked_for_again() -> None:
    built = Built()
    built.rollout("r-1", "h1")
    built.bring("r-1", "h1", "copied")
    built.inspected("r-1", "h1")
    full = Capacity(order=0)
    assert decide(built, 1.0, full).events == ()
    later = decide(built, 120.0)
    assert hosts_of(later, e.TrialIntended) == []
    assert [question.host for question in later.questions if isinstance(question, Inspect)] == ["h1"]
    built.inspected("r-1", "h1")
    assert hosts_of(decide(built), e.TrialIntended) == ["h1"]


def test_a_host_that_was_switched_by_hand_meanwhile_is_left_alone() -> None:
    built = Built()
    built.rollout("r-0", "h1")
    built.bring("r-0", "h1", "committed")
    built.apply(e.WavePassed(built.now, "r-0", 0))
    built.apply(e.RolloutFinished(built.now, "r-0", e.Phase.SUCCEEDED, ""))
    built.apply(e.RolloutRequested(built.now, "r-1", replace(spec_of(("h1",)), revision="v3")))
    built.apply(e.RolloutStarted(built.now, "r-1"))
    fence = built.fence()
    built.apply(e.BuildIntended(built.now, "r-1", "h1", fence, built.now + 9))
    built.apply(e.Built(built.now, "r-1", "h1", fence, system("h1", 3)))
    built.apply(e.RollingStarted(built.now, "r-1"))
    decide(built)
    built.inspected("r-1", "h1", system("h1", 9))
    decision = decide(built)
    assert [event.kind for event in decision.events if isinstance(event, e.HostDeferred)] == ["drifted"]


def test_a_check_that_fails_is_not_excused_where_the_new_system_runs_already() -> None:
    built = Built()
    built.rollout("r-1", "h1")
    built.bring("r-1", "h1", "copied")
    step = built.world.observation("r-1", "h1").step
    facts = replace(facts_of("h1", system("h1", 1)), current=system("h1", 2))
    failing = (CheckResult("web", CheckOutcome.FAIL, "500"),)
    note(built.world, Inspected(built.now, "r-1", "h1", step, facts, failing, ""))
    (trial,) = [event for event in decide(built).events if isinstance(event, e.TrialIntended)]
    assert trial.passed_before == ("web",)
    assert trial.old == system("h1", 1)


def test_a_rollback_is_judged_by_what_passed_on_the_system_it_goes_back_to() -> None:
    built = Built()
    built.rollout("r-1", "h1")
    built.bring("r-1", "h1", "copied")
    fence = built.fence()
    built.apply(e.TrialIntended(built.now, "r-1", "h1", fence, built.now + 99, system("h1", 1), "m-h1", ()))
    built.report("r-1", "h1", HelperState.TRIAL)
    built.bring_on("r-1", "h1", "committing", "committed")
    built.apply(e.WavePassed(built.now, "r-1", 0))
    built.apply(e.RolloutFinished(built.now, "r-1", e.Phase.SUCCEEDED, ""))
    back = replace(spec_of(("h1",)), kind=Kind.ROLLBACK)
    back = replace(back, hosts=(replace(back.hosts[0], source=Prebuilt(system("h1", 1))),))
    built.roll("r-2", back, {"h1": system("h1", 1)})
    built.bring("r-2", "h1", "copied")
    step = built.world.observation("r-2", "h1").step
    facts = built.facts("h1", system("h1", 2))
    # The check never passed on the old system, and passes on the new one that is to be left.
    note(built.world, Inspected(built.now, "r-2", "h1", step, facts, PASS, ""))
    (trial,) = [event for event in decide(built).events if isinstance(event, e.TrialIntended)]
    assert trial.passed_before == ()


def test_a_host_waits_for_its_dependency_of_the_same_wave() -> None:
    built = Built()
    spec = spec_of(("a", "b"))
    spec = replace(spec, hosts=(replace(spec.hosts[0], depends_on=("b",)), spec.hosts[1]))
    built.roll("r-1", spec, {"a": system("a", 2), "b": system("b", 2)})
    for host in ("a", "b"):
        built.bring("r-1", host, "copied")
        built.inspected("r-1", host)
    assert hosts_of(decide(built), e.TrialIntended) == ["b"]
    built.bring_on("r-1", "b", "switching", "trial", "committing", "committed")
    built.inspected("r-1", "a")
    assert hosts_of(decide(built), e.TrialIntended) == ["a"]


def test_what_was_seen_for_a_rollout_that_ended_is_not_kept() -> None:
    built = Built()
    built.rollout("r-1", "h1", "h2")
    built.inspected("r-1", "h2")
    built.bring("r-1", "h1", "switching")
    built.world.observation("r-1", "h1")
    built.apply(e.RolloutFinished(built.now, "r-1", e.Phase.FAILED, ""))
    assert list(built.world.observations) == [("r-1", "h1")], "only of the host that is still unproven"


def test_a_revision_that_is_locked_beyond_the_slots_stops_nobody() -> None:
    built = Built()
    spec = spec_of(("h1",))
    source = Installable("f#nixosConfigurations.h1")
    built.apply(e.RolloutRequested(built.now, "r-1", replace(spec, hosts=(replace(spec.hosts[0], source=source),))))
    built.apply(e.RolloutStarted(built.now, "r-1"))
    # Both evaluations run, and the lock of another rollout beside them.
    assert decide(built, capacity=Capacity(evaluate=-1)).events == ()
    assert hosts_of(decide(built, capacity=Capacity(evaluate=1)), e.EvaluateIntended) == ["h1"]


# -- trials -------------------------------------------------------------------------------------------------------


def test_after_a_commit_that_was_not_sent_a_trial_is_renewed_under_a_fence_that_the_host_holds() -> None:
    built = Built()
    built.rollout("r-1", "h1")
    built.bring("r-1", "h1", "committing")
    fence = flying(built, "r-1", "h1")
    built.apply(e.OrderNotSent(built.now, "r-1", "h1", fence, "no answer"))
    asked = decide(built, 11.0).questions
    assert [type(question) for question in asked] == [Reach], "the fence of the commit is none that the host holds"
    note(built.world, Reached(built.now, "r-1", "h1", built.world.observation("r-1", "h1").step, ""))
    (settle,) = decide(built).events
    assert isinstance(settle, e.SettleIntended)
    built.apply(settle)
    built.report("r-1", "h1", HelperState.TRIAL)
    renewals = [question for question in decide(built).questions if isinstance(question, Extend)]
    assert [question.fence for question in renewals] == [settle.fence]


def flying(built: Built, name: str, host: str) -> Fence:
    """Return the fence of what is under way on a host."""
    state = built.world.rollouts[name].hosts[host]
    assert isinstance(state, LiveState)
    assert state.live.flight is not None
    return state.live.flight.fence


# -- slots --------------------------------------------------------------------------------------------------------


def test_a_rollback_that_waits_for_a_slot_gets_the_next_one() -> None:
    built = Built()
    one = replace(POLICY, rollback_max_parallel=Size(count=1))
    built.rollout("r-1", "a1", "a2", policy=one)
    built.bring("r-1", "a1", "committed")
    built.rollout("r-2", "b1", "b2", "b3", policy=replace(POLICY, max_parallel=Size(count=2)))
    built.bring("r-2", "b1", "committed")
    built.bring("r-2", "b2", "trial")
    built.bring("r-2", "b3", "copied")
    built.apply(e.RolloutFailing(built.now, "r-1", "bad", take_back=True))
    built.apply(e.RollbackDecided(built.now, "r-1", "a1", system("a1", 1), "bad"))
    built.inspected("r-1", "a1", system("a1", 2))
    built.inspected("r-2", "b3")
    assert hosts_of(decide(built), e.TrialIntended) == [], "b3 takes the slot that a1 waits for"


def test_a_lost_host_keeps_its_slot_until_it_is_seen_again() -> None:
    built = Built()
    built.rollout("r-1", "h1", policy=replace(POLICY, max_parallel=Size(count=1)))
    built.rollout("r-2", "h2", policy=replace(POLICY, max_parallel=Size(count=1)))
    built.bring("r-1", "h1", "switching")
    built.bring("r-2", "h2", "copied")
    lose(built, "r-1", "h1")
    built.inspected("r-2", "h2")
    assert isinstance(built.world.rollouts["r-1"].hosts["h1"], Lost)
    assert hosts_of(decide(built), e.TrialIntended) == []
    built.apply(e.HostCleared(built.now, "r-1", "h1", "a person", "scrapped"))
    built.inspected("r-2", "h2")
    assert hosts_of(decide(built), e.TrialIntended) == ["h2"]


def test_a_lost_host_is_settled_when_it_answers_though_its_rollout_has_ended() -> None:
    built = Built()
    built.rollout("r-1", "h1")
    built.bring("r-1", "h1", "switching")
    lose(built, "r-1", "h1")
    built.apply(e.RolloutFinished(built.now, "r-1", e.Phase.FAILED, "lost"))
    asked = [question for question in decide(built, 61.0).questions if isinstance(question, Reach)]
    assert [question.host for question in asked] == ["h1"]
    note(built.world, Reached(built.now, "r-1", "h1", asked[0].step, ""))
    decision = decide(built)
    assert hosts_of(decision, e.SettleIntended) == ["h1"]
    for event in decision.events:
        built.apply(event)

    built.report("r-1", "h1", HelperState.REVERTED)
    assert list(built.world.unproven()) == []


def test_a_host_that_another_rollout_lost_is_passed_over() -> None:
    built = Built()
    built.rollout("r-1", "h1")
    built.bring("r-1", "h1", "switching")
    lose(built, "r-1", "h1")
    built.apply(e.RolloutFinished(built.now, "r-1", e.Phase.FAILED, "lost"))
    built.rollout("r-2", "h1")
    assert hosts_of(decide(built), e.HostDeferred) == ["h1"]


def lose(built: Built, name: str, host: str) -> None:
    """Let a host's outcome get lost for so long that it is given up."""
    fence = built.world.rollouts[name].hosts[host].live.flight.fence  # type: ignore[union-attr]
    built.apply(e.ContactLost(built.now, name, host, fence, "no answer"))
    give_up_s = timing.give_up_after_s(built.world.rollouts[name].header.spec)
    decision = decide(built, give_up_s + 1)
    given_up = [event for event in decision.events if isinstance(event, e.HostGivenUp)]
    assert [event.host for event in given_up] == [host]
    built.apply(given_up[0])
    assert is_unproven(built.world.rollouts[name].hosts[host])


# -- the ends of waves and rollouts -------------------------------------------------------------------------------


def test_a_wave_whose_only_host_turned_sick_within_the_budget_ends_the_rollout() -> None:
    built = Built()
    lenient = replace(POLICY, failure_budget=FailureBudget(Size(count=1), Size(count=1), Size(count=2)))
    waves = (Wave("canary", ("h1",), 9.0), Wave("rest", ("h2",)))
    built.rollout("r-1", "h1", "h2", policy=lenient, waves=waves)
    built.bring("r-1", "h1", "committed")
    built.apply(e.SoakStarted(built.now, "r-1", 0))
    built.apply(e.HostUnhealthy(built.now, "r-1", "h1", "web: 500"))
    failing = [event for event in decide(built).events if isinstance(event, e.RolloutFailing)]
    assert len(failing) == 1
    assert "h1: web: 500" in failing[0].reason
    assert failing[0].take_back is (lenient.on_failure is OnFailure.ROLLBACK)


def test_a_failure_is_judged_before_the_next_trial_starts() -> None:
    built = Built()
    waves = (Wave("canary", ("h1",), 9.0), Wave("rest", ("h2", "h3")))
    built.rollout("r-1", "h1", "h2", "h3", waves=waves)
    built.bring("r-1", "h1", "committed")
    built.apply(e.WavePassed(built.now, "r-1", 0))
    built.bring("r-1", "h2", "copied")
    built.inspected("r-1", "h2")
    step = built.world.observation("r-1", "h1").step
    failing = (CheckResult("login", CheckOutcome.PASS), CheckResult("web", CheckOutcome.FAIL, "500"))
    for at in (built.now, built.now + 1):
        note(built.world, Probed(at, "r-1", "h1", step, failing, ("web",), 1.0))
    decision = decide(built, 1.0)
    assert hosts_of(decision, e.HostUnhealthy) == ["h1"]
    assert hosts_of(decision, e.TrialIntended) == []


def test_asking_a_host_again_is_no_progress() -> None:
    built = Built()
    built.rollout("r-1", "h1")
    built.bring("r-1", "h1", "switching")
    since = built.world.rollouts["r-1"].header.progress_at
    fence = built.world.rollouts["r-1"].hosts["h1"].live.flight.fence  # type: ignore[union-attr]
    built.apply(e.ContactLost(built.now + 50, "r-1", "h1", fence, "no answer"))
    fence = built.fence()
    built.apply(e.SettleIntended(built.now + 60, "r-1", "h1", fence, built.now + 90))
    built.apply(e.OrderNotSent(built.now + 70, "r-1", "h1", fence, "no answer"))
    assert built.world.rollouts["r-1"].header.progress_at == since


def test_the_progress_clock_stands_still_behind_another_rollouts_hosts() -> None:
    built = Built()
    one = replace(POLICY, max_parallel=Size(count=1), progress_deadline_s=3000)
    built.rollout("r-1", "h1", policy=one)
    built.rollout("r-2", "h2", policy=one)
    built.bring("r-1", "h1", "switching")
    built.bring("r-2", "h2", "copied")
    late = decide(built, 3001.0)
    failing = [event.rollout for event in late.events if isinstance(event, e.RolloutFailing)]
    assert "r-2" not in failing


def test_a_copy_that_never_ends_is_ended() -> None:
    built = Built()
    built.rollout("r-1", "h1")
    fence = built.fence()
    built.apply(e.CopyIntended(built.now, "r-1", "h1", fence, built.now + 100))
    assert hosts_of(decide(built, 110.0), e.CopyRefused) == []
    assert hosts_of(decide(built, 60.0), e.CopyRefused) == ["h1"]


def refuse(built: Built, kind: Unheard, *hosts: str) -> None:
    """Let hosts fail to say what they are, twice."""
    for _ in range(2):
        decide(built, 3.0)
        for host in hosts:
            step = built.world.observation("r-1", host).step
            note(built.world, Inspected(built.now, "r-1", host, step, None, (), "its words", kind))


@pytest.mark.parametrize("kind", Unheard)
def test_a_host_out_of_reach_before_its_trial_is_no_failure(kind: Unheard) -> None:
    built = Built()
    built.rollout("r-1", "h1", "h2")
    refuse(built, kind, "h1")
    waits = host_waits(built.world, "r-1", "h1", built.now)
    assert waits is not None
    assert waits.reason == kind.value
    decision = decide(built, 3.0)
    assert [(event.host, event.kind) for event in decision.events if isinstance(event, e.HostDeferred)] == [
        ("h1", kind.value)
    ]
    for event in decision.events:
        built.apply(event)
    rollout = built.world.rollouts["r-1"]
    assert isinstance(rollout.hosts["h1"], Deferred)
    assert host_document(rollout, "h1")["kind"] == kind.value
    assert f"h1 deferred ({kind.value}): its words" in explain(built.world, "r-1", built.now)


@pytest.mark.parametrize("kind", Unheard)
def test_a_policy_treats_hosts_alike_however_they_cannot_be_asked(kind: Unheard) -> None:
    built = Built()
    built.rollout("r-1", "h1", "h2", policy=replace(POLICY, unreachable=Unreachable.FAIL))
    refuse(built, kind, "h1")
    failed = [(event.host, event.kind) for event in decide(built, 3.0).events if isinstance(event, e.HostFailed)]
    assert failed == [("h1", kind.value)]

    budget = Built()
    budget.rollout("r-1", "h1", "h2", "h3", policy=replace(POLICY, unreachable_budget=Size(count=1)))
    for host in ("h1", "h2"):
        budget.apply(e.HostDeferred(budget.now, "r-1", host, kind.value, "its words"))
    failing = [event.reason for event in decide(budget).events if isinstance(event, e.RolloutFailing)]
    assert failing == [f"2 hosts are out of reach, 1 allowed: h1 ({kind.value}), h2 ({kind.value})"]


def test_a_stranded_host_is_left_alone_until_it_is_cleared() -> None:
    built = Built()
    built.rollout("r-1", "h1")
    built.bring("r-1", "h1", "trial")
    built.apply(e.RevertIntended(built.now, "r-1", "h1", built.fence(), built.now + 99, "bad"))
    built.report("r-1", "h1", HelperState.STRANDED, "no way back")
    built.apply(e.RolloutFinished(built.now, "r-1", e.Phase.NEEDS_OPERATOR, ""))
    built.rollout("r-2", "h1")
    kinds = [event.kind for event in decide(built).events if isinstance(event, e.HostDeferred)]
    assert kinds == ["stranded"]
    built.apply(e.HostCleared(built.now, "r-1", "h1", "a person", "repaired"))
    assert [question.host for question in decide(built).questions if isinstance(question, Inspect)] == ["h1"]
