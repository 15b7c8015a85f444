"""Taking hosts back by a person's word: which hosts, to what, and nobody left out in silence."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleetd.controller.commands import RollBackHosts, SubmitRollout
from fleetd.controller.intake import Intake
from fleetd.errors import RefusedError
from fleetd.model.store_path import StorePath, parse_store_path
from fleetd.rollout.states import Committed, Current, Task
from fleetd.rollout.world import HostRecord
from tests.controller.rig import FLEET, controlling, put, world_of

OLD, WEB1, WEB2 = (parse_store_path(f"/nix/store/{n * 32}-nixos-system-web-{n}") for n in "012")


async def targets(intake: Intake, on: str = "", to: str | None = None) -> dict[str, StorePath | None]:
    accepted = await intake.submit(RollBackHosts("kim", None, on, to))
    return {name: state.task.to for name, state in world_of(intake).rollouts[accepted.rollout].hosts.items()}


@pytest.mark.asyncio
async def test_a_selected_host_with_nothing_to_go_back_to_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "fleet.toml").write_text(FLEET)
    async with controlling(tmp_path) as intake:
        with pytest.raises(RefusedError, match="for no selected host"):
            await targets(intake)
        world_of(intake).records["web1"] = HostRecord(last_good=WEB1, good_before=OLD, left=WEB1)
        for on in ("*", "web1,web2"):
            with pytest.raises(RefusedError, match=r"nothing was started: .* for web2; select"):
                await targets(intake, on)
        assert len(world_of(intake).rollouts) == 0
        assert set(await targets(intake)) == {"web1"}
        assert set(await targets(intake, "web1")) == {"web1"}


@pytest.mark.asyncio
async def test_back_to_a_rollout_is_for_hosts_that_had_it_already_as_well(tmp_path: Path) -> None:
    (tmp_path / "fleet.toml").write_text(FLEET)
    async with controlling(tmp_path) as intake:
        await intake.submit(SubmitRollout("kim", on="*", policy="careful"))
        put(world_of(intake), "r-1", "web1", Current(Task(WEB1), 1.0))
        put(world_of(intake), "r-1", "web2", Committed(Task(WEB2), OLD, (), 1.0))
        assert set(await targets(intake, "*", "r-1")) == {"web1", "web2"}
