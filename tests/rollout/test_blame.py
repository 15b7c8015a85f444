"""When a comparison is asked for: once for a host that failed by itself, and never for what people ended."""

from __future__ import annotations

from fleetd.model.facts import HelperState, Verdict
from fleetd.rollout import events as e
from fleetd.rollout.blame import TellChanges, to_tell
from fleetd.rollout.documents import host_document
from tests.rollout.worlds import Built, system

WHY = "not healthy within 20s: units: web.service failed, db@1.socket is down"


def in_trial() -> Built:
    built = Built()
    built.rollout("r-1", "h1")
    built.bring("r-1", "h1", "trial")
    return built


def reverting(built: Built, why: str = WHY) -> e.RevertIntended:
    event = e.RevertIntended(built.now, "r-1", "h1", built.fence(), built.now + 9, why)
    built.apply(event)
    return event


def test_a_host_that_is_taken_back_is_compared_with_what_it_ran_and_its_units_are_named() -> None:
    built = in_trial()
    asked = to_tell(built.world, reverting(built))
    assert asked == TellChanges("r-1", "h1", system("h1", 1), system("h1", 2), ("web.service", "db@1.socket"))


def test_a_switch_that_ended_itself_is_compared_too() -> None:
    built = Built()
    built.rollout("r-1", "h1")
    built.bring("r-1", "h1", "switching")
    state = built.world.rollouts["r-1"].hosts["h1"]
    fence = state.live.flight.fence  # type: ignore[union-attr]
    ended = e.HostReported(
        built.now,
        "r-1",
        "h1",
        fence,
        HelperState.REVERTED,
        True,
        Verdict.INTERRUPTED,
        "switch",
        "units down: a.service",
    )
    built.apply(ended)
    asked = to_tell(built.world, ended)
    assert asked is not None
    assert (asked.old, asked.units) == (system("h1", 1), ("a.service",))


def test_what_was_told_once_is_told_no_more_until_the_host_is_tried_again() -> None:
    built = in_trial()
    event = reverting(built)
    built.apply(e.ChangesTold(built.now, "r-1", "h1", "units web.service"))
    assert to_tell(built.world, event) is None
    assert host_document(built.world.rollouts["r-1"], "h1")["changed"] == "units web.service"
    fence = event.fence
    built.apply(e.HostReported(built.now, "r-1", "h1", fence, HelperState.REVERTED, True, Verdict.LIVE, "order", ""))
    built.apply(e.HostRetried(built.now, "r-1", "h1", "kim", ""))
    assert host_document(built.world.rollouts["r-1"], "h1")["changed"] == ""


def test_what_a_person_ended_is_nobody_s_fault() -> None:
    built = in_trial()
    built.apply(e.AbortRequested(built.now, "r-1", "kim", ""))
    assert to_tell(built.world, reverting(built, "aborted by kim")) is None
