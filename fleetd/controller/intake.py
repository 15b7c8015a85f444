"""From a request to a frozen rollout: names resolved, waves laid out, everything refused that cannot be."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from fleetd.controller.commands import (
    AbortRollout,
    Accepted,
    Command,
    Document,
    RequestKey,
    RollBackHosts,
    RollBackRollout,
    SubmitRollout,
)
from fleetd.controller.loop import Controller
from fleetd.errors import FleetdError, NotFoundError, RefusedError, UsageError
from fleetd.executor.on_host import OnHost
from fleetd.model.duration import format_duration
from fleetd.model.fleet import Fleet, Host, Installable, Prebuilt, ToplevelSource
from fleetd.model.goal import Goal
from fleetd.model.policy import STOP_SWITCH_S, Policy, slowest_proof_s
from fleetd.model.selector import EVERY, select
from fleetd.model.store_path import StorePath, parse_store_path
from fleetd.ports import Builder, Clock, FleetSource, Store
from fleetd.rollout.documents import instant, record_document
from fleetd.rollout.spec import HostPlan, Kind, RolloutSpec, Wave
from fleetd.rollout.states import Committed, LiveState, shown

COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
PLAN_TIMEOUT_S = 1800.0
OBSERVE_TIMEOUT_S = 20.0
OBSERVE_AT_ONCE = 50
"""Over all requests together: asking for hosts is open to every reader, and each answer costs a login."""

FRESH_S = 2.0
"""Facts this young are shown as they are: a page that is asked for again and again costs no more logins."""


class Intake:
    """``Control``: the controller as the API, the webhooks and the command line see it."""

    def __init__(
        self,
        *,
        controller: Controller,
        source: FleetSource,
        builder: Builder,
        store: Store,
        on_host: OnHost,
        clock: Clock,
        contact_s: float,
    ) -> None:
        self._controller = controller
        self._source = source
        self._builder = builder
        self._store = store
        self._on_host = on_host
        self._clock = clock
        self._contact_s = contact_s
        self._observing = asyncio.Semaphore(OBSERVE_AT_ONCE)
        self._seen_contact: dict[str, str] = {}
        self.current: Fleet = Fleet({})

    async def reload(self) -> Fleet:
        """Read the fleet anew; addresses, users and keys are live from here on. Raises ConfigError."""
        self.current = await self._source.load()
        return self.current

    async def submit(self, command: Command) -> Accepted:
        """Return once the command is durable."""
        match command:
            case SubmitRollout() | RollBackHosts():
                # Before anything is resolved: a repeat is answered whatever became of the fleet file since.
                repeated = await self.repeat(command.key) if command.key is not None else None
                if repeated is not None:
                    return repeated
                if isinstance(command, SubmitRollout):
                    return await self._controller.submit(await self._spec(command))
                return await self._controller.submit(await self._rollback_spec(command))
            case AbortRollout() | RollBackRollout():
                return await self._controller.submit(command)

    async def repeat(self, key: RequestKey) -> Accepted | None:
        """Return what an earlier request of this key was answered; None when the key is new."""
        return await self._controller.repeat(key)

    # -- rollouts -------------------------------------------------------------------------------------------------

    async def _spec(self, request: SubmitRollout) -> RolloutSpec:
        fleet = await self.reload()
        if not request.goal.is_carried_out:
            raise UsageError(f"goal {request.goal.value!r} is not carried out by this release; use switch")
        policy = fleet.policies.get(request.policy)
        if policy is None:
            raise UsageError(f"no policy {request.policy!r} (there are: {', '.join(sorted(fleet.policies))})")
        names = self._hosts_of(fleet, request)
        flake = self._flake(fleet, request, names)
        sources = {name: self._source_of(fleet.hosts[name], request, fleet, flake) for name in names}
        for name, source in sources.items():
            if isinstance(source, Prebuilt):
                await self._store.check_toplevel(source.toplevel, fleet.hosts[name])
        locks = any(
            isinstance(s, Installable) and flake is not None and s.text.startswith(f"{flake}#")
            for s in sources.values()
        )
        shown_revision = request.revision or flake or "prebuilt toplevels"
        return self._make(fleet, policy, names, sources, request, shown_revision, flake if locks else None)

    def _hosts_of(self, fleet: Fleet, request: SubmitRollout) -> tuple[str, ...]:
        unknown = sorted(set(request.toplevels) - set(fleet.hosts))
        if unknown:
            raise UsageError(f"toplevel for {unknown[0]!r}, which is not in the fleet")
        if request.on:
            return select(fleet, request.on)
        return tuple(name for name in fleet.hosts if name in request.toplevels) or tuple(fleet.hosts)

    def _flake(self, fleet: Fleet, request: SubmitRollout, names: Sequence[str]) -> str | None:
        if request.revision is None:
            return fleet.flake
        if COMMIT.fullmatch(request.revision) is not None:
            if fleet.flake is None:
                raise UsageError("a commit needs a configured flake ([fleet] ref) to be a commit of")
            joint = "&" if "?" in fleet.flake else "?"
            return f"{fleet.flake}{joint}rev={request.revision}"
        if request.revision.startswith("-"):
            raise UsageError(f"{request.revision!r} is not a revision")
        return request.revision

    def _source_of(self, host: Host, request: SubmitRollout, fleet: Fleet, flake: str | None) -> ToplevelSource:
        given = request.toplevels.get(host.name)
        if given is not None:
            return Prebuilt(parse_store_path(given))
        attribute = f"#nixosConfigurations.{host.name}.config.system.build.toplevel"
        configured = host.source
        of_fleet = isinstance(configured, Installable) and fleet.flake is not None
        if flake is not None and (
            configured is None or (of_fleet and configured == Installable(f"{fleet.flake}{attribute}"))
        ):
            return Installable(flake + attribute)
        if configured is None:
            raise UsageError(f"{host.name}: nothing says what to deploy there (toplevel, installable, file or flake)")
        return configured

    def _make(
        self,
        fleet: Fleet,
        policy: Policy,
        names: Sequence[str],
        sources: Mapping[str, ToplevelSource],
        request: SubmitRollout,
        revision: str,
        flake: str | None,
        kind: Kind = Kind.DEPLOY,
    ) -> RolloutSpec:
        checks_on = {check.name: set(select(fleet, check.on)) for check in fleet.checks}
        plans = tuple(
            HostPlan(
                name=name,
                source=sources[name],
                domain=fleet.hosts[name].domain,
                depends_on=fleet.hosts[name].depends_on,
                checks=tuple(check.name for check in fleet.checks if name in checks_on[check.name]),
            )
            for name in names
        )
        used = {check for plan in plans for check in plan.checks}
        return RolloutSpec(
            id="",
            kind=kind,
            revision=revision,
            flake=flake,
            on=request.on or EVERY,
            goal=request.goal,
            policy=policy,
            checks=tuple(check for check in fleet.checks if check.name in used),
            hosts=plans,
            waves=lay_out(fleet, policy, names),
            requested_by=request.requested_by,
            reason=request.reason,
            contact_s=self._contact_s,
            key=request.key.name if request.key else None,
            request=request.key.digest if request.key else "",
        )

    async def _rollback_spec(self, request: RollBackHosts) -> RolloutSpec:
        """A rollback by a person's word: one wave, no soak, to last good or to what an earlier rollout left."""
        fleet = await self.reload()
        names = select(fleet, request.on or EVERY)
        targets: dict[str, ToplevelSource] = {}
        for name in names:
            target = self._target(name, request.to)
            if target is not None:
                targets[name] = Prebuilt(target)
        if not targets:
            raise RefusedError("no selected host has an earlier system that fleetd knows to have been good")
        chosen = [name for name in names if name in targets]
        policy = fleet.policies["default"]
        quick = replace(policy, waves=(), max_parallel=policy.rollback_max_parallel)
        as_submit = SubmitRollout(
            request.requested_by, request.key, None, {}, request.on, policy.name, Goal.SWITCH, request.reason
        )
        revision = f"what {request.to} left" if request.to else "last good"
        return self._make(fleet, quick, chosen, targets, as_submit, revision, None, Kind.ROLLBACK)

    def _target(self, host: str, to: str | None) -> StorePath | None:
        world = self._controller.world
        if to is not None:
            rollout = world.rollouts.get(to)
            if rollout is None:
                raise NotFoundError(f"there is no rollout {to!r}")
            state = rollout.hosts.get(host)
            return state.task.to if isinstance(state, Committed) else None
        record = world.record(host)
        return record.good_before if record.left == record.last_good else record.last_good

    # -- views ----------------------------------------------------------------------------------------------------

    async def plan(self, request: SubmitRollout) -> Document:
        """Evaluate, and show what a rollout would do; nothing is done."""
        spec = await self._spec(request)
        targets: dict[str, str] = {}
        errors: list[Document] = []

        async def evaluate(plan: HostPlan) -> None:
            try:
                if isinstance(plan.source, Prebuilt):
                    targets[plan.name] = plan.source.toplevel
                    return
                derivation = await self._builder.evaluate(plan.name, plan.source, timeout_s=PLAN_TIMEOUT_S)
                targets[plan.name] = derivation
            except FleetdError as error:
                errors.append({"host": plan.name, "message": str(error)})

        limit = asyncio.Semaphore(2)

        async def bounded(plan: HostPlan) -> None:
            async with limit:
                await evaluate(plan)

        observed = {str(host["name"]): host for host in await self.hosts(",".join(plan.name for plan in spec.hosts))}
        await asyncio.gather(*(bounded(plan) for plan in spec.hosts))
        waves = [
            {
                "name": wave.name,
                "soak": format_duration(wave.soak_s),
                "hosts": [{"name": n, "from": observed[n]["current"], "to": targets.get(n)} for n in wave.hosts],
            }
            for wave in spec.waves
        ]
        unchanged = [name for name, to in targets.items() if observed[name]["current"] == to]
        policy, proof_s = spec.policy, slowest_proof_s(spec.checks)
        lost_s = policy.contact_timeout_s + policy.revert_timeout_s
        times = {
            "network_lost": f"back within {format_duration(lost_s)} of the switch's end, at most "
            f"{format_duration(policy.switch_timeout_s + STOP_SWITCH_S + lost_s)}",
            "bad_health": "back within "
            + format_duration(policy.healthy_deadline_s + proof_s + policy.revert_timeout_s),
        }
        parallel = policy.max_parallel.rounded_down(len(spec.hosts))
        return {
            "waves": waves,
            "policy": policy.name,
            "max_parallel": parallel,
            "unchanged": unchanged,
            "errors": sorted(errors, key=lambda error: str(error["host"])),
            "times": times,
        }

    async def fleet(self) -> Document:
        """Return the fleet as read."""
        fleet = self.current
        return {
            "hosts": [
                {"name": h.name, "addresses": list(h.addresses), "tags": list(h.tags), "domain": h.domain}
                for h in fleet.hosts.values()
            ],
            "policies": sorted(fleet.policies),
            "checks": [{"name": check.name, "on": check.on} for check in fleet.checks],
        }

    async def hosts(
        self, on: str, *, state: str | None = None, after: str | None = None, limit: int | None = None
    ) -> Sequence[Document]:
        """Return what is known of the selected hosts, asking those of the page that were not heard of just now."""
        fleet = self.current if self.current.hosts else await self.reload()
        names = sorted(select(fleet, on or EVERY))
        names = [name for name in names if after is None or name > after]
        names = [name for name in names if state is None or self._state(name) == state][:limit]

        async def observe(name: str) -> None:
            async with self._observing:
                try:
                    await self._on_host.facts(fleet.hosts[name], timeout_s=OBSERVE_TIMEOUT_S)
                    self._seen_contact[name] = "ok"
                except FleetdError as error:
                    self._seen_contact[name] = f"{error.kind}: {error}"

        # A host whose switch is under way is left alone: a login that comes and goes can end its switch.
        idle = [name for name in names if not self._is_switching(name) and not self._is_fresh(name)]
        await asyncio.gather(*(observe(name) for name in idle))
        return [self._host_document(name) for name in names]

    def _is_switching(self, name: str) -> bool:
        active = self._controller.world.active()
        return any(isinstance(rollout.hosts.get(name), LiveState) for _id, rollout in active)

    def _is_fresh(self, name: str) -> bool:
        newest = self._on_host.newest_facts(name)
        is_well = self._seen_contact.get(name) == "ok"
        return is_well and newest is not None and self._clock.now() - newest[1] < FRESH_S

    def _state(self, name: str) -> str:
        world = self._controller.world
        owner = world.owner(name)
        return shown(world.rollouts[owner].hosts[name]) if owner is not None else "idle"

    def _host_document(self, name: str) -> Document:
        world = self._controller.world
        record, newest = world.record(name), self._on_host.newest_facts(name)
        owner = world.owner(name)
        facts, at = newest if newest is not None else (None, None)
        drifted = facts is not None and record.left is not None and facts.current != record.left and owner is None
        return {
            "name": name,
            "domain": self.current.hosts[name].domain,
            "tags": list(self.current.hosts[name].tags),
            "current": facts.current if facts else None,
            "booted": facts.booted if facts else None,
            "profile": facts.profile if facts else None,
            "boot_default": facts.boot_default if facts else None,
            "state": self._state(name),
            "contact": self._seen_contact.get(name, "never"),
            "drifted": drifted,
            "needs_reboot": facts.needs_reboot if facts else None,
            "observed_at": instant(at),
            "blocked_by": [],
            **record_document(record),
        }

    def problems(self) -> Sequence[str]:
        """Return why the controller is not ready."""
        return [] if self._controller.started else ["the journal is being read"]


def lay_out(fleet: Fleet, policy: Policy, names: Sequence[str]) -> tuple[Wave, ...]:
    """Return the waves: sizes round up, domain by domain, and whatever is left is the last one."""
    domains = list(dict.fromkeys(fleet.hosts[name].domain for name in names))
    left = sorted(names, key=lambda name: domains.index(fleet.hosts[name].domain))
    waves: list[Wave] = []
    for wave in policy.waves:
        if wave.on:
            wanted = set(select(fleet, wave.on))
            chosen = [name for name in left if name in wanted]
        else:
            chosen = left[: wave.size.rounded_up(len(names))]
        left = [name for name in left if name not in chosen]
        if chosen:
            waves.append(Wave(wave.name, tuple(chosen), wave.soak_s))
    if left:
        waves.append(Wave("rest", tuple(left)))
    return tuple(waves)
