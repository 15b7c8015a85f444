"""Which hosts are looked at although no rollout has them: those of the fleet as it was read last."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fleetd.model.check import Check
from fleetd.model.fleet import NOBODY, Fleet
from fleetd.model.selector import select
from fleetd.rollout.patrol import is_free, judge
from fleetd.rollout.world import World


@dataclass(frozen=True, slots=True)
class Between:
    """What is done about hosts between rollouts, and with what.

    ``fleet`` is the fleet as it was read last, each host of which is looked at every ``every_s`` (None: none is).
    ``contact_s`` is one fresh contact, as of any rollout; ``own`` the host that fleetd runs on. While the fleet file
    ``is_broken`` and an older one serves, hosts are looked at, and nothing begins.
    """

    fleet: Callable[[], Fleet] = lambda: NOBODY
    every_s: float | None = None
    contact_s: float = 0.0
    own: Callable[[Fleet], str | None] = lambda _fleet: None
    is_broken: Callable[[], bool] = lambda: False


def refresh(world: World, fleet: Fleet, now: float) -> None:
    """Take up a fleet that was read anew, and decide whose turn it is to be looked at."""
    patrol = world.patrol
    if patrol.every_s is None:
        return
    if patrol.fleet is not fleet:
        patrol.fleet = fleet
        patrol.enrol(rounds_of(fleet))
        for host in world.fleetwide.found:
            # Of one that is no longer in the fleet, nobody will say that it is well again.
            judge(world, host)
    patrol.move_on(now, lambda host: is_free(world, host))


def rounds_of(fleet: Fleet) -> Mapping[str, tuple[Check, ...]]:
    """Return every host with its checks."""
    found: dict[str, tuple[Check, ...]] = dict.fromkeys(fleet.hosts, ())
    for check in fleet.checks:
        for host in select(fleet, check.on):
            found[host] = (*found[host], check)
    return found
