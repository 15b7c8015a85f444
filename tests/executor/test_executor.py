"""The executor ends every effect and every question in an outcome, also when fleetd itself is at fault."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from fleetd.errors import (
    FleetdError,
    HostFull,
    HostIdentityError,
    LoginRefused,
    OutcomeUnknown,
    Unreachable,
)
from fleetd.executor.activity import Activity
from fleetd.executor.broken import Outcome
from fleetd.executor.executor import Executor, Job
from fleetd.model.fence import Fence
from fleetd.model.fleet import Fleet, Host
from fleetd.model.goal import Goal
from fleetd.model.policy import Policy
from fleetd.model.program import Aid
from fleetd.model.store_path import StorePath
from fleetd.rollout import events as e
from fleetd.rollout.decision import Capacity, Extend, Inspect, LockRevision, LookAt, ProbeRound, Question, Reach
from fleetd.rollout.observations import Extended, Inspected, LockEnded, Looked, Probed, Reached, Witnessed
from fleetd.rollout.seen import Unheard
from fleetd.rollout.spec import Kind, RolloutSpec
from fleetd.rollout.states import Direction, Task

TO = StorePath(f"/nix/store/{'1' * 32}-nixos-system-web1-v2")
FENCE = Fence(1, 7)
SPEC = RolloutSpec("r-1", Kind.DEPLOY, "v2", None, "*", Goal.SWITCH, Policy(), (), (), (), "test", "", 5.0)
FLEET = Fleet({"web1": Host("web1", ("127.0.0.1",))})


class Unwilling:
    """Stands for hosts that tell nothing of themselves, for the reason given."""

    def __init__(self, why: FleetdError) -> None:
        self._why = why

    def aids(self, _host: Host | None) -> tuple[Aid, ...]:
        return ()

    async def facts(self, _host: Host, *, timeout_s: float) -> None:
        del timeout_s
        raise self._why


class Broken:
    """Stands for every adapter: whatever is asked of it raises what nobody expects."""

    def __getattr__(self, name: str) -> Any:
        async def broken(*_args: object, **_words: object) -> None:
            raise RuntimeError(f"{name} broke")

        return broken


class FakeClock:
    def now(self) -> float:
        return 100.0

    async def sleep(self, seconds: float) -> None:
        del seconds


async def outcomes(work: e.IntentEvent | Question | str, on_host: Any = None) -> list[Outcome]:
    """Let an executor with broken adapters do one thing, or ask a witness, and return what it reports."""
    broken: Any = Broken()
    executor = Executor(
        clock=FakeClock(),
        on_host=on_host or broken,
        sources=broken,
        pusher=broken,
        targets=broken,
        probe=broken,
        fleet=lambda: FLEET,
        limits=Capacity(),
        power=on_host or broken,
        hooks=on_host or broken,
        activity=Activity(FakeClock()),
    )
    told: list[Outcome] = []
    faults: list[object] = []
    executor.report = told.append
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: faults.append(context["exception"]))
    if isinstance(work, e.IntentEvent):
        executor.start(Job(work, SPEC, Task(TO), "/nix/store/x.drv", None))
    elif isinstance(work, str):
        executor.witness(work)
    else:
        executor.ask(work, SPEC)
    await asyncio.sleep(0.05)
    assert [type(fault) for fault in faults] == ([] if on_host else [RuntimeError])
    assert executor.capacity() == Capacity()
    await executor.close()
    return told


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("intent", "outcome"),
    [
        (e.EvaluateIntended(1, "r-1", "web1", FENCE, 200), e.SourceRefused),
        (e.BuildIntended(1, "r-1", "web1", FENCE, 200), e.SourceRefused),
        (e.CopyIntended(1, "r-1", "web1", FENCE, 200), e.CopyRefused),
        (e.TrialIntended(1, "r-1", "web1", FENCE, 200, TO, "m", ()), e.ContactLost),
        (e.CommitIntended(1, "r-1", "web1", FENCE, 200), e.ContactLost),
        (e.ReleaseIntended(1, "r-1", "web1", FENCE, 200), e.ContactLost),
        (e.StageIntended(1, "r-1", "web1", FENCE, 200, TO, "m"), e.ContactLost),
        (e.DryRunIntended(1, "r-1", "web1", FENCE, 200), e.ContactLost),
        (e.RevertIntended(1, "r-1", "web1", FENCE, 200, "why"), e.ContactLost),
        (e.SettleIntended(1, "r-1", "web1", FENCE, 200), e.ContactLost),
    ],
)
async def test_an_effect_that_breaks_has_an_outcome_of_its_flight(intent: e.IntentEvent, outcome: type) -> None:
    (told,) = await outcomes(intent)
    assert type(told) is outcome
    assert getattr(told, "fence", None) == FENCE
    assert "a fault in fleetd itself: RuntimeError" in str(getattr(told, "reason", ""))


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("question", "answers"),
    [
        (LockRevision("r-1", "git+file:///x"), [e.RevisionRefused, LockEnded]),
        (Inspect("r-1", "web1", 1, ()), [Inspected]),
        (ProbeRound("r-1", "web1", 1, (), ("login",), ("login",), TO, None, 1.0), [Probed]),
        (Extend("r-1", "web1", 1, Direction.DEPLOY, FENCE), [Extended]),
    ],
)
async def test_a_question_that_breaks_is_answered_and_proves_nothing(question: Question, answers: list[type]) -> None:
    told = await outcomes(question)
    assert [type(answer) for answer in told] == answers
    for answer in told:
        match answer:
            case Inspected():
                assert answer.facts is None
            case Probed():
                assert answer.results == ()
            case Extended():
                assert not answer.done
            case _:
                pass


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (LoginRefused("no such user"), Unheard.LOGIN_REFUSED),
        (HostIdentityError("another key"), Unheard.HOST_IDENTITY),
        (HostFull("no room"), Unheard.DISK_FULL),
        (Unreachable("no answer"), Unheard.UNREACHABLE),
        (OutcomeUnknown("half a reply"), Unheard.UNREACHABLE),
    ],
)
async def test_every_question_says_of_what_kind_a_silence_is(error: FleetdError, kind: Unheard) -> None:
    host = Unwilling(error)
    for question in (Inspect("r-1", "web1", 1, ()), Reach("r-1", "web1", 1), LookAt("r-1", "web1", ()), "web1"):
        (told,) = await outcomes(question, host)
        assert isinstance(told, Inspected | Reached | Looked | Witnessed)
        assert told.unheard is kind
        assert str(error) in (told.why if isinstance(told, Looked) else told.unreachable)
