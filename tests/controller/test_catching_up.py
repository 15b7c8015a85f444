"""Who is caught up, when, and by which rollout; and what a rollback makes of debts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleetd.controller.catching_up import dropped, due
from fleetd.controller.holds import refuse_unreadable
from fleetd.controller.patrolling import Between, refresh
from fleetd.errors import RefusedError
from fleetd.model.facts import HelperState
from fleetd.model.fence import Fence
from fleetd.model.fleet import Fleet, Host, Prebuilt
from fleetd.model.policy import OnFailure, Policy
from fleetd.rollout import events as e
from fleetd.rollout.observations import note
from fleetd.rollout.sightings import Sighted
from fleetd.rollout.spec import Kind, RolloutSpec, Wave
from tests.rollout.test_owed import owed, passed_over
from tests.rollout.worlds import Built, facts_of, spec_of, system

FLEET = Fleet(
    {name: Host(name, (name,)) for name in ("h1", "h2", "h3")}, policies={"default": Policy(), "calm": Policy("calm")}
)
BETWEEN = Between(lambda: FLEET, 60.0, 5.0)


def back(built: Built, **facts: object) -> None:
    """Let h2 be looked at and answer."""
    built.world.patrol.every_s = 60.0
    refresh(built.world, FLEET, built.now)
    built.world.patrol.asking["h2"] = None
    seen = replace(facts_of("h2", system("h2", 1)), **facts)  # type: ignore[arg-type]
    note(built.world, Sighted(built.now, "h2", seen))


def begun(built: Built) -> list[RolloutSpec]:
    return due(built.world, BETWEEN, built.now)


def test_a_host_that_is_back_is_brought_to_what_it_is_owed() -> None:
    built = passed_over()
    assert begun(built) == [], "nobody has seen it"
    back(built)
    (spec,) = begun(built)
    assert (spec.kind, spec.revision, spec.on, spec.requested_by) == (Kind.CATCH_UP, "what r-1 brought", "h2", "fleetd")
    assert [(plan.name, plan.source) for plan in spec.hosts] == [("h2", Prebuilt(system("h2", 2)))]
    assert (spec.policy.on_failure, [wave.soak_s for wave in spec.waves]) == (OnFailure.STOP, [0.0])
    assert begun(built) == [], "once for each time that it was seen"


def lock(built: Built) -> None:
    built.apply(e.HostLocked(built.now, "h2", "kim", "ops", "a disk", None))


def freeze(built: Built) -> None:
    built.apply(e.FreezeSet(built.now, "kim", "ops", "holidays", None))


def isolate(built: Built) -> None:
    built.apply(e.ControllerIsolated(built.now, built.now, 2, 0, ("h1",)))


def own(built: Built) -> None:
    built.apply(e.RolloutRequested(built.now, "r-7", replace(spec_of(("h2",)), id="r-7")))


def give_up(built: Built) -> None:
    built.world.remember("h2", replace(built.world.record("h2"), owed=replace(owed(built), given_up=True)))


def fail_there(built: Built) -> None:
    built.world.remember("h2", replace(built.world.record("h2"), failed=(system("h2", 2),)))


def strand(built: Built) -> None:
    built.world.remember("h2", replace(built.world.record("h2"), stranded="it hangs"))


def wait(built: Built) -> None:
    built.world.remember("h2", replace(built.world.record("h2"), owed=replace(owed(built), retry_at=built.now + 1)))


@pytest.mark.parametrize("hold", [lock, freeze, isolate, own, give_up, fail_there, strand, wait])
def test_what_holds_a_host_holds_it_from_this(hold: object) -> None:
    built = passed_over()
    back(built)
    hold(built)  # type: ignore[operator]
    assert begun(built) == []


def own_on_trial(built: Built) -> None:
    built.rollout("r-9", "own", waves=(Wave("own", ("own",), apart=True),))
    built.bring("r-9", "own", "trial")


def test_nothing_begins_that_the_release_before_could_not_read_while_it_may_have_to() -> None:
    built = passed_over()
    back(built)
    own_on_trial(built)
    assert begun(built) == []
    restore = e.RolloutRequested(built.now, "r-10", replace(spec_of(("h1",)), kind=Kind.RESTORE))
    for unread in (e.HostNotOwed(built.now, "h2", "kim", ""), restore):
        with pytest.raises(RefusedError, match="say it again when that trial has ended"):
            refuse_unreadable(built.world, (unread,))
    refuse_unreadable(built.world, (replace(restore, spec=spec_of(("h1",))),))
    built.bring_on("r-9", "own", "committing", "committed")
    assert len(begun(built)) == 1, "it was not forgotten"
    refuse_unreadable(built.world, (restore,))


def test_nothing_begins_while_the_fleet_file_is_broken() -> None:
    built = passed_over()
    back(built)
    assert due(built.world, replace(BETWEEN, is_broken=lambda: True), built.now) == []


@pytest.mark.parametrize(
    "facts",
    [
        {"machine_id": "another"},
        {"state": HelperState.TRIAL},
        {"nix_version": "2.3"},
        {"profile": "/nix/store/other"},
        {"fence": Fence(9, 9)},
    ],
)
def test_a_host_that_a_rollout_would_leave_alone_is_not_tried(facts: dict[str, object]) -> None:
    built = passed_over()
    built.world.remember("h2", replace(built.world.record("h2"), machine_id="m-h2"))
    back(built, **facts)
    assert begun(built) == []
    back(built)
    assert len(begun(built)) == 1, "it is in order again"


def test_one_at_a_time_of_each_policy_and_the_others_go_together_in_the_next() -> None:
    built = passed_over()
    built.world.remember("h3", replace(built.world.record("h3"), owed=owed(built)))
    active = replace(spec_of(("h1",)), id="r-2", kind=Kind.CATCH_UP)
    built.apply(e.RolloutRequested(built.now, "r-2", active))
    back(built)
    assert begun(built) == []
    assert list(built.world.patrol.back) == ["h2"], "it waits"
    built.apply(e.RolloutFinished(built.now, "r-2", e.Phase.SUCCEEDED, ""))
    assert [spec.on for spec in begun(built)] == ["h2"]


def test_a_policy_that_is_gone_gives_way_to_the_default_one() -> None:
    built = passed_over()
    for policy, used in (("calm", "calm"), ("gone", "default")):
        built.world.remember("h2", replace(built.world.record("h2"), owed=replace(owed(built), policy=policy)))
        back(built)
        assert [spec.policy.name for spec in begun(built)] == [used]


def test_what_a_host_builds_itself_is_built_there_again() -> None:
    built = passed_over()
    derivation = f"/nix/store/{'d' * 32}-nixos-system-h2-v2.drv"
    built.world.remember("h2", replace(built.world.record("h2"), owed=replace(owed(built), derivation=derivation)))
    fleet = replace(FLEET, hosts={**FLEET.hosts, "h2": Host("h2", ("h2",), builds_itself=True)})
    back(built)
    (spec,) = due(built.world, Between(lambda: fleet, 60.0, 5.0), built.now)
    assert spec.hosts[0].source == Prebuilt(derivation)  # type: ignore[arg-type]


@pytest.mark.parametrize(("on", "hosts"), [("h2", ("h2",)), ("*", ("h1",))])
def test_a_rollback_by_hand_ends_what_its_hosts_are_owed(on: str, hosts: tuple[str, ...]) -> None:
    built = passed_over()
    spec = replace(spec_of(hosts), kind=Kind.ROLLBACK, on=on, requested_by="kim")
    (ended,) = dropped(built.world, FLEET, spec, built.now)
    assert (ended.host, ended.by) == ("h2", "kim")
    assert dropped(built.world, FLEET, replace(spec, kind=Kind.DEPLOY), built.now) == ()
    assert dropped(built.world, FLEET, replace(spec, on="h1", hosts=spec_of(("h1",)).hosts), built.now) == ()
