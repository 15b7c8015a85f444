"""Hooks in the planner: who may be drained, what is asked anew, and what people are told."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleetd.model.facts import HelperState
from fleetd.model.hook import Hook, HookEnd, OnHookFailure, When, Where
from fleetd.model.policy import Size
from fleetd.rollout import events as e
from fleetd.rollout.baseline import is_needed
from fleetd.rollout.blocked import explain, host_waits, rollout_waits
from fleetd.rollout.decision import Capacity, Decision, Inspect
from fleetd.rollout.hook_waits import drained_document
from fleetd.rollout.hooking import BEFORE_UNKNOWN, HOOK_TRIES, READY_S
from fleetd.rollout.hooks import HostHooks
from fleetd.rollout.planner import plan
from fleetd.rollout.quorum import standing
from fleetd.rollout.reasons import Reason
from fleetd.rollout.spec import HostGroup, Member
from fleetd.rollout.states import Deferred
from fleetd.rollout.transitions import IllegalTransition
from tests.rollout.worlds import POLICY, Built, spec_of, system

DRAIN = Hook("drain", "*", When.BEFORE, Where.CONTROLLER, ("drain", "{name}"), 60.0, OnHookFailure.SKIP_HOST)
WARM = Hook("warm", "*", When.AFTER_COMMIT, Where.HOST, ("warm",), 60.0, OnHookFailure.FAIL)
UNDO = Hook("undo", "*", When.AFTER_REVERT, Where.HOST, ("undo",), 60.0, OnHookFailure.FAIL)
BACK = Hook("back", "*", When.ALWAYS_AFTER, Where.CONTROLLER, ("undrain", "{name}"), 60.0, OnHookFailure.FAIL)
EVERY = (DRAIN, WARM, UNDO, BACK)


class Hooked(Built):
    """A world with hosts that have hooks, and the means to bring them on."""

    def begin(self, *hosts: str, hooks: tuple[Hook, ...] = EVERY, name: str = "r-1", max_parallel: int = 2) -> None:
        """Roll a rollout whose hosts are all copied to."""
        spec = spec_of(hosts, replace(POLICY, max_parallel=Size(count=max_parallel)))
        names = tuple(hook.name for hook in hooks)
        spec = replace(spec, hooks=hooks, hosts=tuple(replace(plan, hooks=names) for plan in spec.hosts))
        self.roll(name, spec, {host: system(host, 2) for host in hosts})
        for host in hosts:
            self.bring(name, host, "copied")

    def plan(self) -> Decision:
        """Plan and take what was decided, so that the next plan is another one."""
        decision = plan(self.world, Capacity(), self.now, everything=True)
        for event in decision.events:
            self.apply(event)
        return decision

    def hooks(self) -> list[tuple[str, str]]:
        """Return which hooks the next plan begins, by host."""
        return [(event.host, event.hook) for event in self.plan().events if isinstance(event, e.HookIntended)]

    def ends(self, host: str, end: HookEnd = HookEnd.WELL, reason: str = "", name: str = "r-1") -> None:
        """Let the hook that runs end."""
        work = self.work(host, name)
        assert work.flight is not None
        self.apply(e.HookEnded(self.now, name, host, work.flight.fence, work.flight.hook, end, reason))

    def work(self, host: str, name: str = "r-1") -> HostHooks:
        """Return how its hooks stand."""
        work = self.world.hooks.get((name, host))
        assert work is not None
        return work

    def see(self, host: str, name: str = "r-1") -> None:
        """Let a host say what it is."""
        self.plan()
        self.inspected(name, host)


def drained(*hosts: str, **changes: object) -> Hooked:
    """Return a world in which the first host runs its first hook."""
    world = Hooked()
    world.begin(*hosts, **changes)  # type: ignore[arg-type]
    world.see(hosts[0])
    assert world.hooks() == [(hosts[0], "drain")]
    return world


def test_a_host_is_drained_first_and_what_it_said_before_is_asked_anew() -> None:
    world = drained("h1")
    assert world.plan().events == ()
    world.now += 5
    world.ends("h1")
    decision = world.plan()
    assert [type(question) for question in decision.questions] == [Inspect]
    world.inspected("r-1", "h1")
    assert [type(event) for event in world.plan().events] == [e.TrialIntended]


def test_what_needs_no_trial_is_not_drained() -> None:
    world = Hooked()
    world.begin("h1")
    world.plan()
    world.inspected("r-1", "h1", system("h1", 2))
    assert isinstance(world.plan().events[0], e.FoundCurrent)
    assert not len(world.world.hooks)


def test_the_first_host_is_drained_alone() -> None:
    world = drained("h1", "h2")
    world.inspected("r-1", "h2")
    assert world.hooks() == []
    assert world.world.hooks.get(("r-1", "h2")) is None


@pytest.mark.parametrize(("most", "begun"), [(1, []), (2, ["h2"]), (3, ["h2", "h3"])])
def test_a_drained_host_holds_a_slot_until_it_is_back(most: int, begun: list[str]) -> None:
    world = drained("h1", "h2", "h3", max_parallel=most)
    world.ends("h1")
    world.bring_on("r-1", "h1", "switching", "trial", "committing", "committed")
    assert world.hooks() == [("h1", "warm")]
    for host in ("h2", "h3"):
        if world.world.observation("r-1", host).asking or world.world.observation("r-1", host).facts is None:
            world.inspected("r-1", host)
    assert [host for host, hook in world.hooks() if hook == "drain"] == begun


def test_a_failed_before_leaves_the_host_as_it_was_and_gives_it_back() -> None:
    world = drained("h1", "h2")
    world.ends("h1", HookEnd.FAILED, "kubectl ended with 1: pdb")
    (deferred,) = (event for event in world.plan().events if isinstance(event, e.HostDeferred))
    assert (deferred.kind, deferred.reason) == (
        "hook",
        "its hook drain (before) did not succeed: kubectl ended with 1: pdb",
    )
    assert world.hooks() == [("h1", "back")]
    assert isinstance(world.world.rollouts["r-1"].hosts["h1"], Deferred)


def test_a_before_of_unknown_end_is_run_again_and_not_for_ever() -> None:
    world = drained("h1")
    for _try in range(BEFORE_UNKNOWN - 1):
        world.ends("h1", HookEnd.UNKNOWN, "the link was lost")
        assert world.hooks() == [], "it is run again at once"
        world.now += 60
        assert world.hooks() == [("h1", "drain")]
    world.ends("h1", HookEnd.UNKNOWN, "the link was lost")
    assert any(isinstance(event, e.HostDeferred) for event in world.plan().events)


def test_a_rollback_goes_on_where_the_host_cannot_be_drained() -> None:
    world = drained("h1")
    world.ends("h1")
    world.bring_on("r-1", "h1", "switching", "trial", "committing", "committed")
    for _hook in ("warm", "back"):
        world.plan()
        world.ends("h1")
    assert not len(world.world.hooks)
    world.apply(e.RollbackRequested(world.now, "r-1", "a person", ""))
    world.plan()
    world.plan()
    world.inspected("r-1", "h1", system("h1", 2))
    assert world.hooks() == [("h1", "drain")]
    world.now += 5
    world.ends("h1", HookEnd.FAILED, "kubectl ended with 1")
    assert [type(event) for event in world.plan().events] == [e.HookGivenUp]
    world.plan()
    world.inspected("r-1", "h1", system("h1", 2))
    assert [type(event) for event in world.plan().events] == [e.TrialIntended]


@pytest.mark.parametrize("way", ["pause", "freeze", "lock", "too long"])
def test_a_host_that_may_not_be_tried_now_is_given_back_and_drained_again_later(way: str) -> None:
    world = drained("h1")
    world.ends("h1")
    match way:
        case "pause":
            world.apply(e.PauseRequested(world.now, "r-1", "a person", ""))
        case "freeze":
            world.apply(e.FreezeSet(world.now, "a person", "a person", "", None))
        case "lock":
            world.apply(e.HostLocked(world.now, "h1", "a person", "a person", "", None))
        case _:
            world.now += READY_S
    assert world.hooks() == [("h1", "back")]
    world.ends("h1")
    assert not len(world.world.hooks)
    if way == "pause":
        world.apply(e.ResumeRequested(world.now, "r-1", "a person", "", ()))
        assert world.hooks() == [("h1", "drain")]


def test_a_host_that_cannot_be_given_back_pauses_its_rollout_and_waits_for_a_person() -> None:
    world = drained("h1", "h2")
    world.ends("h1")
    world.bring_on("r-1", "h1", "switching", "trial", "committing", "committed")
    assert world.hooks() == [("h1", "warm")]
    world.ends("h1")
    for number in range(1, HOOK_TRIES + 1):
        (intent,) = (event for event in world.plan().events if isinstance(event, e.HookIntended))
        assert (intent.hook, intent.number, intent.state) == ("back", number, "committed")
        world.ends("h1", HookEnd.FAILED, "503")
        world.now += 400
    assert [type(event) for event in world.plan().events] == [e.HookGivenUp, e.PauseRequested]
    waits = host_waits(world.world, "r-1", "h1", world.now)
    assert waits is not None
    assert (waits.reason, waits.todo) == (Reason.DRAINED, "fleetctl clear h1")
    assert "its hook back (always-after) did not succeed: 503" in explain(world.world, "r-1", world.now)
    world.apply(e.AbortRequested(world.now, "r-1", "a person", ""))
    finished = world.plan().events[-1]
    assert isinstance(finished, e.RolloutFinished)
    assert finished.phase is e.Phase.NEEDS_OPERATOR
    assert finished.reason == "h1: its hook back (always-after) did not succeed: 503"
    assert is_needed(world.world, "r-1"), "a person still has to say something about it"
    world.apply(e.HooksCleared(world.now, "r-1", "h1", "a person", ""))
    assert not len(world.world.hooks)
    assert not is_needed(world.world, "r-1")


def test_a_rollout_ends_after_its_hosts_are_back() -> None:
    world = drained("h1")
    world.ends("h1")
    world.bring_on("r-1", "h1", "switching", "trial", "committing", "committed")
    for hook in ("warm", "back"):
        assert [type(event) for event in world.plan().events] == [e.HookIntended], hook
        assert world.plan().events == ()
        world.ends("h1")
    kinds = [type(event) for _ in range(3) for event in world.plan().events]
    assert kinds == [e.WavePassed, e.RolloutFinished]


def test_what_ran_when_the_controller_died_is_run_again() -> None:
    world = drained("h1")
    world.apply(e.ControllerStarted(world.now + 1, 2, 1.0))
    assert world.hooks() == [("h1", "drain")]
    old = world.work("h1").flight
    assert old is not None
    world.apply(e.ControllerStarted(world.now + 2, 3, 1.0))
    world.apply(e.HostSkipped(world.now, "r-1", "h1", ""))
    (ended,) = (event for event in world.plan().events if isinstance(event, e.HookEnded))
    assert (ended.hook, ended.end) == ("drain", HookEnd.UNKNOWN)
    assert world.hooks() == [("h1", "back")]
    with pytest.raises(IllegalTransition):
        world.apply(e.HookEnded(world.now, "r-1", "h1", old.fence, "drain", HookEnd.WELL))


def test_a_reverted_host_runs_what_is_for_that() -> None:
    world = drained("h1")
    world.ends("h1")
    world.bring_on("r-1", "h1", "switching", "trial")
    world.apply(e.RevertIntended(world.now, "r-1", "h1", world.fence(), world.now + 99, "unwell"))
    world.report("r-1", "h1", HelperState.REVERTED)
    assert world.hooks() == [("h1", "undo")]
    world.ends("h1")
    assert world.hooks() == [("h1", "back")]


def test_a_host_that_is_drained_is_missing_in_its_group() -> None:
    world = drained("h1", "h2")
    group = HostGroup("g", (Member("h1"), Member("h2")), 1)
    assert standing(world.world, group, world.now).unavailable == {"h1": "drained by r-1"}


def test_people_are_told_which_hook_runs_and_which_hosts_are_drained() -> None:
    world = drained("h1")
    waits = host_waits(world.world, "r-1", "h1", world.now)
    assert waits is not None
    assert (waits.reason, waits.text) == (Reason.HOOK, "its hook drain (before) runs")
    first = rollout_waits(world.world, world.world.rollouts["r-1"], world.now)[0]
    assert first.text == "h1: its hook drain (before) runs"
    assert drained_document(world.world, "h1") == {"rollout": "r-1", "since": "1970-01-01T00:16:40.000Z", "stuck": ""}
    assert drained_document(world.world, "h2") is None
    world.ends("h1", HookEnd.UNKNOWN, "the link was lost")
    waits = host_waits(world.world, "r-1", "h1", world.now)
    assert waits is not None
    assert waits.text == "its hook drain (before) is run again: the link was lost"
    assert waits.until == world.now + 5


@pytest.mark.parametrize("hook", ["back", "warm", "nothing"])
def test_a_hook_out_of_its_turn_is_no_record_of_ours(hook: str) -> None:
    world = drained("h1")
    world.ends("h1")
    with pytest.raises(IllegalTransition):
        world.apply(e.HookIntended(world.now, "r-1", "h1", world.fence(), 9e9, "drain", "copied", 1))
    if hook != "back":
        with pytest.raises(IllegalTransition):
            world.apply(e.HookIntended(world.now, "r-1", "h1", world.fence(), 9e9, hook, "copied", 1))
    with pytest.raises(IllegalTransition):
        world.apply(e.HooksCleared(world.now, "r-1", "h1", "a person", ""))
