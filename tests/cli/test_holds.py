"""Locks and the freeze on the command line."""

from __future__ import annotations

import pytest

from fleetd.controller.commands import FreezeFleet, LockHost, SubmitRollout, UnfreezeFleet, UnlockHost
from fleetd.controller.holds import LockedError
from tests.cli.conftest import Daemon


@pytest.mark.asyncio
async def test_a_host_is_locked_and_unlocked(daemon: Daemon) -> None:
    code, out, err = await daemon.run("lock", "web1", "--reason", "disk swap", "--owner", "ops", "--for", "4h")
    assert (code, err) == (0, "")
    assert "locked by ops, until 2026-01-01T04:00:00.000Z: disk swap" in out
    assert (await daemon.run("unlock", "web1", "--reason", "done & dusted"))[0] == 0
    expected = [LockHost("web1", "kim", "disk swap", "ops", 14400.0), UnlockHost("web1", "kim", "done & dusted")]
    assert daemon.control.commands == expected


@pytest.mark.asyncio
async def test_the_fleet_is_frozen_and_status_says_so(daemon: Daemon) -> None:
    code, out, _err = await daemon.run("freeze", "--reason", "the holidays")
    assert (code, out) == (0, "the fleet is frozen by kim, until somebody ends it: the holidays\n")
    assert "the fleet is frozen by kim" in (await daemon.run("status"))[1]
    assert (await daemon.run("unfreeze"))[:2] == (0, "the fleet is not frozen\n")
    assert daemon.control.commands == [FreezeFleet("kim", "the holidays"), UnfreezeFleet("kim")]


@pytest.mark.asyncio
async def test_a_reason_is_needed(daemon: Daemon) -> None:
    assert (await daemon.run("lock", "web1"))[0] == 1
    assert (await daemon.run("freeze"))[0] == 1
    assert daemon.control.commands == []


@pytest.mark.asyncio
async def test_what_is_refused_ends_with_4(daemon: Daemon) -> None:
    daemon.control.error = LockedError("web1 is locked: by ops: disk swap; fleetctl unlock web1")
    code, _out, err = await daemon.run("deploy", "--on", "web1", "--yes")
    assert code == 4
    assert "fleetctl unlock web1" in err


@pytest.mark.asyncio
async def test_a_deploy_says_that_it_supersedes(daemon: Daemon) -> None:
    code, _out, _err = await daemon.run("deploy", "--on", "web1", "--supersede", "--detach", "--yes")
    assert code == 0
    (command,) = daemon.control.commands
    assert isinstance(command, SubmitRollout)
    assert command.supersede
    assert not command.force
