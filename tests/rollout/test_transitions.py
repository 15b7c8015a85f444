"""The table of states and events, over all that can be built: it says what follows, or changes nothing."""

from __future__ import annotations

import copy
import typing
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetd.model.fence import Fence
from fleetd.model.fleet import Prebuilt
from fleetd.model.goal import Goal
from fleetd.model.policy import Policy
from fleetd.model.store_path import StorePath
from fleetd.rollout import events as e
from fleetd.rollout import states as s
from fleetd.rollout.agenda import Agenda
from fleetd.rollout.codec import decode_event, encode_event
from fleetd.rollout.spec import HostPlan, Kind, RolloutSpec, Wave
from fleetd.rollout.transitions import IllegalTransition, after_restart, evolve
from fleetd.rollout.world import Rollout, World

PATHS = st.sampled_from([StorePath(f"/nix/store/{'0' * 31}{n}-nixos-system-h1-v{n}") for n in (1, 2)])
FENCES = st.builds(Fence, st.integers(1, 3), st.integers(1, 4))
INSTANTS = st.floats(0, 1e4)
st.register_type_strategy(Fence, FENCES)

ANY = {"at": INSTANTS, "deadline": INSTANTS, "rollout": st.just("r-1"), "host": st.just("h1")}
WORDS = st.sampled_from(["", "busy", "expired", "stale-fence", "drifted", "unreachable", "guard", "order"])


def built(kind: type) -> st.SearchStrategy[typing.Any]:
    """Return a strategy for one class of state or event, by the types of its fields."""
    hints = typing.get_type_hints(kind)
    return st.builds(kind, **{name: of_type(name, hint) for name, hint in hints.items()})


def of_type(name: str, hint: typing.Any) -> st.SearchStrategy[typing.Any]:
    if name in ANY:
        return ANY[name]
    if hint is StorePath:
        return PATHS
    if hint is str:
        return WORDS
    if hint is float:
        return INSTANTS
    if hint is s.Live or hint is s.Flight or hint is s.Task:
        return built(hint)
    options = typing.get_args(hint)
    if type(None) in options:
        return st.none() | of_type(name, next(option for option in options if option is not type(None)))
    return st.from_type(hint)


STATES = st.one_of([built(kind) for kind in typing.get_args(s.HostState)])
EVENTS = st.one_of([built(kind) for kind in typing.get_args(e.HostEvent)])


def plan(host: str) -> HostPlan:
    return HostPlan(host, Prebuilt(StorePath(f"/nix/store/{'0' * 32}-nixos-system-{host}-v2")))


SPEC = RolloutSpec(
    "r-1",
    Kind.DEPLOY,
    "v2",
    None,
    "*",
    Goal.SWITCH,
    Policy(),
    (),
    (plan("h1"), plan("h2")),
    (Wave("canary", ("h1",), 1.0), Wave("rest", ("h2",))),
    "test",
    "",
    5.0,
)


def world_with(state: s.HostState) -> World:
    """Return a world whose first host is in ``state``."""
    world = World()
    world.apply(e.ControllerStarted(1.0, 1, 0.0))
    world.apply(e.RolloutRequested(1.0, "r-1", SPEC))
    rollout = world.rollouts["r-1"]
    rollout.tally.changed("h1", rollout.hosts["h1"], state)
    rollout.hosts["h1"] = state
    return world


def picture(world: World) -> object:
    """Everything that is so in a world, to compare."""
    kept = {name: getattr(world, name) for name in vars(world)}
    return copy.deepcopy({name: _plain(value) for name, value in kept.items()})


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, Rollout):
        return value.header, dict(value.hosts), _plain(vars(value.tally))
    return _plain(vars(value)) if isinstance(value, Agenda) else value


@given(STATES, EVENTS)
@settings(max_examples=600, deadline=None)
def test_an_event_is_taken_or_refused_and_a_refused_one_changes_nothing(state: s.HostState, event: e.HostEvent) -> None:
    world = world_with(state)
    before = picture(world)
    try:
        after = evolve(state, event)
    except IllegalTransition:
        with pytest.raises(IllegalTransition):
            world.apply(event)
        assert picture(world) == before
    else:
        world.apply(event)
        assert world.rollouts["r-1"].hosts["h1"] == after
        assert world.seq == 3


