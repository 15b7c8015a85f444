"""A small fleet through whole rollouts, with hosts that answer as they should or not: the core alone, no clock."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleetd.model.check import Check as CheckSpec
from fleetd.model.check import CheckOutcome, CheckResult, HttpCheck
from fleetd.model.facts import HelperState, HostFacts, Verdict
from fleetd.model.fence import NO_FENCE
from fleetd.model.fleet import Prebuilt
from fleetd.model.goal import Goal
from fleetd.model.policy import FailureBudget, Policy, RollbackScope, Size
from fleetd.model.store_path import StorePath
from fleetd.rollout import events as e
from fleetd.rollout.codec import decode_event, encode_event
from fleetd.rollout.decision import CancelCopy, Capacity, Extend, Inspect, ProbeRound
from fleetd.rollout.observations import Extended, Inspected, Probed, note
from fleetd.rollout.planner import plan
from fleetd.rollout.spec import HostPlan, Kind, RolloutSpec, Wave
from fleetd.rollout.states import is_unproven, shown
from fleetd.rollout.world import World

OLD = {f"web{n}": StorePath(f"/nix/store/{'0' * 31}{n}-nixos-system-web{n}-v1") for n in range(1, 7)}
NEW = {f"web{n}": StorePath(f"/nix/store/{'1' * 31}{n}-nixos-system-web{n}-v2") for n in range(1, 7)}
CHECK = CheckSpec("web", "*", HttpCheck("http://x/"), interval_s=1, timeout_s=1, successes=2, soak_interval_s=1)
POLICY = Policy(
    max_parallel=Size(count=2),
    max_domains=9,
    min_healthy_s=2,
    healthy_deadline_s=20,
    contact_timeout_s=30,
    failure_budget=FailureBudget(Size(), Size(), Size()),
)


def spec(policy: Policy = POLICY, *, apart: bool = False) -> RolloutSpec:
    names = list(OLD)
    waves: tuple[Wave, ...] = (
        Wave("canary", ("web1",), 2.0),
        Wave("half", ("web2", "web3", "web4"), 2.0),
        Wave("rest", ("web5", "web6")),
    )
    waves = tuple(replace(wave, apart=apart and wave is not waves[0]) for wave in waves)
    hosts = tuple(HostPlan(name, Prebuilt(NEW[name]), checks=("web",)) for name in names)
    return RolloutSpec(
        "r-1", Kind.DEPLOY, "v2", None, "*", Goal.SWITCH, policy, (CHECK,), hosts, waves, "test", "", 5.0
    )


class Fleet:
    """The hosts, as simple as can be: each obeys, ``bad`` ones answer 500 on the new system, ``away`` ones nothing."""

    def __init__(
        self, policy: Policy = POLICY, bad: tuple[str, ...] = (), away: tuple[str, ...] = (), apart: bool = False
    ) -> None:
        self.world, self.now, self.bad, self.away = World(), 1000.0, bad, away
        self.runs = dict(OLD)
        self.default = dict(OLD)
        self.most_unproven = 0
        self.trials: list[str] = []
        self.log: list[e.Event] = []
        self.patient = False
        """Whether to sleep as long as the planner says, rather than five seconds at most."""
        self.apply(e.ControllerStarted(self.now, 1, 0))
        self.apply(e.RolloutRequested(self.now, "r-1", spec(policy, apart=apart)))

    def apply(self, event: e.Event) -> None:
        self.world.apply(event)
        self.log.append(event)

    def run(self, steps: int = 4000) -> str:
        for _ in range(steps):
            header = self.world.rollouts["r-1"].header
            if header.phase.is_final:
                return header.phase.value
            decision = plan(self.world, Capacity(), self.now)
            for event in decision.events:
                self.apply(event)
            states = self.world.rollouts["r-1"].hosts.values()
            self.most_unproven = max(self.most_unproven, sum(is_unproven(state) for state in states))
            for event in decision.events:
                self.answer(event)
            for question in decision.questions:
                self.reply(question)
            if decision.questions:
                self.now += 0.05  # an answer wakes the loop at once
            elif not decision.events:
                self.now = max(
                    self.now + 0.5, min(decision.wake_at or self.now, self.now + (1e6 if self.patient else 5))
                )
        raise AssertionError(f"stuck: { {host: shown(s) for host, s in self.world.rollouts['r-1'].hosts.items()} }")

    def answer(self, event: e.Event) -> None:
        host = getattr(event, "host", "")
        match event:
            case e.BuildIntended():
                self.apply(e.Built(self.now, "r-1", host, event.fence, NEW[host]))
            case e.CopyIntended():
                self.apply(e.CopyDone(self.now, "r-1", host, event.fence, 1, 1))
            case e.TrialIntended():
                self.trials.append(host)
                to = self.world.rollouts["r-1"].hosts[host].task.to
                assert to is not None
                self.runs[host] = to
                self.report(event, HelperState.TRIAL)
            case e.CommitIntended():
                self.default[host] = self.runs[host]
                self.report(event, HelperState.COMMITTED)
            case e.RevertIntended():
                self.runs[host] = self.default[host]
                self.report(event, HelperState.REVERTED)
            case e.SettleIntended():
                self.report(
                    event, HelperState.TRIAL if self.runs[host] != self.default[host] else HelperState.COMMITTED
                )
            case _:
                pass

    def report(self, event: e.IntentEvent, state: HelperState) -> None:
        self.apply(e.HostReported(self.now, "r-1", event.host, event.fence, state, True, Verdict.LIVE, "order", ""))

    def reply(self, question: object) -> None:
        match question:
            case Inspect(host=host, step=step):
                facts = None if host in self.away else self.facts(host)
                note(self.world, Inspected(self.now, "r-1", host, step, facts, self.results(host), "no answer"))
            case ProbeRound(host=host, step=step, builtin=builtin, required=required, interval_s=interval_s):
                passed = tuple(CheckResult(name, CheckOutcome.PASS) for name in builtin)
                results = passed + self.results(host)
                note(self.world, Probed(self.now, "r-1", host, step, results, required, interval_s))
            case Extend(host=host, step=step):
                note(self.world, Extended(self.now, "r-1", host, step, True))
            case CancelCopy():
                pass
            case _:
                raise AssertionError(question)

    def results(self, host: str) -> tuple[CheckResult, ...]:
        failing = host in self.bad and self.runs[host] == NEW[host]
        return (CheckResult("web", CheckOutcome.FAIL if failing else CheckOutcome.PASS, "500"),)

    def facts(self, host: str) -> HostFacts:
        default = self.default[host]
        return HostFacts(
            self.world.record(host).fence or NO_FENCE,
            HelperState.IDLE,
            "",
            self.runs[host],
            default,
            default,
            default,
            "systemd-boot",
            "boot",
            1.0,
            f"m-{host}",
            host,
            "x86_64-linux",
            "2.26",
            False,
            True,
            1,
            1,
            1,
            1.0,
        )


def test_a_good_revision_reaches_every_host_canary_first() -> None:
    fleet = Fleet()
    assert fleet.run() == "succeeded"
    assert fleet.default == NEW
    assert fleet.trials[0] == "web1"
    assert fleet.most_unproven <= 2


def test_a_bad_canary_is_reverted_and_nothing_else_is_touched() -> None:
    fleet = Fleet(bad=("web1",))
    assert fleet.run() == "rolled-back"
    assert fleet.trials == ["web1"]
    assert fleet.runs == OLD


def test_a_failure_in_the_last_wave_takes_the_whole_rollout_back() -> None:
    fleet = Fleet(bad=("web6",))
    assert fleet.run() == "rolled-back"
    assert fleet.default == OLD
    assert fleet.runs == OLD


def test_scope_host_leaves_the_others_on_the_new_system() -> None:
    fleet = Fleet(replace(POLICY, rollback_scope=RollbackScope.HOST), bad=("web6",))
    assert fleet.run() == "failed"
    assert fleet.default["web1"] == NEW["web1"]
    assert fleet.runs["web6"] == OLD["web6"]


def test_a_failure_within_the_budget_is_tolerated_and_told() -> None:
    fleet = Fleet(replace(POLICY, failure_budget=FailureBudget(Size(), Size(count=1), Size(count=1))), bad=("web6",))
    assert fleet.run() == "incomplete"
    assert fleet.default["web5"] == NEW["web5"]
    assert fleet.runs["web6"] == OLD["web6"]


def test_an_offline_canary_is_replaced_never_passed_over() -> None:
    fleet = Fleet(away=("web1",))
    assert fleet.run() == "incomplete"
    assert fleet.world.rollouts["r-1"].header.waves[0].hosts == ("web1", "web2")


def test_a_host_that_stands_apart_fills_no_gap_in_an_earlier_wave() -> None:
    """It goes last whatever happens to the others: fleetd may run on it."""
    fleet = Fleet(away=("web1",), apart=True)
    assert fleet.run() == "rolled-back"
    assert fleet.world.rollouts["r-1"].header.waves[0].hosts == ("web1",)
    assert fleet.trials == []


def test_a_fleet_out_of_reach_is_no_success() -> None:
    fleet = Fleet(away=tuple(OLD))
    assert fleet.run() == "failed"
    assert fleet.trials == []


def test_nothing_to_do_is_done_without_a_switch() -> None:
    fleet = Fleet()
    fleet.runs, fleet.default = dict(NEW), dict(NEW)
    assert fleet.run() == "succeeded"
    assert fleet.trials == []


def test_a_copy_that_never_ends_is_ended_and_the_host_passed_over() -> None:
    fleet = Fleet()
    swallow = fleet.answer
    fleet.answer = lambda event: None if isinstance(event, e.CopyIntended) else swallow(event)  # type: ignore[method-assign]
    fleet.patient = True
    assert fleet.run() == "failed"
    assert fleet.trials == []


@pytest.mark.parametrize("bad", [(), ("web1",), ("web4",), ("web6",)])
def test_replaying_the_journal_gives_the_same_world(bad: tuple[str, ...]) -> None:
    fleet = Fleet(bad=bad)
    fleet.run()
    again = World()
    for event in fleet.log:
        kind, rollout, host, data = encode_event(event)
        again.apply(decode_event(kind, event.at, rollout, host, data))
    assert again.rollouts["r-1"].hosts == fleet.world.rollouts["r-1"].hosts
    assert again.rollouts["r-1"].header == fleet.world.rollouts["r-1"].header
    assert again.records == fleet.world.records
