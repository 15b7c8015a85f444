"""Groups: never more of their hosts unproven or unwell at once than may be, whoever caused it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleetd.model.policy import Size
from fleetd.rollout import events as e
from fleetd.rollout.blocked import Reason, host_waits, rollout_waits
from fleetd.rollout.decision import LookAt
from fleetd.rollout.observations import Looked, note
from fleetd.rollout.quorum import LOOK_AGAIN_S, LOOK_FRESH_S
from fleetd.rollout.spec import HostGroup, Member
from tests.rollout.test_planner import decide, hosts_of
from tests.rollout.worlds import POLICY, Built, spec_of, system

OUTSIDE = "db9"
"""A member of the group that is in no rollout."""


def grouped(most: int = 1) -> Built:
    """Return a world in which h1, h2 and h3 may be tried, and are of one group with a host of no rollout."""
    built = Built()
    hosts, many = ("h0", "h1", "h2", "h3"), Size(count=9)
    members = tuple(Member(host, ("web",)) for host in (*hosts[1:], OUTSIDE))
    spec = spec_of(hosts, replace(POLICY, max_parallel=many, rollback_max_parallel=many))
    spec = replace(spec, groups=(HostGroup("etcd", members, most),))
    built.roll("r-1", spec, {host: system(host, 2) for host in hosts})
    built.bring("r-1", hosts[0], "committed")
    for host in hosts[1:]:
        built.bring("r-1", host, "copied")
    ready(built, *hosts[1:])
    return built


def ready(built: Built, *hosts: str) -> None:
    for host in hosts:
        built.inspected("r-1", host)


def look(built: Built, *unwell: str, hosts: tuple[str, ...] = ("h1", "h2", "h3", OUTSIDE)) -> None:
    """Let the members be looked at."""
    for host in hosts:
        note(built.world, Looked(built.now, host, True, "web: 500" if host in unwell else ""))


def trials(built: Built) -> list[str]:
    return hosts_of(decide(built), e.TrialIntended)


def asked(built: Built) -> list[str]:
    return [question.host for question in decide(built).questions if isinstance(question, LookAt)]


def test_members_are_looked_at_before_anybody_starts_also_those_of_no_rollout() -> None:
    built = grouped()
    assert trials(built) == []
    assert asked(built) == ["h1", "h2", "h3", OUTSIDE]
    look(built)
    assert trials(built) == ["h1"]


def test_no_more_of_a_group_are_unproven_than_may_be() -> None:
    built = grouped(2)
    look(built)
    assert trials(built) == ["h1", "h2"]
    built.bring_on("r-1", "h1", "switching")
    assert trials(built) == ["h2"]
    built.bring_on("r-1", "h2", "switching")
    assert trials(built) == []
    waits = host_waits(built.world, "r-1", "h3", built.now)
    assert waits is not None
    assert (waits.reason, waits.todo) == (Reason.GROUP, "fleetctl skip r-1 h3")
    assert "group etcd: h1 is unavailable (unproven in r-1), and 2 may be" in waits.text


def test_a_host_that_something_else_made_unwell_counts() -> None:
    built = grouped()
    look(built, OUTSIDE)
    assert trials(built) == []
    waits = host_waits(built.world, "r-1", "h1", built.now)
    assert waits is not None
    assert waits.hosts == (OUTSIDE,)
    built.now += LOOK_AGAIN_S
    assert OUTSIDE in asked(built)
    look(built)
    assert trials(built) == ["h1"]


def test_a_host_that_a_rollout_left_unwell_counts() -> None:
    built = grouped()
    look(built)
    built.world.fleetwide.blamed["h3"] = "web: 500"
    assert trials(built) == ["h3"], "the fix goes to the one that is unwell"
    built.bring_on("r-1", "h3", "switching")
    assert trials(built) == []


def test_that_it_does_not_answer_lets_no_host_through() -> None:
    built = grouped()
    look(built, hosts=("h2", "h3"))
    note(built.world, Looked(built.now, OUTSIDE, True, "web: 500"))
    note(built.world, Looked(built.now, "h1", False, "no answer"))
    assert trials(built) == []
    note(built.world, Looked(built.now, "h1", True, "web: 500"))
    assert trials(built) == ["h1"], "a fix"


def test_a_look_does_not_hold_for_long() -> None:
    built = grouped()
    look(built)
    built.now += LOOK_FRESH_S
    ready(built, "h1", "h2", "h3")
    assert trials(built) == []
    assert asked(built) == ["h1", "h2", "h3", OUTSIDE]


def test_who_is_being_looked_at_is_not_asked_twice() -> None:
    built = grouped()
    built.world.looking["h2"] = None
    assert asked(built) == ["h1", "h3", OUTSIDE]


def test_what_must_go_back_obeys_groups_unless_it_is_unwell_itself() -> None:
    built = grouped()
    look(built)
    built.bring_on("r-1", "h1", "switching", "trial", "committing", "committed")
    built.bring_on("r-1", "h2", "switching", "trial", "committing", "committed")
    built.apply(e.HostUnhealthy(built.now, "r-1", "h2", "web: 500"))
    built.apply(e.RollbackRequested(built.now, "r-1", "kim", ""))
    for event in decide(built).events:
        built.apply(event)
    for host in ("h0", "h1", "h2"):
        built.inspected("r-1", host, system(host, 2))
    look(built)
    decided = trials(built)
    assert "h2" in decided
    assert "h1" not in decided, "h2 is unavailable, and one may be"
    waits = host_waits(built.world, "r-1", "h1", built.now)
    assert waits is not None
    assert (waits.reason, waits.todo) == (Reason.GROUP, "")


def test_a_host_that_waits_to_go_back_for_too_long_is_given_to_a_person() -> None:
    built = grouped()
    look(built)
    built.bring_on("r-1", "h1", "switching", "trial", "committing", "committed")
    built.apply(e.RollbackRequested(built.now, "r-1", "kim", ""))
    for event in decide(built).events:
        built.apply(event)
    built.now += POLICY.progress_deadline_s + 1
    look(built, OUTSIDE)
    for host in ("h0", "h1"):
        built.inspected("r-1", host, system(host, 2))
    assert hosts_of(decide(built), e.HostFailed) == ["h1"]


def test_a_deploy_that_waits_for_its_group_does_not_fail_for_want_of_progress() -> None:
    built = grouped()
    built.now += 2 * POLICY.progress_deadline_s
    look(built, OUTSIDE)
    ready(built, "h1", "h2", "h3")
    assert not any(isinstance(event, e.RolloutFailing) for event in decide(built).events)
    built.now += 1
    look(built)
    decision = decide(built)
    assert not any(isinstance(event, e.RolloutFailing) for event in decision.events), "its clock begins anew"
    assert hosts_of(decision, e.TrialIntended) == ["h1"]


def test_a_new_controller_looks_anew() -> None:
    built = grouped()
    look(built)
    built.apply(e.ControllerStarted(built.now, 2, 0.0))
    ready(built, "h1", "h2", "h3")
    assert trials(built) == []
    assert rollout_waits(built.world, built.world.rollouts["r-1"], built.now) == []


@pytest.mark.parametrize("most", [1, 2, 3])
def test_groups_that_overlap_are_an_and(most: int) -> None:
    built = grouped(most)
    spec = built.world.rollouts["r-1"].header.spec
    pair = HostGroup("pair", (Member("h1"), Member("h2")), 1)
    header = replace(built.world.rollouts["r-1"].header, spec=replace(spec, groups=(*spec.groups, pair)))
    built.world.rollouts["r-1"].header = header
    look(built)
    assert trials(built) == ["h1", "h3"][:most]
