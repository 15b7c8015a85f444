"""Whatever waits says for what, until when, and what to type: whole rollouts as text, against files."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from fleetd.model.facts import HelperState
from fleetd.rollout import events as e
from fleetd.rollout.blocked import Reason, explain, host_waits, rollout_waits
from fleetd.rollout.spec import Wave
from fleetd.rollout.states import LiveState, is_final
from tests.rollout.worlds import Built

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
