"""A real controller over a real journal, asked as the API asks it, with nobody to reach and room for nothing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

from fleetd.clock import SystemClock
from fleetd.controller.commands import RequestKey, SubmitRollout, digest_of
from fleetd.controller.intake import Intake
from fleetd.controller.loop import Controller
from fleetd.errors import ConfigError, Unreachable
from fleetd.executor.activity import Activity
from fleetd.journal.sqlite import SqliteJournal
from fleetd.rollout.decision import Capacity
from fleetd.rollout.states import HostState
from fleetd.rollout.world import World
from fleetd.sources.file import FleetFile
from fleetd.sources.reader import FleetReader

FLEET = f"""
[hosts.web1]
toplevel = "/nix/store/{"1" * 32}-nixos-system-web1-2"
[hosts.web2]
toplevel = "/nix/store/{"2" * 32}-nixos-system-web2-2"
[policies.careful]
max_parallel = 1
"""


class IdleExecutor:
    """Has room for nothing, so that a rollout stays as it was accepted."""

    report: Callable[[object], None]

    def capacity(self) -> Capacity:
        return Capacity()

    def start(self, job: object) -> None:
        """Do nothing."""

    def ask(self, question: object, spec: object) -> None:
        """Do nothing."""

    def keep_roots(self, wanted: object) -> None:
        """Do nothing."""


class NoContact:
    """Reaches nobody."""

    def newest_facts(self, host: str) -> None:
        """Know nothing."""

    async def facts(self, host: object, *, timeout_s: float) -> None:
        """Find nobody."""
        raise Unreachable("no answer")


class AnyStore:
    """Believes every toplevel."""

    async def check_toplevel(self, toplevel: object, host: object) -> None:
        """Say nothing."""


@asynccontextmanager
async def controlling(directory: Path, allowed: Sequence[str] = ()) -> AsyncIterator[Intake]:
    """Run a real controller over a real journal; leaving is a restart."""
    clock, journal = SystemClock(), SqliteJournal(directory)
    controller = Controller(clock=clock, journal=journal, executor=cast(Any, IdleExecutor()))
    intake = Intake(
        controller=controller,
        source=FleetReader(FleetFile(directory / "fleet.toml"), contact_s=60, keep=directory / "fleet.json"),
        builder=cast(Any, None),
        store=cast(Any, AnyStore()),
        comparer=cast(Any, None),
        on_host=cast(Any, NoContact()),
        activity=Activity(clock),
        clock=clock,
        contact_s=60,
        allowed=allowed,
    )
    await controller.start()
    with contextlib.suppress(ConfigError):
        await intake.start()
    task = asyncio.create_task(controller.run())
    try:
        yield intake
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await journal.close()


def delivery(body: str = "one", key: str = "hook:ci:d-1", policy: str = "careful") -> SubmitRollout:
    digest = digest_of("test", {"body": body})
    return SubmitRollout(requested_by="hook ci", key=RequestKey(key, digest), on="web1", policy=policy)


def world_of(intake: Intake) -> World:
    """The controller's own world, to put hosts into states that take long to come to."""
    return intake._controller.world


def put(world: World, rollout: str, host: str, state: HostState) -> None:
    """Put a host into a state, its numbers included."""
    of = world.rollouts[rollout]
    of.tally.changed(host, of.hosts[host], state)
    of.hosts[host] = state
