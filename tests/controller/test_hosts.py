"""Hosts as they are now: what is told of them, whatever happens to the fleet meanwhile."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, cast

import pytest

from fleetd.controller.commands import AbortRollout, ClearHost
from fleetd.controller.intake import Intake
from fleetd.controller.loop import Controller
from fleetd.errors import ConfigError, Unreachable
from fleetd.model.fence import NO_FENCE
from fleetd.model.store_path import parse_store_path
from fleetd.rollout.states import Live, Lost, Task
from fleetd.sources.file import FleetFile
from fleetd.sources.reader import FleetReader
from tests.controller.rig import FLEET, IdleExecutor, controlling, delivery, put, world_of


@pytest.mark.asyncio
async def test_a_host_that_leaves_the_fleet_while_it_is_asked_is_shown_once_more(tmp_path: Path) -> None:
    (tmp_path / "fleet.toml").write_text(FLEET)
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def facts(_host: object, *, timeout_s: float) -> None:
        asked.set()
        await go_on.wait()
        raise Unreachable(f"no answer in {timeout_s} s")

    async with controlling(tmp_path) as intake:
        cast(Any, intake)._on_host.facts = facts
        looking = asyncio.create_task(intake.hosts(""))
        await asked.wait()
        (tmp_path / "fleet.toml").write_text(FLEET.replace("[hosts.web2]", "[hosts.web3]").replace("web2-2", "web3-2"))
        await intake.reload()
        go_on.set()
        assert [host["name"] for host in await looking] == ["web1", "web2"]
        assert [host["name"] for host in await intake.hosts("")] == ["web1", "web3"]


@pytest.mark.asyncio
async def test_a_lost_host_is_counted_until_somebody_knows_also_after_its_rollout(tmp_path: Path) -> None:
    (tmp_path / "fleet.toml").write_text(FLEET)
    path = parse_store_path(f"/nix/store/{'1' * 32}-nixos-system-web1-2")
    async with controlling(tmp_path) as intake:
        await intake.submit(delivery())
        live = Live(path, (), NO_FENCE, 0.0, lost_since=1.0)
        put(world_of(intake), "r-1", "web1", Lost(Task(path), live, "no answer", 2.0))
        assert intake.figures().lost == 1
        await intake.submit(AbortRollout("r-1", "kim"))
        while not world_of(intake).rollouts["r-1"].header.phase.is_final:
            await intake.changed(intake.figures().seq, 1.0)
        assert intake.figures().lost == 1
        await intake.submit(ClearHost("web1", "kim", "it burned down"))
        assert intake.figures().lost == 0


@pytest.mark.asyncio
async def test_a_broken_fleet_is_told_also_where_the_last_good_one_is_broken_too(tmp_path: Path) -> None:
    (tmp_path / "fleet.toml").write_text("[hosts.web1")
    (tmp_path / "fleet.json").write_text("{")
    reader = FleetReader(FleetFile(tmp_path / "fleet.toml"), contact_s=60, keep=tmp_path / "fleet.json")
    none = cast(Any, None)
    controller = Controller(clock=none, journal=none, executor=cast(Any, IdleExecutor()))
    parts = {"builder": none, "store": none, "comparer": none, "on_host": none, "activity": none, "clock": none}
    intake = Intake(controller=controller, source=reader, contact_s=60, **parts)
    with pytest.raises(ConfigError, match=r"fleet\.toml: [^\n]*\nand the last good one cannot serve: .*fleet\.json"):
        await intake.start()
