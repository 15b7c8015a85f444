"""What is done about hosts that were just seen: what they are owed is brought, and drift is met as policies say. Pure.

At most one such rollout of each policy at a time. What is found meanwhile waits, and goes together in the next one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fleetd.controller.patrolling import Between
from fleetd.controller.resolve import Asked, specify
from fleetd.errors import SelectorError
from fleetd.model.fleet import Fleet, Host, Prebuilt, ToplevelSource
from fleetd.model.goal import Goal
from fleetd.model.policy import OnDrift, OnFailure, Policy
from fleetd.model.selector import select
from fleetd.model.store_path import StorePath, parse_store_path
from fleetd.rollout import events as e
from fleetd.rollout.decision import FLEETD, own_is_on_trial
from fleetd.rollout.patrol import is_free
from fleetd.rollout.preflight import adoptable, blocks, drift_of, newer_controller, stranger_of
from fleetd.rollout.record import Owed
from fleetd.rollout.spec import Kind, RolloutSpec
from fleetd.rollout.task import Task
from fleetd.rollout.world import World

BY_POLICY = "the policy (on_drift = adopt)"
LEFT = "what fleetd left"


def due(world: World, between: Between, now: float) -> list[RolloutSpec]:
    """Return the rollouts that are to begin now."""
    patrol, fleet = world.patrol, between.fleet()
    if own_is_on_trial(world):
        return []
    if between.is_broken() or world.fleetwide.isolated is not None or world.fleetwide.freeze is not None:
        patrol.back.clear()
        return []
    busy = {rollout.header.spec.policy.name for _n, rollout in world.active() if rollout.header.spec.kind.pays}
    together: dict[tuple[str, str], list[str]] = {}
    for host in tuple(patrol.back):
        owed = world.record(host).owed
        if owed is None or host not in fleet.hosts or not _may_begin(world, host, owed, now):
            del patrol.back[host]
        elif (policy := policy_of(fleet, owed.policy).name) not in busy:
            together.setdefault((policy, owed.rollout), []).append(host)
    specs = []
    for (policy, rollout), hosts in together.items():
        if policy in busy:
            continue
        spec = _spec(world, between, fleet.policies[policy], rollout, hosts)
        ready = [host for host in hosts if not _is_blocked(world, spec, host)]
        for host in hosts:
            del patrol.back[host]
        if ready:
            busy.add(policy)
            specs.append(spec if ready == hosts else _spec(world, between, fleet.policies[policy], rollout, ready))
    return specs


def met(world: World, between: Between, now: float) -> list[e.HostAdopted | e.HostOwed]:
    """Return what becomes of hosts that were just seen to have drifted, by the policies with which they were left."""
    patrol, fleet, found = world.patrol, between.fleet(), list[e.HostAdopted | e.HostOwed]()
    if own_is_on_trial(world):
        return []
    if between.is_broken():
        patrol.drifted.clear()
    for host in tuple(patrol.drifted):
        del patrol.drifted[host]
        record, seen = world.record(host), patrol.sightings.get(host)
        if host not in fleet.hosts or seen is None or seen.facts is None or not is_free(world, host):
            continue
        if newer_controller(seen.facts, world) is not None:
            continue  # what another one did there is not to be undone, or taken for ours
        policy, facts = policy_of(fleet, record.policy), seen.facts
        is_ours = stranger_of(record, host, facts) is None and not adoptable(record, host, facts)
        if policy.on_drift is OnDrift.ADOPT and is_ours:
            reason = drift_of(record, facts)
            adopted = e.HostAdopted(now, host, parse_store_path(facts.current), facts.machine_id, BY_POLICY, reason)
            found.append(adopted)
        wants_back = policy.on_drift is OnDrift.RESTORE and record.owed is None
        if wants_back and record.left is not None and record.left not in record.failed:
            found.append(e.HostOwed(now, "", host, record.left, policy.name))
    return found


def dropped(world: World, fleet: Fleet, spec: RolloutSpec, now: float) -> tuple[e.HostNotOwed, ...]:
    """Return the debts that end with a rollback by a person's word: what hosts are owed is what people leave."""
    if spec.kind is not Kind.ROLLBACK or not world.owing:
        return ()
    try:
        selected = select(fleet, spec.on)
    except SelectorError:
        selected = ()
    names = dict.fromkeys((*(plan.name for plan in spec.hosts), *selected))
    reason = f"a rollback: {spec.reason}".rstrip(": ")
    return tuple(e.HostNotOwed(now, host, spec.requested_by, reason) for host in names if host in world.owing)


def policy_of(fleet: Fleet, name: str) -> Policy:
    """Return the policy with which a host was left, or passed over, as it is now; the default one where it is gone."""
    return fleet.policies.get(name) or fleet.policies["default"]


def _may_begin(world: World, host: str, owed: Owed, now: float) -> bool:
    record = world.record(host)
    if owed.given_up or owed.to in record.failed or record.stranded or now < owed.retry_at:
        return False
    return is_free(world, host) and host not in world.fleetwide.locks


def _is_blocked(world: World, spec: RolloutSpec, host: str) -> bool:
    """Whether what was just seen of a host forbids it: a rollout of it would only say so again."""
    seen, owed = world.patrol.sightings.get(host), world.record(host).owed
    if seen is None or seen.facts is None or seen.silent or owed is None:
        return True
    blocked = newer_controller(seen.facts, world) or blocks(spec, host, world.record(host), seen.facts, Task(owed.to))
    return blocked is not None


def _spec(world: World, between: Between, policy: Policy, rollout: str, hosts: Sequence[str]) -> RolloutSpec:
    """One wave without a soak: the revision has proved itself on others. A failure ends it, and takes nobody back."""
    fleet = between.fleet()
    sources = {
        host: _source(fleet.hosts[host], owed) for host in hosts if (owed := world.record(host).owed) is not None
    }
    asked = Asked(
        kind=Kind.CATCH_UP if rollout else Kind.RESTORE,
        revision=f"what {rollout} brought" if rollout else LEFT,
        flake=None,
        on=",".join(hosts),
        goal=Goal.SWITCH,
        requested_by=FLEETD,
        reason=f"{rollout} passed them over, and they can be reached again" if rollout else "on_drift = restore",
        key=None,
    )
    quick = replace(policy, waves=(), on_failure=OnFailure.STOP)
    return specify(fleet, quick, sources, asked, between.contact_s, between.own(fleet))


def _source(host: Host, owed: Owed) -> ToplevelSource:
    """What a host builds itself is known by what it is built from."""
    return Prebuilt(StorePath(owed.derivation) if owed.derivation and host.builds_itself else owed.to)
