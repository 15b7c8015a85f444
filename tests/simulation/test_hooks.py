"""Hooks in simulated fleets: hosts are drained before their trials, and given back whatever happens."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleetd.model.hook import Hook, OnHookFailure, When, Where
from fleetd.model.policy import FailureBudget, Size
from tests.simulation.scenario import POLICY, Crash, Mishap, Request, Scenario, names, system
from tests.simulation.sim_hooks import Hooked, drain
from tests.simulation.sim_machine import GOOD
from tests.simulation.simulation import Report, simulate

TOLD = tuple(
    Hook(when.value, "*", when, Where.CONTROLLER, ("tell",), 60.0, OnHookFailure.IGNORE)
    for when in (When.AFTER_COMMIT, When.AFTER_REVERT)
)
BAD = replace(GOOD, healthy=False)
DRAINED = Scenario(
    seed=3,
    hosts=names(3),
    waves=(1,),
    soak_s=0.0,
    hooked=Hooked((*drain(), *TOLD), names(3)),
    quiet_at_s=0.0,
)
ONE_BAD = replace(
    DRAINED,
    behaviours={system("h2", 2): BAD},
    policy=replace(POLICY, failure_budget=FailureBudget(Size(), Size(count=1), Size(count=1))),
)
TAKEN_BACK = replace(DRAINED, behaviours={system("h3", 2): BAD})


def with_broken(
    name: str, *, on_failure: OnHookFailure, scenario: Scenario = DRAINED, quiet_at_s: float = 4000.0
) -> Scenario:
    """Return a fleet of which one hook never succeeds until nothing goes wrong any more."""
    assert scenario.hooked is not None
    hooks = tuple(replace(hook, on_failure=on_failure) if hook.name == name else hook for hook in scenario.hooked.hooks)
    return replace(scenario, hooked=replace(scenario.hooked, hooks=hooks, broken=(name,)), quiet_at_s=quiet_at_s)


def kinds(report: Report, host: str) -> list[str]:
    """Return the kinds of records of a host, as far as they tell of hooks and trials."""
    told = ("HookIntended", "HookEnded", "HookGivenUp", "HooksCleared", "TrialIntended", "CommitIntended")
    words = [line.split() for line in report.trace if not line.startswith("-")]
    return [line[-1] for line in words if len(line) == 5 and line[3] == host and line[-1] in told]


def test_a_host_is_drained_before_its_trial_and_given_back_after_its_commit() -> None:
    report = simulate(DRAINED)
    assert report.phases == {"r-1": "succeeded"}
    run = ["HookIntended", "HookEnded"]
    for host in DRAINED.hosts:
        assert kinds(report, host) == [*run, "TrialIntended", "CommitIntended", *run, *run]


def test_a_host_that_goes_back_is_given_back_too() -> None:
    report = simulate(ONE_BAD)
    assert report.phases == {"r-1": "incomplete"}
    run = ["HookIntended", "HookEnded"]
    assert kinds(report, "h2") == [*run, "TrialIntended", *run, *run]


def test_a_host_that_is_taken_back_is_drained_for_it_once_more() -> None:
    report = simulate(TAKEN_BACK)
    assert report.phases == {"r-1": "rolled-back"}
    run = ["HookIntended", "HookEnded"]
    once = [*run, "TrialIntended", "CommitIntended", *run, *run]
    assert kinds(report, "h1") == [*once, *once]


@pytest.mark.parametrize(
    ("on_failure", "state", "phase"),
    [
        (OnHookFailure.SKIP_HOST, "deferred", "failed"),
        (OnHookFailure.FAIL, "failed", "rolled-back"),
        (OnHookFailure.IGNORE, "committed", "succeeded"),
    ],
)
def test_a_host_that_cannot_be_drained_is_passed_over_or_fails_or_goes_on(
    on_failure: OnHookFailure, state: str, phase: str
) -> None:
    report = simulate(with_broken("drain", on_failure=on_failure))
    assert (report.states["r-1"]["h1"], report.phases["r-1"]) == (state, phase)
    assert kinds(report, "h1")[:2] == ["HookIntended", "HookEnded"]
    if on_failure is not OnHookFailure.IGNORE:
        assert "TrialIntended" not in kinds(report, "h1")
        assert kinds(report, "h1")[2:] == ["HookIntended", "HookEnded"], "it was not given back"


def test_a_rollback_is_held_up_by_no_hook() -> None:
    """The machines carry no load when the hook breaks: a rollback by hand goes on all the same."""
    broken = with_broken("drain", on_failure=OnHookFailure.IGNORE, scenario=TAKEN_BACK)
    hooks = broken.hooked
    assert hooks is not None
    report = simulate(broken)
    assert report.phases == {"r-1": "rolled-back"}
    assert set(report.runs.values()) == {str(system(host, 1)) for host in report.runs}


def test_a_host_that_cannot_be_given_back_pauses_the_rollout_until_a_person_has_looked() -> None:
    report = simulate(with_broken("return", on_failure=OnHookFailure.FAIL))
    assert kinds(report, "h1").count("HookGivenUp") == 1
    assert kinds(report, "h1")[-1] == "HooksCleared"
    words = [line.split()[-1] for line in report.trace]
    assert words.index("PauseRequested") < words.index("HooksCleared") < words.index("ResumeRequested")
    trials = [line.split()[3] for line in report.trace if line.endswith("TrialIntended")]
    assert trials[0] == "h1"
    assert words.index("ResumeRequested") < max(i for i, word in enumerate(words) if word == "TrialIntended")
    assert report.phases == {"r-1": "succeeded"}


def test_a_hook_after_the_commit_that_never_succeeds_counts_as_a_failure_of_its_host() -> None:
    report = simulate(with_broken("after-commit", on_failure=OnHookFailure.FAIL))
    assert report.phases == {"r-1": "rolled-back"}
    assert simulate(with_broken("after-commit", on_failure=OnHookFailure.IGNORE)).phases == {"r-1": "succeeded"}


@pytest.mark.parametrize("verb", ["pause", "abort", "rollback", "skip", "freeze", "lock"])
@pytest.mark.parametrize("at_s", [18.0, 21.0, 24.0, 27.0, 33.0, 40.0])
def test_whatever_people_say_while_a_host_is_drained_it_is_given_back(verb: str, at_s: float) -> None:
    """The promises are checked at every event; the ends differ with the moment."""
    end = {"pause": "resume", "freeze": "unfreeze", "lock": "unlock"}.get(verb)
    requests = [Request(0.0, "deploy"), Request(at_s, verb, ("h1",))]
    requests += [Request(at_s + 400.0, end, ("h1",))] if end else []
    report = simulate(replace(DRAINED, requests=tuple(requests), quiet_at_s=500.0))
    if verb in ("pause", "freeze", "lock"):
        assert report.phases == {"r-1": "succeeded"}


@pytest.mark.parametrize("where", tuple(Where))
@pytest.mark.parametrize("scenario", [DRAINED, ONE_BAD, TAKEN_BACK], ids=["good", "one goes back", "taken back"])
def test_a_crash_at_any_append_gives_every_host_back(scenario: Scenario, where: Where) -> None:
    hooked = scenario.hooked
    assert hooked is not None
    scenario = replace(scenario, hooked=replace(hooked, hooks=tuple(replace(h, where=where) for h in hooked.hooks)))
    whole = simulate(scenario)
    for append in range(1, whole.appends + 1):
        for durable in (False, True):
            report = simulate(replace(scenario, crashes=(Crash(append, durable, 1.0),)))
            at = f"killed {'after' if durable else 'before'} append {append} was durable"
            assert report.phases == whole.phases, at
            assert report.runs == whole.runs, at


def test_a_host_that_is_lost_is_given_back_only_once_it_was_seen() -> None:
    trial_s = 60.0
    lost = replace(
        DRAINED,
        behaviours={system("h1", 2): replace(GOOD, cuts_network=True, reverts_failing=1)},
        mishaps=(Mishap(trial_s, "link", "h1", 2500.0),),
        quiet_at_s=3000.0,
    )
    report = simulate(lost)
    assert kinds(report, "h1")[-2:] == ["HookIntended", "HookEnded"]
