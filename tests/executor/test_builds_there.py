"""A host that builds itself: what was evaluated is sent, it builds, and only then is the copy done."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest

from fleetd.errors import PushError, SourceError, ToplevelError
from fleetd.executor.activity import Activity
from fleetd.executor.broken import Outcome
from fleetd.executor.executor import Executor, Job
from fleetd.executor.on_host import OnHost
from fleetd.executor.sources import Sources
from fleetd.model.fence import Fence
from fleetd.model.fleet import Fleet, Host
from fleetd.model.goal import Goal
from fleetd.model.policy import Policy
from fleetd.model.store_path import StorePath
from fleetd.ports import PushReport
from fleetd.rollout import events as e
from fleetd.rollout.decision import Capacity
from fleetd.rollout.spec import Kind, RolloutSpec
from fleetd.rollout.states import Task
from tests.executor.test_executor import FakeClock

TO = StorePath(f"/nix/store/{'1' * 32}-nixos-system-web1-v2")
DRV = f"{TO}.drv"
FENCE = Fence(1, 7)
SPEC = RolloutSpec("r-1", Kind.DEPLOY, "v2", None, "*", Goal.SWITCH, Policy(), (), (), (), "test", "", 5.0)
HOST = Host("web1", ("127.0.0.1",), builds_itself=True)


class Adapters:
    """Builder, pusher and host in one; ``did`` is what was asked of them, in order."""

    def __init__(self, error: Exception | None = None, output: StorePath = TO) -> None:
        self.did: list[tuple[str, ...]] = []
        self.error = error
        self._output = output

    async def output(self, derivation: str, *, timeout_s: float) -> StorePath:
        self.did.append(("output", derivation))
        return self._output

    async def push(self, host: Host, path: str, *, root: str, progress: object, timeout_s: float) -> PushReport:
        self.did.append(("push", path, root))
        return PushReport(3, 300)

    async def build(
        self, host: Host, derivation: str, toplevel: str, *, root: str, timeout_s: float, told: object
    ) -> None:
        self.did.append(("build", derivation, toplevel, root))
        if self.error is not None:
            raise self.error


def executor(adapters: Adapters, report: Callable[[Outcome], None]) -> Executor:
    any_of: Any = adapters
    clock, activity = FakeClock(), Activity(FakeClock())
    made = Executor(
        clock=clock,
        on_host=any_of,
        sources=Sources(clock, any_of, any_of, activity, any_of),
        pusher=any_of,
        targets=any_of,
        probe=any_of,
        fleet=lambda: Fleet({"web1": HOST}),
        limits=Capacity(),
        power=any_of,
        hooks=any_of,
        activity=activity,
    )
    made.report = report
    return made


async def outcome_of(intent: e.IntentEvent, task: Task, adapters: Adapters, derivation: str | None = None) -> Outcome:
    told: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    executor(adapters, told.set_result).start(Job(intent, SPEC, task, derivation, None))
    return await asyncio.wait_for(told, 30)


@pytest.mark.asyncio
async def test_what_it_will_be_is_known_before_it_is_built() -> None:
    adapters = Adapters()
    intent = e.BuildIntended(1.0, "r-1", "web1", FENCE, 200.0)
    assert await outcome_of(intent, Task(None), adapters, DRV) == e.Built(100.0, "r-1", "web1", FENCE, TO, DRV)
    assert adapters.did == [("output", DRV)]


@pytest.mark.asyncio
async def test_a_system_of_another_host_is_built_nowhere() -> None:
    adapters = Adapters(output=StorePath(f"/nix/store/{'1' * 32}-nixos-system-db1-v2"))
    outcome = await outcome_of(e.BuildIntended(1.0, "r-1", "web1", FENCE, 200.0), Task(None), adapters, DRV)
    assert isinstance(outcome, e.SourceRefused)
    assert "nixos-system-db1-v2 is no toplevel of web1" in outcome.reason


@pytest.mark.asyncio
async def test_the_copy_is_done_once_it_is_built() -> None:
    adapters = Adapters()
    intent = e.CopyIntended(1.0, "r-1", "web1", FENCE, 200.0)
    done = await outcome_of(intent, Task(TO, derivation=DRV), adapters)
    assert done == e.CopyDone(100.0, "r-1", "web1", FENCE, 3, 300)
    assert adapters.did == [("push", DRV, "r-1-drv-next"), ("build", DRV, TO, "r-1-next")]


@pytest.mark.parametrize(("error", "kind"), [(SourceError("exit 7"), "source"), (PushError("lost", "gone"), "lost")])
@pytest.mark.asyncio
async def test_a_build_that_failed_is_no_copy(error: Exception, kind: str) -> None:
    intent = e.CopyIntended(1.0, "r-1", "web1", FENCE, 200.0)
    outcome = await outcome_of(intent, Task(TO, derivation=DRV), Adapters(error))
    assert outcome == e.CopyRefused(100.0, "r-1", "web1", FENCE, kind, str(error))


@pytest.mark.asyncio
async def test_what_is_built_already_is_sent_as_it_is() -> None:
    adapters = Adapters()
    await outcome_of(e.CopyIntended(1.0, "r-1", "web1", FENCE, 200.0), Task(TO), adapters)
    assert adapters.did == [("push", TO, "r-1-next")]


@pytest.mark.asyncio
async def test_a_system_that_only_the_host_has_is_ordered_without_a_hash() -> None:
    class Store:
        async def closure(self, toplevel: StorePath) -> tuple[object, ...]:
            raise ToplevelError(f"{toplevel} is not in the store")

    any_store: Any = Store()
    on_host = OnHost(FakeClock(), cast(Any, None), any_store)
    assert await on_host._nar_hash(Task(TO, derivation=DRV), Kind.DEPLOY) == ""
    with pytest.raises(ToplevelError):
        await on_host._nar_hash(Task(TO), Kind.DEPLOY)
