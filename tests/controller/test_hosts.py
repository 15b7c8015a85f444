"""Hosts as they are now: what is told of them, whatever happens to the fleet meanwhile."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, cast

import pytest

from fleetd.errors import Unreachable
from tests.controller.rig import FLEET, controlling


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
