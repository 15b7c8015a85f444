"""Hosts that are in no rollout: looked at in turn and at a bounded rate, believed only twice, counted by the brake."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetd.controller.commands import ClearHost
from fleetd.controller.patrolling import refresh
from fleetd.controller.verbs import clearing
from fleetd.errors import RefusedError
from fleetd.model.check import CheckOutcome, CheckResult
from fleetd.model.fence import NO_FENCE
from fleetd.model.fleet import Fleet, Host
from fleetd.rollout import events as e
from fleetd.rollout.brakes import is_braked
from fleetd.rollout.decision import Capacity, Decision, Observe
from fleetd.rollout.documents import seen_document
from fleetd.rollout.observations import note
from fleetd.rollout.planner import plan
from fleetd.rollout.sightings import AGAIN_S, FIRST_GAP_S, LOOKS, LOOKS_A_SECOND, Patrol, Sighted
from fleetd.rollout.transitions import IllegalTransition
from tests.rollout.worlds import CHECK, Built, facts_of, spec_of, system

GOOD = (CheckResult("web", CheckOutcome.PASS),)
BAD = (CheckResult("web", CheckOutcome.FAIL, "500"),)
UNKNOWN = (CheckResult("web", CheckOutcome.ERROR, "could not ask"),)
EVERY_S = 60.0


def fleet_of(*hosts: str) -> Fleet:
    return Fleet({host: Host(host, (host,)) for host in hosts}, checks=(replace(CHECK, on="*"),))


def settled(*hosts: str) -> Built:
    """Return a world in which a rollout has left its system on hosts, and is over."""
    built = Built()
    built.rollout("r-1", *hosts)
    for host in hosts:
        built.bring("r-1", host, "committed")
    built.apply(e.WavePassed(built.now, "r-1", 0))
    built.apply(e.RolloutFinished(built.now, "r-1", e.Phase.SUCCEEDED, ""))
    built.world.patrol.every_s = EVERY_S
    refresh(built.world, fleet_of(*hosts), built.now)
    return built


def planned(built: Built, after_s: float = 0.0) -> Decision:
    """Let time pass, and plan as the loop does; what is decided is taken."""
    built.now += after_s
    fleet = built.world.patrol.fleet
    assert isinstance(fleet, Fleet)
    refresh(built.world, fleet, built.now)
    decision = plan(built.world, Capacity(), built.now)
    assert decision == plan(built.world, Capacity(), built.now, everything=True)
    built.world.agenda.settle(decision.visits, built.now)
    for event in decision.events:
        built.apply(event)
    for question in decision.questions:
        if isinstance(question, Observe):
            built.world.patrol.asked(question.host, built.now)
    return decision


def looks(decision: Decision) -> list[str]:
    return [question.host for question in decision.questions if isinstance(question, Observe)]


def see(built: Built, host: str, results: tuple[CheckResult, ...] | None = GOOD, version: int = 2) -> list[e.Event]:
    """Let a host be looked at; without results it does not answer. Returns what is told of it."""
    built.world.patrol.asking[host] = None
    # It knows of every order that it has obeyed.
    fence = built.world.record(host).fence or NO_FENCE
    facts = None if results is None else replace(facts_of(host, system(host, version)), fence=fence)
    silent = "" if results is not None else "no answer"
    note(built.world, Sighted(built.now, host, facts, results or (), silent))
    if built.world.contacts.doubt is not None:
        for other in list(built.world.contacts.doubt.witnesses):
            built.world.contacts.asked(other, built.now)
            built.world.contacts.hear(other, built.now)
        note(built.world, Sighted(built.now, "nobody", None))
    told: list[e.Event] = [event for event in planned(built).events if isinstance(event, e.SightingEvent)]
    built.world.patrol.asking.clear()
    return told


def test_each_host_has_its_turn_and_none_comes_sooner_than_the_rate_allows() -> None:
    names = tuple(f"h{number}" for number in range(1, 8))
    built = settled(*names)
    seen: list[tuple[float, str]] = []
    while built.now < 1000.0 + 10 * EVERY_S:
        for host in looks(planned(built, 0.05)):
            seen.append((built.now, host))
            see(built, host)
    assert [host for _at, host in seen[:7]] == list(names)
    first_round = [after - before for (before, _), (after, _) in pairwise(seen[:7])]
    assert all(FIRST_GAP_S <= gap < FIRST_GAP_S + 0.2 for gap in first_round)
    later = [at for at, host in seen[7:] if host == "h3"]
    assert all(EVERY_S <= after - before < EVERY_S + 3 for before, after in pairwise(later))


@given(st.integers(1, 5000), st.floats(1.0, 1000.0), st.lists(st.floats(0.0, 30.0), max_size=300))
def test_the_rate_holds_for_every_fleet_and_interval(hosts: int, every_s: float, waits_s: list[float]) -> None:
    patrol, now, asked = Patrol(every_s=every_s), 0.0, []
    patrol.enrol({f"h{number}": () for number in range(hosts)})
    for wait_s in waits_s:
        now += wait_s
        patrol.move_on(now, lambda _host: True)
        if patrol.turn:
            asked.append(now)
            patrol.asked(patrol.turn, now)
    for before, after in pairwise(asked):
        assert after - before >= 1 / LOOKS_A_SECOND - 1e-9


def test_a_host_in_a_rollout_is_left_to_it() -> None:
    built = settled("h1", "h2")
    built.rollout("r-2", "h1")
    found = [host for _ in range(20) for host in looks(planned(built, EVERY_S))]
    assert set(found) == {"h2"}


def test_what_was_asked_before_something_began_there_is_not_believed() -> None:
    built = settled("h1", "h2")
    built.world.patrol.asking["h1"] = None
    built.rollout("r-2", "h1")
    built.bring("r-2", "h1", "committed")
    built.apply(e.RolloutFinished(built.now, "r-2", e.Phase.SUCCEEDED, ""))
    note(built.world, Sighted(built.now, "h1", facts_of("h1", system("h1", 7))))
    assert not planned(built).events
    assert built.world.patrol.sightings.get("h1") is None


def test_a_silent_host_is_told_once_and_only_when_it_was_silent_twice() -> None:
    built = settled("h1", "h2", "h3")
    assert see(built, "h1", None) == []
    assert "h1" in [host for _ in range(3) for host in looks(planned(built, AGAIN_S))], "it is looked at again soon"
    (found,) = see(built, "h1", None)
    assert isinstance(found, e.HostFoundUnwell)
    assert (found.host, found.kind, found.reason) == ("h1", e.Ailment.UNREACHABLE, "no answer")
    assert see(built, "h1", None) == []
    assert built.world.fleetwide.unwell == {"h1": "no answer"}
    (well,) = see(built, "h1")
    assert isinstance(well, e.HostFoundWell)
    assert built.world.fleetwide.unwell == {}


def test_a_host_that_was_never_there_is_not_told_of() -> None:
    built = settled("h1", "h2")
    refresh(built.world, fleet_of("h1", "h2", "new"), built.now)
    for _ in range(LOOKS + 1):
        assert see(built, "new", None) == []
    assert seen_document(built.world, "new")["state"] == "unknown"


def test_a_controller_that_begins_with_its_network_down_blames_nobody() -> None:
    built = settled("h1", "h2", "h3")
    built.apply(e.ControllerStarted(built.now, 2, 5.0))
    for _ in range(LOOKS):
        built.world.patrol.asking["h1"] = None
        note(built.world, Sighted(built.now, "h1", None, (), "no answer"))
    assert built.world.contacts.doubt is not None
    assert list(built.world.contacts.doubt.witnesses) == ["h2", "h3"]
    told = planned(built).events
    assert not any(isinstance(event, e.HostFoundUnwell) for event in told)


def test_a_check_that_never_passed_is_no_illness_and_one_that_fails_twice_is() -> None:
    built = settled("h1", "h2")
    for _ in range(LOOKS + 1):
        assert see(built, "h1", BAD) == []
    assert see(built, "h2") == []
    assert see(built, "h2", BAD) == []
    assert see(built, "h2", UNKNOWN) == []
    (found,) = see(built, "h2", BAD)
    assert isinstance(found, e.HostFoundUnwell)
    assert (found.kind, found.reason) == (e.Ailment.UNHEALTHY, "web: 500")
    assert see(built, "h2", UNKNOWN) == [], "what could not be asked is no proof of health"
    assert see(built, "h2") == []
    (well,) = see(built, "h2")
    assert isinstance(well, e.HostFoundWell)


def test_an_illness_is_not_forgotten_in_a_restart() -> None:
    built = settled("h1", "h2")
    see(built, "h1")
    see(built, "h1", BAD)
    see(built, "h1", BAD)
    built.apply(e.ControllerStarted(built.now, 2, 5.0))
    assert see(built, "h1", BAD) == []
    assert built.world.fleetwide.unwell == {"h1": "web: 500"}
    assert seen_document(built.world, "h1")["state"] == "unhealthy"


def test_a_host_that_somebody_switched_has_drifted_and_does_not_count_as_unwell() -> None:
    built = settled("h1", "h2")
    (found,) = see(built, "h1", GOOD, version=7)
    assert isinstance(found, e.HostFoundUnwell)
    assert found.kind is e.Ailment.DRIFTED
    assert system("h1", 2) in found.reason
    assert built.world.fleetwide.unwell == {}
    document = seen_document(built.world, "h1")
    assert (document["state"], document["counts"]) == ("drifted", False)
    (well,) = see(built, "h1")
    assert isinstance(well, e.HostFoundWell)


def test_the_brake_counts_hosts_that_no_rollout_has() -> None:
    built = settled("h1", "h2", "h3")
    for host in ("h1", "h2"):
        see(built, host, None)
        see(built, host, None)
    built.roll("r-2", replace(spec_of(("h3",)), brake=1), {"h3": system("h3", 2)})
    rollout = built.world.rollouts["r-2"]
    assert is_braked(built.world, rollout)
    excused = clearing(built.world, ClearHost("h1", "kim", "a laptop"), built.now)
    assert [type(event) for event in excused] == [e.HostExcused]
    for event in excused:
        built.apply(event)
    assert not is_braked(built.world, rollout)
    assert see(built, "h1", None) == [], "it is known, and counts no more"
    see(built, "h1")
    see(built, "h1", None)
    assert see(built, "h1", None) != [], "it was there again, and fell silent anew"
    assert is_braked(built.world, rollout)


def test_what_a_rollout_sees_of_a_host_ends_what_was_found() -> None:
    built = settled("h1", "h2")
    see(built, "h1", None)
    see(built, "h1", None)
    built.rollout("r-2", "h1")
    built.bring("r-2", "h1", "committed")
    assert built.world.fleetwide.found == {}
    assert built.world.fleetwide.unwell == {}


def test_a_host_that_left_the_fleet_is_unwell_no_more() -> None:
    built = settled("h1", "h2")
    see(built, "h1", None)
    see(built, "h1", None)
    refresh(built.world, fleet_of("h2"), built.now)
    (well,) = [event for event in planned(built).events if isinstance(event, e.HostFoundWell)]
    assert (well.host, well.reason) == ("h1", "it is no longer in the fleet")


def test_nothing_is_excused_or_well_that_was_not_found() -> None:
    built = settled("h1")
    with pytest.raises(RefusedError, match="nothing waits for it"):
        clearing(built.world, ClearHost("h1", "kim", ""), built.now)
    for event in (e.HostFoundWell(built.now, "h1", ""), e.HostExcused(built.now, "h1", "kim", "")):
        with pytest.raises(IllegalTransition):
            built.apply(event)
