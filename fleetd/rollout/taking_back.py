"""Which hosts a rollout that failed takes back, and to which system."""

from __future__ import annotations

from fleetd.model.policy import RollbackScope
from fleetd.model.store_path import StorePath
from fleetd.rollout.decision import Draft
from fleetd.rollout.states import Placed, Staged, TrialKept
from fleetd.rollout.tally import Mark
from fleetd.rollout.world import Rollout


def to_take_back(rollout: Rollout) -> list[tuple[str, Placed]]:
    """Return the hosts with the rollout's system that the rollout's scope takes back, in the order of its waves."""
    failing, header = rollout.header.failing, rollout.header
    if failing is None or not failing.take_back:
        return []
    scope = RollbackScope.ROLLOUT if failing.whole else header.spec.policy.rollback_scope
    hosts = rollout.tally.hosts[Mark.FAILED if scope is RollbackScope.HOST else Mark.COMMITTED]
    found = []
    for host in sorted(hosts, key=rollout.tally.position.__getitem__):
        state = rollout.hosts[host]
        if isinstance(state, Placed) and (scope is not RollbackScope.WAVE or _wave_goes_back(rollout, host)):
            found.append((host, state))
    return found


def _wave_goes_back(rollout: Rollout, host: str) -> bool:
    counts = rollout.tally.waves[rollout.tally.wave_of[host]]
    return bool(counts[Mark.FAILED] or counts[Mark.BACK])


def rollback_target(draft: Draft, host: str, state: Placed) -> StorePath:
    """Return last good, or what ran before where last good is the very system that failed.

    Where last good was not replaced, by a test or for the next boot, it is what boots, or booted until then.
    """
    if isinstance(state, TrialKept | Staged):
        return state.old
    good = draft.world.record(host).last_good
    return state.old if good is None or good == state.task.to else good
