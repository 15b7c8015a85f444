"""Looking at one host: its facts, and one round of checks. It has no effect there."""

from __future__ import annotations

from collections.abc import Callable

from fleetd.errors import FleetdError
from fleetd.executor.on_host import OnHost
from fleetd.model.check import Check
from fleetd.model.fleet import Fleet
from fleetd.ports import Probe, ProbeRequest
from fleetd.rollout.decision import Observe
from fleetd.rollout.sightings import Sighted
from fleetd.rollout.spec import RolloutSpec

INSPECT_TIMEOUT_S = 60.0
"""Facts after a restart of dbus take 25 s; twice that and a handshake."""

CONNECTIONS_KEPT = 500
"""In a larger fleet a host that was looked at, and is in no rollout, keeps no connection: each takes 100 KB."""


async def observed(on_host: OnHost, probe: Probe, question: Observe, fleet: Fleet, now: Callable[[], float]) -> Sighted:
    """Look at a host; never raises for what the host or the link does."""
    host = fleet.hosts.get(question.host)
    if host is None:
        return Sighted(now(), question.host, None, unreachable=f"{question.host} is no longer in the fleet file")
    request = ProbeRequest(question.checks, (), None, None)
    try:
        facts = await on_host.facts(host, timeout_s=INSPECT_TIMEOUT_S)
        results = await probe.round(host, request) if question.checks else ()
    except FleetdError as error:
        return Sighted(now(), host.name, None, unreachable=str(error))
    finally:
        if len(fleet.hosts) > CONNECTIONS_KEPT:
            on_host.let_go(host)
    return Sighted(now(), host.name, facts, results)


def named(spec: RolloutSpec, names: tuple[str, ...]) -> tuple[Check, ...]:
    """Return checks of a rollout by their names."""
    return tuple(check for check in spec.checks if check.name in names)


def slowest_s(checks: tuple[Check, ...]) -> float:
    """Return how long the slowest of some checks may take."""
    return max((check.timeout_s for check in checks), default=0.0)
