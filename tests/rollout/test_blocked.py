"""Whatever waits says for what, until when, and what to type: whole rollouts as text, against files."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from fleetd.model.facts import HelperState
from fleetd.rollout import events as e
from fleetd.rollout.asking import ROLLBACK_REACH_S
from fleetd.rollout.blocked import Reason, explain, host_waits, rollout_waits
from fleetd.rollout.observations import Inspected, note
from fleetd.rollout.spec import Wave
from fleetd.rollout.states import LiveState, is_final
from tests.rollout.worlds import Built, spec_of, system

GOLDEN = Path(__file__).parent / "golden"
WAVES = (Wave("canary", ("h1",), 60.0), Wave("rest", ("h2", "h3"), approval_s=600.0))


def rolling() -> Built:
    built = Built()
    built.rollout("r-1", "h1", "h2", "h3", waves=WAVES)
    return built


def first_host_in_trial() -> Built:
    built = rolling()
    built.bring("r-1", "h1", "trial")
    return built


def soaking_with_one_deferred() -> Built:
    built = rolling()
    built.bring("r-1", "h1", "committed")
    built.apply(e.HostDeferred(built.now, "r-1", "h3", "unreachable", "no answer from 10.0.0.3"))
    built.apply(e.SoakStarted(built.now, "r-1", 0))
    return built


def awaiting_approval() -> Built:
    built = rolling()
    built.bring("r-1", "h1", "committed")
    built.apply(e.WavePassed(built.now, "r-1", 0))
    built.apply(e.ApprovalAsked(built.now, "r-1", 1, built.now + 600))
    return built


def paused_and_queued_behind() -> Built:
    built = rolling()
    built.apply(e.PauseRequested(built.now, "r-1", "kim", "lunch"))
    return built


def lost() -> Built:
    built = rolling()
    built.bring("r-1", "h1", "switching")
    state = built.world.rollouts["r-1"].hosts["h1"]
    assert isinstance(state, LiveState)
    assert state.live.flight is not None
    built.apply(e.ContactLost(built.now, "r-1", "h1", state.live.flight.fence, "no answer"))
    built.apply(e.HostGivenUp(built.now + 900, "r-1", "h1", "no answer for 15m"))
    return built


def stranded_at_the_end() -> Built:
    built = first_host_in_trial()
    built.apply(e.RevertIntended(built.now, "r-1", "h1", built.fence(), built.now + 9, "web: 500"))
    built.report("r-1", "h1", HelperState.STRANDED)
    built.apply(e.RolloutFailing(built.now, "r-1", "1 failed in wave canary, 0 allowed: h1: web: 500", take_back=True))
    for host in ("h2", "h3"):
        built.apply(e.HostSkipped(built.now, "r-1", host, "the canary failed"))
    built.apply(e.RolloutFinished(built.now, "r-1", e.Phase.NEEDS_OPERATOR, "h1: web: 500"))
    return built


WORLDS = (
    first_host_in_trial,
    soaking_with_one_deferred,
    awaiting_approval,
    paused_and_queued_behind,
    lost,
    stranded_at_the_end,
)


@pytest.mark.parametrize("make", WORLDS, ids=lambda make: make.__name__)
def test_a_rollout_explains_itself(make: Callable[[], Built]) -> None:
    """With FLEETD_WRITE_GOLDEN=1 the files are written anew; read them before they are committed."""
    built = make()
    text = explain(built.world, "r-1", built.now)
    path = GOLDEN / f"{make.__name__}.txt"
    if os.environ.get("FLEETD_WRITE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text()


@pytest.mark.parametrize("make", WORLDS, ids=lambda make: make.__name__)
def test_every_host_that_has_not_ended_says_what_it_waits_for(make: Callable[[], Built]) -> None:
    built = make()
    rollout = built.world.rollouts["r-1"]
    for host, state in rollout.hosts.items():
        if not is_final(state):
            assert host_waits(built.world, "r-1", host, built.now) is not None
    if not rollout.header.phase.is_final:
        assert rollout_waits(built.world, rollout, built.now), "a rollout that waits says for what"


def test_a_rollout_behind_another_names_it() -> None:
    built = rolling()
    behind = replace(built.world.rollouts["r-1"].header.spec, id="r-2")
    built.apply(e.RolloutRequested(built.now, "r-2", behind))
    (blocked,) = rollout_waits(built.world, built.world.rollouts["r-2"], built.now)
    assert blocked.reason is Reason.QUEUED
    assert "r-1" in blocked.text


def test_nobody_is_said_to_wait_for_slots_that_are_free() -> None:
    built = Built()
    built.rollout("r-1", "h1", "h2")
    blocked = host_waits(built.world, "r-1", "h2", built.now)
    assert blocked is not None
    assert (blocked.reason, blocked.text) == (Reason.TURN, "waits for its turn to be asked and copied to")
    built.bring("r-1", "h1", "switching")
    built.bring("r-1", "h2", "copied")
    blocked = host_waits(built.world, "r-1", "h2", built.now)
    assert blocked is not None
    assert blocked.reason is Reason.FIRST_HOST


def test_a_host_that_has_to_go_back_says_that_it_does_not_answer_and_so_does_its_rollout() -> None:
    built = Built()
    built.rollout("r-1", "h1", "h2")
    for host in ("h1", "h2"):
        built.bring("r-1", host, "committed")
    built.apply(e.PauseRequested(built.now, "r-1", "kim", "lunch"))
    built.apply(e.RollbackRequested(built.now, "r-1", "kim", ""))
    for host in ("h1", "h2"):
        built.apply(e.RollbackDecided(built.now, "r-1", host, system(host, 1), ""))
    built.bring_on("r-1", "h1", "switching")
    step = built.world.observation("r-1", "h2").step
    note(built.world, Inspected(built.now, "r-1", "h2", step, None, (), "no answer from 10.0.0.2"))
    blocked = host_waits(built.world, "r-1", "h2", built.now)
    assert blocked is not None
    assert blocked.reason is Reason.UNREACHABLE, "neither paused, nor the first host of anything"
    assert "no answer from 10.0.0.2" in blocked.text
    assert blocked.until == built.now + ROLLBACK_REACH_S
    found = rollout_waits(built.world, built.world.rollouts["r-1"], built.now)
    assert [(waits.reason, waits.hosts) for waits in found][-1] == (Reason.UNREACHABLE, ("h2",))


def test_a_host_whose_dependency_has_its_turn_first_says_so() -> None:
    built = Built()
    spec = spec_of(("a", "b"))
    spec = replace(spec, hosts=(replace(spec.hosts[0], depends_on=("b",)), spec.hosts[1]))
    built.roll("r-1", spec, {"a": system("a", 2), "b": system("b", 2)})
    built.bring("r-1", "a", "copied")
    blocked = host_waits(built.world, "r-1", "a", built.now)
    assert blocked is not None
    assert (blocked.reason, blocked.hosts) == (Reason.DEPENDENCY, ("b",))
