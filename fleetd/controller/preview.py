"""What a deploy would bring to hosts, without doing it: targets, and how they differ from what runs."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import asdict

from fleetd.controller.commands import Document
from fleetd.errors import FleetdError, SourceError, UsageError
from fleetd.executor.sources import at_revision
from fleetd.model.difference import SystemDiff
from fleetd.model.duration import format_duration
from fleetd.model.fleet import Host, Prebuilt, ToplevelSource
from fleetd.model.policy import STOP_SWITCH_S, slowest_proof_s
from fleetd.model.store_path import StorePath
from fleetd.ports import Builder, Comparer, Store
from fleetd.rollout.spec import HostPlan, RolloutSpec
from fleetd.rollout.timing import SOAK_ASKS_PER_S, asks_a_round, soak_interval_s

PLAN_TIMEOUT_S = 1800.0
COMPARED_AT_ONCE = 4
"""Each reads the metadata of two closures, about 1 MB each."""


def foreseen(spec: RolloutSpec) -> Document:
    """Return what a rollout would run beside its switches, and how long hosts may be away."""
    return {"hooks": _hooks_of(spec), "times": times_of(spec)}


def _hooks_of(spec: RolloutSpec) -> list[Document]:
    return [
        {
            "name": hook.name,
            "when": hook.when.value,
            "where": hook.where.value,
            "program": hook.command[0].rpartition("/")[2],
            "timeout": format_duration(hook.timeout_s),
            "on_failure": hook.on_failure.value,
            "hosts": [plan.name for plan in spec.hosts if hook.name in plan.hooks],
        }
        for hook in spec.hooks
    ]


def times_of(spec: RolloutSpec) -> Document:
    """Return how long hosts may at most be without their network, or unwell, until they are back, as text."""
    policy, proof_s = spec.policy, slowest_proof_s(spec.checks)
    lost_s = policy.contact_timeout_s + policy.revert_timeout_s
    in_all_s = policy.switch_timeout_s + STOP_SWITCH_S + lost_s
    unwell_s = policy.healthy_deadline_s + proof_s + policy.revert_timeout_s
    return {
        "network_lost": f"back within {format_duration(lost_s)} of the switch's end, at most "
        f"{format_duration(in_all_s)}",
        "bad_health": f"back within {format_duration(unwell_s)}",
        "soak_rounds": _soak_rounds(spec),
    }


def _soak_rounds(spec: RolloutSpec) -> str:
    """Return how often hosts are checked once all are in soak, and why not as often as the checks say."""
    asks = len(spec.hosts) * asks_a_round(spec)
    wanted_s, rounds_s = soak_interval_s(spec.checks, 0), soak_interval_s(spec.checks, asks)
    if rounds_s <= wanted_s:
        return f"every {format_duration(wanted_s)}"
    return (
        f"every {format_duration(rounds_s)} instead of {format_duration(wanted_s)} once all hosts are in soak: "
        f"{asks} questions a round, at most {SOAK_ASKS_PER_S} a second"
    )


class Preview:
    """Evaluates, compares, and for one host builds; no host is touched."""

    def __init__(self, builder: Builder, store: Store, comparer: Comparer) -> None:
        self._builder = builder
        self._store = store
        self._comparer = comparer
        self._slots = asyncio.Semaphore(COMPARED_AT_ONCE)

    async def targets(self, spec: RolloutSpec) -> tuple[dict[str, str], list[Document]]:
        """Return the derivation or toplevel of each host, and the errors of those that do not evaluate, by name."""
        found: dict[str, str] = {}
        errors: list[Document] = []
        locked = await self._locked(spec.flake)

        async def evaluate(plan: HostPlan) -> None:
            try:
                found[plan.name] = await self._evaluate(plan.name, at_revision(plan.source, spec.flake, locked))
            except FleetdError as error:
                errors.append({"host": plan.name, "message": str(error)})

        # How many at once is the builder's to bound: a rollout that evaluates shares the same memory.
        await asyncio.gather(*(evaluate(plan) for plan in spec.hosts))
        return found, sorted(errors, key=lambda error: str(error["host"]))

    async def differences(self, current: Mapping[str, object], targets: Mapping[str, str]) -> Mapping[str, Document]:
        """Return what would change on each host whose systems are both in the store here; the others are left out."""
        found: dict[str, Document] = {}

        async def compare(name: str) -> None:
            old = current.get(name)
            try:
                async with self._slots:
                    new = await self._comparer.built(targets[name]) if isinstance(old, str) else None
                    if isinstance(old, str) and new is not None and await self._comparer.built(old) is not None:
                        found[name] = difference_document(await self._comparer.compare(StorePath(old), new))
            except FleetdError:
                # A plan is made without it; asked for by itself, the reason is told.
                return

        await asyncio.gather(*(compare(name) for name in targets))
        return found

    async def difference(self, host: Host, current: object, spec: RolloutSpec) -> Document:
        """Build what one host would get, and compare it with what runs there. Raises FleetdError."""
        if not isinstance(current, str):
            raise UsageError(f"{host.name}: it is not known what runs there, so nothing can be compared with it")
        if await self._comparer.built(current) is None:
            raise UsageError(f"{host.name}: {current} runs there and is not in the control node's store")
        source = at_revision(spec.hosts[0].source, spec.flake, await self._locked(spec.flake))
        target = await self._evaluate(host.name, source)
        if host.builds_itself and target.endswith(".drv"):
            raise UsageError(f"{host.name} builds itself (build_on), so what it would get is not in the store here")
        new = await self._builder.build(target, f"diff/{host.name}", timeout_s=PLAN_TIMEOUT_S)
        await self._store.check_toplevel(new, host)
        different = difference_document(await self._comparer.compare(StorePath(current), new))
        return {"host": host.name, "from": current, "to": new, "difference": different}

    async def _evaluate(self, name: str, source: ToplevelSource) -> str:
        if isinstance(source, Prebuilt):
            return source.toplevel
        return await self._builder.evaluate(name, source, timeout_s=PLAN_TIMEOUT_S)

    async def _locked(self, flake: str | None) -> str | None:
        """Return what a reference is now, so that what was evaluated before is not again; None where it has no name."""
        if flake is None:
            return None
        try:
            return await self._builder.lock(flake, timeout_s=PLAN_TIMEOUT_S)
        except SourceError:
            # A tree with changes can be looked at, though not rolled out; anything else the evaluation tells.
            return None


def difference_document(found: SystemDiff) -> Document:
    """Return a difference as the API shows it."""
    return asdict(found)
