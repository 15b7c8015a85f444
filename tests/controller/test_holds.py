"""Locks and the freeze: what is refused, what is taken and waits, and that a restart forgets none of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleetd.controller.commands import FreezeFleet, LockHost, SubmitRollout, UnfreezeFleet, UnlockHost
from fleetd.controller.holds import FrozenError, LockedError
from fleetd.errors import NotFoundError
from tests.controller.rig import FLEET, controlling, delivery, world_of


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "fleet.toml").write_text(FLEET)
    return tmp_path


@pytest.mark.asyncio
async def test_a_deploy_is_refused_while_the_fleet_is_frozen(place: Path) -> None:
    async with controlling(place) as intake:
        assert not (await intake.submit(FreezeFleet("kim", "the holidays", "ops", 3600.0))).repeated
    async with controlling(place) as intake:
        with pytest.raises(FrozenError, match=r"by ops.*the holidays.*until 20.*fleetctl unfreeze") as refused:
            await intake.submit(delivery())
        assert refused.value.exit_code == 4
        await intake.submit(UnfreezeFleet("kim"))
        assert (await intake.submit(delivery())).rollout == "r-1"


@pytest.mark.asyncio
async def test_a_deploy_to_locked_hosts_alone_is_refused_and_one_to_some_waits(place: Path) -> None:
    async with controlling(place) as intake:
        await intake.submit(LockHost("web1", "kim", "disk swap"))
    async with controlling(place) as intake:
        with pytest.raises(LockedError, match=r"web1 is locked.*by kim.*disk swap.*fleetctl unlock web1"):
            await intake.submit(SubmitRollout("lee", on="web1"))
        assert (await intake.submit(SubmitRollout("lee"))).rollout == "r-1"
        (host,) = await intake.hosts("web1")
        assert host["lock"] is not None


@pytest.mark.asyncio
async def test_what_somebody_else_holds_is_not_taken_over(place: Path) -> None:
    async with controlling(place) as intake:
        await intake.submit(LockHost("web1", "kim", "disk swap"))
        await intake.submit(FreezeFleet("kim", "the holidays"))
        with pytest.raises(LockedError, match="locked already"):
            await intake.submit(LockHost("web1", "lee", "mine"))
        with pytest.raises(FrozenError, match="frozen already"):
            await intake.submit(FreezeFleet("lee", "mine"))
        assert (await intake.submit(LockHost("web1", "kim", "disk swap"))).repeated
        assert not (await intake.submit(LockHost("web1", "kim", "another disk"))).repeated
        assert world_of(intake).fleetwide.locks["web1"].reason == "another disk"


@pytest.mark.asyncio
async def test_saying_it_twice_leaves_no_second_record(place: Path) -> None:
    async with controlling(place) as intake:
        assert (await intake.submit(UnlockHost("web1", "kim"))).repeated
        assert (await intake.submit(UnfreezeFleet("kim"))).repeated
        with pytest.raises(NotFoundError, match="no host 'web9'"):
            await intake.submit(LockHost("web9", "kim", "a typo"))
        assert intake.figures().seq == 1


@pytest.mark.asyncio
async def test_a_lock_whose_time_is_over_is_gone(place: Path) -> None:
    async with controlling(place) as intake:
        await intake.submit(LockHost("web1", "kim", "a moment", "", 0.01))
        await intake.changed(2, 30.0)
        assert world_of(intake).fleetwide.locks == {}
        assert (await intake.submit(delivery())).rollout == "r-1"
