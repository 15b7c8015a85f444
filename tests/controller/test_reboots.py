"""Reboots by a person's word: which hosts, into what, and by which policy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fleetd.controller.commands import RebootHosts
from fleetd.controller.resolve import reboot_of
from fleetd.errors import RefusedError, UsageError
from fleetd.model.fleet import Fleet, Host, Prebuilt
from fleetd.model.policy import OnFailure, Policy, Reboot, broken_inequalities
from fleetd.model.store_path import parse_store_path
from fleetd.rollout.spec import Kind
from fleetd.rollout.world import HostRecord
from tests.controller.rig import FLEET, controlling, world_of

RUNS = parse_store_path(f"/nix/store/{'1' * 32}-nixos-system-web1-1")
CONTACT_S = 30.0


def fleet(policy: Policy) -> Fleet:
    """Return a fleet of two hosts with one policy."""
    return Fleet({name: Host(name, (name,)) for name in ("web1", "web2")}, policies={"default": policy})


@pytest.mark.asyncio
async def test_hosts_are_named_and_what_they_run_is_known(tmp_path: Path) -> None:
    (tmp_path / "fleet.toml").write_text(FLEET)
    async with controlling(tmp_path) as intake:
        with pytest.raises(UsageError, match="names its hosts"):
            await intake.submit(RebootHosts("kim"))
        world_of(intake).records["web1"] = HostRecord(left=RUNS)
        with pytest.raises(RefusedError, match=r"nothing was started: .* runs on web2; select"):
            await intake.submit(RebootHosts("kim", on="*"))
        assert len(world_of(intake).rollouts) == 0
        accepted = await intake.submit(RebootHosts("kim", on="web1"))
        spec = world_of(intake).rollouts[accepted.rollout].header.spec
        assert (spec.kind, [plan.source for plan in spec.hosts]) == (Kind.REBOOT, [Prebuilt(RUNS)])


def test_a_reboot_has_the_policy_s_waves_and_nothing_to_go_back_to() -> None:
    spec = reboot_of(fleet(Policy()), RebootHosts("kim", on="*"), {"web1": RUNS, "web2": RUNS}, CONTACT_S)
    assert [wave.hosts for wave in spec.waves] == [("web1",), ("web2",)]
    assert (spec.policy.reboot, spec.policy.on_failure) == (Reboot.ALWAYS, OnFailure.STOP)
    # What a policy without reboots was read with has no room for one.
    assert broken_inequalities(spec.policy, (), CONTACT_S) == []


def test_a_policy_that_pauses_still_pauses() -> None:
    policy = replace(Policy(), on_failure=OnFailure.PAUSE, reboot=Reboot.WHEN_NEEDED)
    spec = reboot_of(fleet(policy), RebootHosts("kim", on="*", when_needed=True), {"web1": RUNS}, CONTACT_S)
    assert (spec.policy.reboot, spec.policy.on_failure) == (Reboot.WHEN_NEEDED, OnFailure.PAUSE)
    assert spec.policy.progress_deadline_s == policy.progress_deadline_s
    with pytest.raises(UsageError, match="no policy 'quick'"):
        reboot_of(fleet(policy), RebootHosts("kim", on="*", policy="quick"), {"web1": RUNS}, CONTACT_S)
