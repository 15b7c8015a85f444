"""Hosts that somebody changed, and hosts that are not the ones that fleetd knows: by policy, and by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleetd.controller.catching_up import BY_POLICY, due, met
from fleetd.controller.commands import AdoptHost, RestoreHost
from fleetd.controller.patrolling import Between, refresh
from fleetd.controller.resolve import restore_of
from fleetd.controller.verbs import adopting
from fleetd.errors import RefusedError
from fleetd.model.facts import HelperState, HostFacts
from fleetd.model.fence import NO_FENCE, Fence
from fleetd.model.fleet import Fleet, Host, Prebuilt
from fleetd.model.policy import OnDrift, OnFailure, Policy
from fleetd.rollout import events as e
from fleetd.rollout.observations import note
from fleetd.rollout.preflight import blocks
from fleetd.rollout.sightings import Sighted
from fleetd.rollout.spec import Kind
from fleetd.rollout.task import Task
from fleetd.rollout.transitions import IllegalTransition
from tests.rollout.worlds import Built, facts_of, spec_of, system

THEIRS = system("h1", 7)


def left(built: Built | None = None) -> Built:
    """Return a world in which fleetd has left version 2 on h1."""
    built = built or Built()
    built.rollout("r-1", "h1")
    built.bring("r-1", "h1", "committed")
    built.apply(e.RolloutFinished(built.now, "r-1", e.Phase.SUCCEEDED, ""))
    return built


def seen(built: Built, **changes: object) -> HostFacts:
    """Return what h1 says of itself, with the fence that it must have."""
    fence = built.world.record("h1").fence or NO_FENCE
    return replace(facts_of("h1", THEIRS), **{"fence": fence, **changes})  # type: ignore[arg-type]


def between(on_drift: OnDrift) -> Between:
    fleet = Fleet({"h1": Host("h1", ("h1",))}, policies={"default": Policy(on_drift=on_drift)})
    return Between(lambda: fleet, 60.0, 5.0)


def look(built: Built, meant: Between, facts: HostFacts) -> list[e.Event]:
    """Let h1 be looked at, and take what becomes of it."""
    built.world.patrol.every_s = 60.0
    refresh(built.world, meant.fleet(), built.now)
    built.world.patrol.asking["h1"] = None
    note(built.world, Sighted(built.now, "h1", facts))
    found = list[e.Event](met(built.world, meant, built.now))
    for event in found:
        built.apply(event)
    return found


def test_block_leaves_a_host_alone() -> None:
    built = left()
    assert look(built, between(OnDrift.BLOCK), seen(built)) == []
    assert due(built.world, between(OnDrift.BLOCK), built.now) == []
    assert built.world.patrol.changed["h1"] is not None, "and it is told"


def test_adopt_takes_it_as_it_is() -> None:
    built = left()
    (adopted,) = look(built, between(OnDrift.ADOPT), seen(built))
    assert isinstance(adopted, e.HostAdopted)
    assert (adopted.current, adopted.by) == (THEIRS, BY_POLICY)
    record = built.world.record("h1")
    assert (record.left, record.last_good, record.good_before, record.wanted) == (
        THEIRS,
        THEIRS,
        system("h1", 2),
        THEIRS,
    )
    assert look(built, between(OnDrift.ADOPT), seen(built)) == []


def test_restore_brings_back_what_was_left() -> None:
    built, meant = left(), between(OnDrift.RESTORE)
    (owed,) = look(built, meant, seen(built))
    assert isinstance(owed, e.HostOwed)
    assert (owed.to, owed.rollout) == (system("h1", 2), "")
    assert look(built, meant, seen(built)) == [], "once"
    (spec,) = due(built.world, meant, built.now)
    assert (spec.kind, spec.revision, spec.policy.on_failure) == (Kind.RESTORE, "what fleetd left", OnFailure.STOP)
    assert spec.hosts[0].source == Prebuilt(system("h1", 2))
    assert blocks(spec, "h1", built.world.record("h1"), seen(built), Task(system("h1", 2))) is None


def test_what_failed_there_is_not_restored() -> None:
    built = left()
    built.world.remember("h1", replace(built.world.record("h1"), failed=(system("h1", 2),)))
    assert look(built, between(OnDrift.RESTORE), seen(built)) == []


@pytest.mark.parametrize("on_drift", list(OnDrift))
@pytest.mark.parametrize(
    ("changes", "kind"), [({"machine_id": "another"}, "wrong-host"), ({"fence": NO_FENCE}, "host-state-lost")]
)
def test_a_host_that_fleetd_does_not_know_waits_for_a_person(
    on_drift: OnDrift, changes: dict[str, object], kind: str
) -> None:
    built, meant = left(), between(on_drift)
    facts = seen(built, **changes)
    assert not [event for event in look(built, meant, facts) if isinstance(event, e.HostAdopted)]
    assert due(built.world, meant, built.now) == []
    spec = replace(spec_of(("h1",)), policy=Policy(on_drift=on_drift))
    blocked = blocks(spec, "h1", built.world.record("h1"), facts, Task(system("h1", 3)))
    assert blocked is not None
    assert blocked[0] == kind
    assert "fleetctl adopt h1" in blocked[1]
    for event in adopting(built.world, AdoptHost("h1", "kim", "a new disk", facts), built.now):
        built.apply(event)
    assert blocks(spec, "h1", built.world.record("h1"), facts, Task(system("h1", 3))) is None


@pytest.mark.parametrize("on_drift", list(OnDrift))
def test_what_another_controller_left_is_told_and_neither_adopted_nor_restored(on_drift: OnDrift) -> None:
    built, meant = left(), between(on_drift)
    facts = seen(built, fence=Fence(built.world.term + 1, 1))
    assert look(built, meant, facts) == []
    assert due(built.world, meant, built.now) == []
    found = built.world.patrol.changed["h1"]
    assert found is not None
    assert "which this journal never gave" in found.reason


def test_a_fence_is_known_from_an_order_that_was_obeyed_and_never_from_one_that_was_sent() -> None:
    built = Built()
    built.rollout("r-1", "h1")
    built.bring("r-1", "h1", "switching")
    assert built.world.record("h1").fence is None
    built.bring_on("r-1", "h1", "trial")
    known = built.world.record("h1").fence
    assert isinstance(known, Fence)
    assert known.term == built.world.term


def test_a_person_takes_a_host_as_it_is_once() -> None:
    built = left()
    command = AdoptHost("h1", "kim", "it is right", seen(built))
    (adopted,) = adopting(built.world, command, built.now)
    assert (adopted.current, adopted.machine_id, adopted.by) == (THEIRS, "m-h1", "kim")
    built.apply(adopted)
    assert adopting(built.world, command, built.now) == ()


def test_what_is_owed_is_owed_still() -> None:
    built = left()
    built.apply(e.HostOwed(built.now, "r-1", "h1", system("h1", 3), "default"))
    (adopted,) = adopting(built.world, AdoptHost("h1", "kim", "", seen(built)), built.now)
    built.apply(adopted)
    assert list(built.world.owing) == ["h1"]
    assert built.world.record("h1").wanted == system("h1", 3)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"profile": system("h1", 2)}, "make it one of them first"),
        ({"boot_default": system("h1", 2)}, "make it one of them first"),
        ({"state": HelperState.SWITCHING}, "is still in state"),
        ({"current": system("h9", 7)}, "no system of h1"),
    ],
)
def test_what_cannot_be_taken_is_refused_with_the_reason(changes: dict[str, object], why: str) -> None:
    built = left()
    facts = seen(built, **changes)
    with pytest.raises(RefusedError, match=why):
        adopting(built.world, AdoptHost("h1", "kim", "", facts), built.now)
    assert not [e_ for e_ in look(built, between(OnDrift.ADOPT), facts) if isinstance(e_, e.HostAdopted)]


def test_a_host_in_a_rollout_or_under_way_is_not_taken() -> None:
    built = left()
    built.rollout("r-2", "h1")
    with pytest.raises(RefusedError, match="h1 is in r-2"):
        adopting(built.world, AdoptHost("h1", "kim", "", seen(built)), built.now)
    built.bring("r-2", "h1", "switching")
    with pytest.raises(IllegalTransition):
        built.apply(e.HostAdopted(built.now, "h1", THEIRS, "m-h1", "kim", ""))


def test_a_restore_by_hand_is_a_rollout_of_one_host_by_its_policy() -> None:
    fleet = Fleet(
        {"h1": Host("h1", ("h1",)), "h2": Host("h2", ("h2",))}, policies={"default": Policy(), "calm": Policy("calm")}
    )
    for policy, used in (("calm", "calm"), ("gone", "default")):
        spec = restore_of(fleet, RestoreHost("h1", "kim", None, "mine"), system("h1", 2), policy, 5.0)
        assert (spec.kind, spec.policy.name, [plan.name for plan in spec.hosts]) == (Kind.RESTORE, used, ["h1"])
