"""Trials by reboot in simulated fleets: what comes up, what does not, and a controller that is away meanwhile."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleetd.model.facts import Verdict
from fleetd.model.policy import Reboot
from tests.simulation.scenario import POLICY, Crash, Mishap, Request, Scenario, names, system
from tests.simulation.sim_machine import GOOD, Behaviour
from tests.simulation.simulation import Report, simulate

KERNEL = replace(GOOD, kernel="2", guarded=True)


def fleet(like: Behaviour = KERNEL, *, count: int = 3, first: Behaviour | None = None, **changes: object) -> Scenario:
    """Return a fleet whose new systems behave so, that of the first host perhaps in another way."""
    behaviours: dict[str, Behaviour] = {system(name, 2): like for name in names(count)}
    if first is not None:
        behaviours[system("h1", 2)] = first
    policy = replace(POLICY, reboot=Reboot.WHEN_NEEDED)
    made = Scenario(seed=1, hosts=names(count), behaviours=behaviours, policy=policy, soak_s=6.0, quiet_at_s=0.0)
    return replace(made, **changes)  # type: ignore[arg-type]


def versions(report: Report) -> set[str]:
    """Return which versions run at the end."""
    return {runs.rpartition("-")[2] for runs in report.runs.values()}


def test_a_kernel_reaches_every_host_by_a_reboot() -> None:
    report = simulate(fleet())  # the watch sees to it that what is committed was booted
    assert report.phases == {"r-1": "succeeded"}
    assert set(report.states["r-1"].values()) == {"committed"}


def test_where_the_policy_says_never_a_kernel_is_switched_to_live() -> None:
    report = simulate(fleet(policy=POLICY))  # the watch sees to it that nothing is rebooted
    assert report.phases == {"r-1": "succeeded"}


def test_what_no_live_switch_may_cross_is_left_alone_where_the_policy_says_never() -> None:
    report = simulate(fleet(replace(KERNEL, major="next"), policy=POLICY))
    assert set(report.states["r-1"].values()) <= {"deferred", "skipped"}
    assert versions(report) == {"v1"}
    assert report.phases != {"r-1": "succeeded"}


def test_what_no_live_switch_may_cross_is_booted_where_it_may() -> None:
    assert simulate(fleet(replace(GOOD, major="next", guarded=True))).phases == {"r-1": "succeeded"}


def test_every_host_is_rebooted_where_the_policy_says_always() -> None:
    report = simulate(fleet(replace(GOOD, guarded=True), policy=replace(POLICY, reboot=Reboot.ALWAYS)))
    assert report.phases == {"r-1": "succeeded"}
    whole = simulate(fleet(replace(GOOD, guarded=True)))
    assert whole.ended_at_s < report.ended_at_s


def test_a_system_without_a_guard_of_its_own_is_left_alone() -> None:
    report = simulate(fleet(replace(KERNEL, guarded=False)))
    assert versions(report) == {"v1"}
    assert set(report.states["r-1"].values()) <= {"deferred", "skipped"}


@pytest.mark.parametrize(
    "bad",
    [
        replace(KERNEL, panics=True),
        replace(KERNEL, lists=False),
        replace(KERNEL, healthy=False),
        replace(KERNEL, ends=Verdict.FAILED),
        replace(KERNEL, cuts_network=True),
        replace(KERNEL, hangs=True),
        replace(KERNEL, commit_skips="boot"),
    ],
    ids=["panics", "is not listed", "is unwell", "comes up with a failed unit", "has no network", "hangs", "no commit"],
)
def test_a_bad_boot_takes_the_host_back_and_stops_the_rollout(bad: Behaviour) -> None:
    report = simulate(fleet(first=bad))
    assert report.phases == {"r-1": "rolled-back"}
    assert report.states["r-1"]["h1"] == "reverted"
    assert versions(report) == {"v1"}


def test_a_host_that_does_not_come_back_stops_the_rollout_and_is_seen_again_when_its_power_was_cycled() -> None:
    report = simulate(fleet(first=replace(KERNEL, boots=False), quiet_at_s=4000.0))
    times = {line.split()[4]: float(line.split()[1]) for line in report.trace if "h1" in line}
    assert times["HostGivenUp"] - times["TrialIntended"] < POLICY.reboot_timeout_s + 60
    assert report.phases == {"r-1": "failed"}  # over before anybody saw the host again
    assert report.states["r-1"]["h1"] == "reverted"
    assert versions(report) == {"v1"}


REBOOT = fleet(GOOD, policy=POLICY, requests=(Request(0.0, "reboot"),))


def test_a_reboot_boots_every_host_into_what_it_runs() -> None:
    report = simulate(REBOOT)
    assert report.phases == {"r-1": "succeeded"}
    assert set(report.boots.values()) == {2}
    assert versions(report) == {"v1"}


def test_a_host_that_runs_something_else_by_now_is_not_rebooted() -> None:
    behaviours: dict[str, Behaviour] = {system(name, 1): replace(GOOD, guarded=True) for name in names(3)}
    scene = replace(REBOOT, behaviours=behaviours, mishaps=(Mishap(0.2, "meddle", "h3"),), meddled=("h3",))
    report = simulate(scene)
    assert report.states["r-1"] == {"h1": "committed", "h2": "committed", "h3": "deferred"}
    assert report.boots == {"h1": 2, "h2": 2, "h3": 1}


def test_a_host_that_is_unwell_after_its_reboot_stops_it() -> None:
    ill: dict[str, Behaviour] = {system("h1", 1): replace(GOOD, sick_after_s=0.0)}
    report = simulate(replace(REBOOT, behaviours=ill, policy=replace(POLICY, builtin_off=())))
    # It was as unwell before: what failed already does not count.
    assert report.phases == {"r-1": "succeeded"}
    report = simulate(replace(REBOOT, behaviours={system("h1", 1): replace(GOOD, ends=Verdict.FAILED)}))
    assert report.phases == {"r-1": "failed"}
    assert report.boots == {"h1": 2, "h2": 1, "h3": 1}


SCENES = {
    "well": fleet(count=2),
    "unwell": fleet(count=2, first=replace(KERNEL, healthy=False)),
    "panics": fleet(count=2, first=replace(KERNEL, panics=True)),
    "a reboot": replace(REBOOT, hosts=names(2)),
    "taken back": fleet(count=1, requests=(Request(0.0, "deploy"), Request(90.0, "rollback"))),
}


@pytest.mark.parametrize("name", SCENES)
def test_a_crash_at_any_append_of_a_reboot_changes_nothing_of_the_end(name: str) -> None:
    whole = simulate(SCENES[name])
    for append in range(1, whole.appends + 1):
        for durable in (False, True):
            report = simulate(replace(SCENES[name], crashes=(Crash(append, durable, 1.0),)))
            at = f"killed {'after' if durable else 'before'} append {append} was durable"
            assert (report.phases, report.runs) == (whole.phases, whole.runs), at


@pytest.mark.parametrize("away_s", [20.0, 62.0, 150.0, 400.0, 3000.0])
def test_an_absence_of_any_length_in_a_reboot_changes_nothing_of_the_end(away_s: float) -> None:
    whole = simulate(SCENES["well"])
    for append in range(1, whole.appends + 1):
        report = simulate(replace(SCENES["well"], crashes=(Crash(append, True, away_s),)))
        assert (report.phases, report.runs) == (whole.phases, whole.runs), f"away from append {append} on"


@pytest.mark.parametrize("kind", ["power", "link", "guard", "menu"])
def test_a_mishap_at_any_moment_of_a_reboot_leaves_a_whole_host(kind: str) -> None:
    meddled = ("h1",) if kind == "menu" else ()
    for at_s in range(0, 90, 3):
        scene = fleet(count=1, mishaps=(Mishap(at_s, kind, "h1", 25.0),), meddled=meddled)
        report = simulate(scene)  # the watch looks at the host at each step, and at its end
        assert meddled or report.phases["r-1"] != "succeeded" or versions(report) == {"v2"}