@given(STATES, EVENTS)
@settings(max_examples=600, deadline=None)
def test_an_outcome_ends_its_own_flight_and_no_other(state: s.HostState, event: e.HostEvent) -> None:
    if not isinstance(event, typing.get_args(e.OutcomeEvent)):
        return
    flight = state.live.flight if isinstance(state, s.LiveState) else getattr(state, "flight", None)
    if flight is None or flight.fence != event.fence:
        with pytest.raises(IllegalTransition):
            evolve(state, event)
        return
    try:
        after = evolve(state, event)
    except IllegalTransition:
        return
    later = after.live.flight if isinstance(after, s.LiveState) else getattr(after, "flight", None)
    assert later is None, "a flight that has ended is still under way"
    with pytest.raises(IllegalTransition):
        evolve(after, event)


@given(STATES, EVENTS)
@settings(max_examples=600, deadline=None)
def test_a_host_becomes_unproven_by_the_intent_of_a_trial_or_a_staging_and_by_nothing_else(
    state: s.HostState, event: e.HostEvent
) -> None:
    try:
        after = evolve(state, event)
    except IllegalTransition:
        return
    if s.is_unproven(after) and not s.is_unproven(state):
        assert isinstance(event, e.TrialIntended | e.StageIntended)
    if s.is_unproven(state) and not s.is_unproven(after):
        # Only what the host itself said, an order that never left, or a person's word ends the doubt.
        said = e.HostReported | e.ActivationRecovered
        assert isinstance(event, said | e.OrderRejected | e.OrderNotSent | e.HostCleared)
    if isinstance(after, s.Committed) and not isinstance(state, s.Committed):
        assert isinstance(event, e.HostReported | e.ActivationRecovered)
        assert event.ours


@given(STATES, built(e.ContactLost))
@settings(max_examples=300, deadline=None)
def test_an_unknown_outcome_is_neither_good_nor_bad(state: s.HostState, event: e.ContactLost) -> None:
    if isinstance(state, s.LiveState) and state.live.flight is not None:
        event = replace(event, fence=state.live.flight.fence)
        after = evolve(state, event)
        assert type(after) is type(state)
        assert isinstance(after, s.LiveState)
        assert after.live.lost_since is not None
    elif isinstance(state, s.DryRunning):
        # It had no effect, so it is only asked again.
        after = evolve(state, replace(event, fence=state.flight.fence))
        assert isinstance(after, s.Copied)
    else:
        with pytest.raises(IllegalTransition):
            evolve(state, event)


@given(STATES, INSTANTS, st.floats(0, 1e4))
@settings(max_examples=300, deadline=None)
def test_a_restart_ends_every_flight_and_proves_nothing(state: s.HostState, at: float, away_s: float) -> None:
    after = after_restart(state, at, away_s)
    assert s.is_unproven(after) == s.is_unproven(state)
    assert s.is_final(after) == s.is_final(state)
    if isinstance(after, s.LiveState):
        assert after.live.flight is None
        assert after.live.lost_since is not None
    else:
        assert getattr(after, "flight", None) is None


@given(EVENTS)
@settings(max_examples=300, deadline=None)
def test_every_event_reads_back_as_it_was_written(event: e.HostEvent) -> None:
    kind, rollout, host, data = encode_event(event)
    assert decode_event(kind, event.at, rollout, host, data) == event


@given(STATES, st.integers(0, 3))
@settings(max_examples=300, deadline=None)
def test_a_header_takes_no_more_events_once_it_is_final(state: s.HostState, which: int) -> None:
    world = world_with(state)
    world.apply(e.RolloutFinished(2.0, "r-1", e.Phase.FAILED, ""))
    events: list[e.Event] = [
        e.RolloutFinished(3.0, "r-1", e.Phase.SUCCEEDED, ""),
        e.AbortRequested(3.0, "r-1", "somebody", ""),
        e.WavePassed(3.0, "r-1", 0),
        e.RollbackRequested(3.0, "r-1", "somebody", ""),
    ]
    before = picture(world)
    with pytest.raises(IllegalTransition):
        world.apply(events[which])
    assert picture(world) == before


def test_an_event_of_an_unknown_rollout_or_host_changes_nothing() -> None:
    world = world_with(s.Pending(s.Task(None)))
    before = picture(world)
    for event in (
        e.HostSkipped(2.0, "r-9", "h1", ""),
        e.HostSkipped(2.0, "r-1", "h9", ""),
        e.RolloutRequested(2.0, "r-1", SPEC),
        e.ControllerStarted(2.0, 1, 0.0),
        e.WaveRefilled(2.0, "r-1", 0, "h1"),
        replace(e.WavePassed(2.0, "r-1", 0), wave=1),
    ):
        with pytest.raises(IllegalTransition):
            world.apply(event)
        assert picture(world) == before
