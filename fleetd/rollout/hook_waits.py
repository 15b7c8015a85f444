"""What hosts wait for because of their hooks, and which are drained, as people and the API see it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from fleetd.rollout.hooking import under_way, waits_for_person
from fleetd.rollout.hooks import HostHooks, next_hook
from fleetd.rollout.reasons import Blocked, Reason, instant
from fleetd.rollout.states import is_unproven
from fleetd.rollout.world import Rollout, World


def host_hooks_wait(world: World, name: str, host: str) -> Blocked | None:
    """Return what the hooks of a host wait for; None while it waits for something else, as in its trial."""
    rollout, work = world.rollouts[name], world.hooks.get((name, host))
    if work is None or is_unproven(rollout.hosts[host]):
        return None
    if work.flight is not None:
        text = f"its hook {_named(rollout, work.flight.hook)} runs{_again(work)}"
        return Blocked(Reason.HOOK, text, work.flight.deadline, "", (host,))
    hook = next_hook(rollout.header.spec, rollout.plans[host], work, rollout.hosts[host], held=False)
    if hook is not None and work.trying == hook.name and work.tries:
        text = f"its hook {_named(rollout, hook.name)} is run again: {work.problem}"
        return Blocked(Reason.HOOK, text, work.retry_at, "", (host,))
    if hook is not None:
        return Blocked(Reason.HOOK, f"its hook {_named(rollout, hook.name)} is next", None, "", (host,))
    if work.stuck:
        text = f"it may still be out of service: {work.stuck}"
        return Blocked(Reason.DRAINED, text, None, f"fleetctl clear {host}", (host,))
    return None


def rollout_hooks_wait(world: World, rollout: Rollout) -> list[Blocked]:
    """Return what a rollout waits for because of hooks: those that run, and hosts that a person must look at."""
    name = rollout.header.spec.id
    found = [waits for host in under_way(world, name) if (waits := host_hooks_wait(world, name, host)) is not None]
    hosts = tuple(host for waits in found for host in waits.hosts)
    told = [replace(found[0], text=f"{hosts[0]}: {found[0].text}", hosts=hosts)] if found else []
    stuck = tuple(waits_for_person(world, name))
    waits = host_hooks_wait(world, name, stuck[0]) if stuck else None
    if waits is not None:
        told.append(replace(waits, text=f"{stuck[0]}: {waits.text}", hosts=stuck))
    return told


def drained_document(world: World, host: str) -> Mapping[str, object] | None:
    """Return by which rollout a host is drained, and since when; None where it is not."""
    for name, work in world.hooks.of_host(host):
        if work.is_drained:
            return {"rollout": name, "since": instant(work.began_at), "stuck": work.stuck}
    return None


def _named(rollout: Rollout, name: str) -> str:
    when = next(hook.when.value for hook in rollout.header.spec.hooks if hook.name == name)
    return f"{name} ({when})"


def _again(work: HostHooks) -> str:
    return f", try {work.tries + 1}" if work.tries else ""
