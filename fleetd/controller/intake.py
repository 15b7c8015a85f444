"""``Control`` for everybody outside: requests become frozen rollouts, and what is known becomes documents."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from fleetd.controller.commands import (
    Accepted,
    AdoptHost,
    Command,
    Document,
    Figures,
    LockHost,
    RebootHosts,
    RequestKey,
    RestoreHost,
    RollBackHosts,
    SubmitRollout,
)
from fleetd.controller.figures import figures_of
from fleetd.controller.holds import hold_document
from fleetd.controller.host_view import observed_host
from fleetd.controller.loop import Controller
from fleetd.controller.preview import Preview, foreseen
from fleetd.controller.resolve import Asked, check_allowed, deploy_of, reboot_of, restore_of, selected, specify
from fleetd.errors import ConfigError, FleetdError, NotFoundError, RefusedError, SourceError, UsageError
from fleetd.executor.activity import Activity
from fleetd.executor.on_host import OnHost
from fleetd.model.duration import format_duration
from fleetd.model.fleet import Fleet, Host, Prebuilt, ToplevelSource
from fleetd.model.goal import Goal
from fleetd.model.selector import EVERY, select
from fleetd.model.store_path import StorePath, is_store_path
from fleetd.ports import Builder, Clock, Comparer, FleetSource, Store
from fleetd.rollout.baseline import missing
from fleetd.rollout.blocked import Blocked, explain, host_waits
from fleetd.rollout.owed import owed_waits
from fleetd.rollout.patrol import is_free
from fleetd.rollout.preflight import drift_of, finding_documents
from fleetd.rollout.spec import Kind, RolloutSpec
from fleetd.rollout.states import Committed, Current, LiveState, Lost, Stranded, shown

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
        comparer: Comparer,
        on_host: OnHost,
        activity: Activity,
        clock: Clock,
        contact_s: float,
        allowed: Sequence[str] = (),
        own: Callable[[Fleet], str | None] = lambda _fleet: None,
    ) -> None:
        self._own = own
        self._allowed = allowed
        self._controller = controller
        self._source = source
        self._preview = Preview(builder, store, comparer)
        self._store = store
        self._on_host = on_host
        self._activity = activity
        self._clock = clock
        self._contact_s = contact_s
        self._ticked = asyncio.Event()
        controller.on_tick = self._tell_tick
        self._reloading = asyncio.Lock()
        self._observing = asyncio.Semaphore(OBSERVE_AT_ONCE)
        self._seen_contact: dict[str, str] = {}
        self.current: Fleet = Fleet({})
        self.fleet_problem = ""
        """What is wrong with the fleet file, when it was read last; ``current`` is then an older one."""

    async def start(self) -> None:
        """Read the fleet, or the last good one when it is broken now: hosts in trial must not wait for an editor.

        Raises ConfigError, SourceError when there is no last good one.
        """
        try:
            await self.reload()
        except (ConfigError, SourceError) as error:
            try:
                kept = await self._source.last_good()
            except ConfigError as unkept:
                # The mistake that a person can mend is in the fleet.
                raise ConfigError(f"{error}\nand the last good one cannot serve: {unkept}") from error
            if kept is None:
                raise
            self.current = kept

    async def reload(self) -> Fleet:
        """Read the fleet anew; addresses, users and keys are live from here on. Raises ConfigError, SourceError."""
        # One at a time: what was read later must not be replaced by what was read before it.
        async with self._reloading:
            try:
                self.current = await self._source.load()
            except (ConfigError, SourceError) as error:
                self.fleet_problem = str(error)
                raise
            self.fleet_problem = ""
            return self.current

    async def submit(self, command: Command) -> Accepted:
        """Return once the command is durable."""
        match command:
            case SubmitRollout() | RollBackHosts() | RebootHosts() | RestoreHost():
                # Before anything is resolved: a repeat is answered whatever became of the fleet file since.
                repeated = await self.repeat(command.key) if command.key is not None else None
                if repeated is not None:
                    return repeated
                if isinstance(command, SubmitRollout):
                    return await self._controller.submit((await self._spec(command))[1])
                if isinstance(command, RestoreHost):
                    return await self._controller.submit(await self._restore_spec(command))
                if isinstance(command, RebootHosts):
                    return await self._controller.submit(await self._reboot_spec(command))
                return await self._controller.submit(await self._rollback_spec(command))
            case LockHost() | AdoptHost() if command.host not in (await self._known_fleet()).hosts:
                # A typo would lock nothing, and be believed.
                raise NotFoundError(f"there is no host {command.host!r}")
            case AdoptHost() if is_free(self._controller.world, command.host):
                facts = await self._on_host.facts(self.current.hosts[command.host], timeout_s=OBSERVE_TIMEOUT_S)
                return await self._controller.submit(replace(command, facts=facts))
            case _:
                return await self._controller.submit(command)

    async def repeat(self, key: RequestKey) -> Accepted | None:
        """Return what an earlier request of this key was answered; None when the key is new."""
        return await self._controller.repeat(key)

    # -- rollouts -------------------------------------------------------------------------------------------------

    async def _spec(self, request: SubmitRollout) -> tuple[Fleet, RolloutSpec]:
        """Return what is asked for, and the fleet it was resolved with: ``current`` may be a newer one by then."""
        check_allowed(request.revision, self._allowed)
        fleet = await self.reload()
        spec = deploy_of(fleet, request, self._contact_s, self._own(fleet))
        for plan in spec.hosts:
            if isinstance(plan.source, Prebuilt):
                await self._store.check_toplevel(plan.source.toplevel, fleet.hosts[plan.name])
        return fleet, spec

    async def _rollback_spec(self, request: RollBackHosts) -> RolloutSpec:
        """A rollback by a person's word: one wave, no soak, to last good or to what an earlier rollout left.

        Raises RefusedError for a host that was asked for and has no such system: left out in silence, it would count
        as done. Where no hosts are named, those are meant that have one.
        """
        fleet = await self.reload()
        found = {name: self._target(name, request.to) for name in selected(fleet, request.on or EVERY)}
        targets: dict[str, ToplevelSource] = {name: Prebuilt(to) for name, to in found.items() if to is not None}
        without = [name for name, to in found.items() if to is None]
        earlier = f"system that {request.to} left there" if request.to else "earlier system known to have been good"
        if not targets:
            raise RefusedError(f"for no selected host there is any {earlier}")
        if request.on and without:
            shown = ", ".join(without[:10]) + (f" and {len(without) - 10} more" if len(without) > 10 else "")
            raise RefusedError(f"nothing was started: there is no {earlier} for {shown}; select hosts without them")
        policy = fleet.policies["default"]
        quick = replace(policy, waves=(), windows=(), max_parallel=policy.rollback_max_parallel)
        asked = Asked(
            kind=Kind.ROLLBACK,
            revision=f"what {request.to} left" if request.to else "last good",
            flake=None,
            on=request.on or EVERY,
            goal=Goal.SWITCH,
            requested_by=request.requested_by,
            reason=request.reason,
            key=request.key,
        )
        return specify(fleet, quick, targets, asked, self._contact_s, self._own(fleet))

    async def _reboot_spec(self, request: RebootHosts) -> RolloutSpec:
        """Every selected host with what it runs now. Raises UsageError, and RefusedError for one that nobody knows."""
        if not request.on:
            raise UsageError("a reboot names its hosts; all of them are '*'")
        fleet = await self.reload()
        names = selected(fleet, request.on)
        seen = {str(host["name"]): host for host in await self._looked_at(fleet, names)}
        # One that does not answer just now is left to its wave, which asks again.
        runs = {name: str(seen[name]["current"] or self._controller.world.record(name).left or "") for name in names}
        unknown = [name for name, system in runs.items() if not is_store_path(system)]
        if unknown:
            shown = ", ".join(unknown[:10]) + (f" and {len(unknown) - 10} more" if len(unknown) > 10 else "")
            raise RefusedError(f"nothing was started: it is not known what runs on {shown}; select hosts without them")
        return reboot_of(fleet, request, runs, self._contact_s, self._own(fleet))

    async def _restore_spec(self, request: RestoreHost) -> RolloutSpec:
        """One host with what fleetd last left there. Raises NotFoundError, RefusedError where it runs that."""
        fleet, name = await self.reload(), request.host
        if name not in fleet.hosts:
            raise NotFoundError(f"there is no host {name!r}")
        record = self._controller.world.record(name)
        if record.left is None:
            raise RefusedError(f"fleetd never left anything on {name}: there is nothing to bring back")
        await self._looked_at(fleet, [name])
        newest = self._on_host.newest_facts(name)
        if newest is not None and self._seen_contact.get(name) == "ok" and not drift_of(record, newest[0]):
            raise RefusedError(f"{name} runs what fleetd left there: there is nothing to bring back")
        return restore_of(fleet, request, record.left, record.policy, self._contact_s, self._own(fleet))

    def _target(self, host: str, to: str | None) -> StorePath | None:
        world = self._controller.world
        if to is not None:
            rollout = world.rollouts.get(to)
            if rollout is None:
                raise missing(world, to)
            state = rollout.hosts.get(host)
            # One that ran it already was left with it as well.
            return state.task.to if isinstance(state, Committed | Current) else None
        record = world.record(host)
        if record.owed is not None:
            return record.left  # it never had what the others are taken back from
        newest = self._on_host.newest_facts(host)
        if record.kept is not None and (newest is None or newest[0].current == record.kept):
            return record.left  # what boots ends a test that goes on running
        return record.good_before if record.left == record.last_good else record.last_good

    # -- views ----------------------------------------------------------------------------------------------------

    async def plan(self, request: SubmitRollout) -> Document:
        """Evaluate, and show what a rollout would do; nothing is done."""
        fleet, spec = await self._spec(request)
        targets, errors = await self._preview.targets(spec)
        observed = {str(host["name"]): host for host in await self._looked_at(fleet, [p.name for p in spec.hosts])}
        current = {name: host["current"] for name, host in observed.items()}
        differences = await self._preview.differences(current, targets)
        waves = [
            {
                "name": wave.name,
                "soak": format_duration(wave.soak_s),
                "hosts": [
                    {"name": n, "from": current[n], "to": targets.get(n), "difference": differences.get(n)}
                    for n in wave.hosts
                ],
            }
            for wave in spec.waves
        ]
        unchanged = [name for name, to in targets.items() if current[name] == to]
        return {
            "waves": waves,
            "policy": spec.policy.name,
            "goal": spec.goal.value,
            "max_parallel": spec.policy.max_parallel.rounded_down(len(spec.hosts)),
            "unchanged": unchanged,
            "findings": [{"host": name, **finding} for name in observed for finding in self._findings(name)],
            "errors": errors,
            **foreseen(spec),
        }

    async def difference(self, request: SubmitRollout) -> Document:
        """Build what one host would get, and say how it differs from what runs there. Raises FleetdError."""
        fleet, spec = await self._spec(request)
        name = spec.hosts[0].name
        if len(spec.hosts) != 1:
            raise UsageError(f"{request.on!r} selects {len(spec.hosts)} hosts, and one is compared at a time")
        (observed,) = await self._looked_at(fleet, [name])
        return await self._preview.difference(fleet.hosts[name], observed["current"], spec)

    async def fleet(self) -> Document:
        """Return the fleet as read."""
        fleet = self.current
        return {
            "hosts": [
                {
                    "name": h.name,
                    "addresses": list(h.addresses),
                    "port": h.port,
                    "user": h.user,
                    "jump": h.jump,
                    "tags": list(h.tags),
                    "domain": h.domain,
                }
                for h in fleet.hosts.values()
            ],
            "policies": sorted(fleet.policies),
            "checks": [{"name": check.name, "on": check.on} for check in fleet.checks],
            "problem": self.fleet_problem,
        }

    async def hosts(
        self, on: str, *, state: str | None = None, after: str | None = None, limit: int | None = None
    ) -> Sequence[Document]:
        """Return what is known of the selected hosts, asking those of the page that were not heard of just now."""
        fleet = await self._known_fleet()
        names = sorted(select(fleet, on or EVERY))
        names = [name for name in names if after is None or name > after]
        return await self._looked_at(
            fleet, [name for name in names if state is None or self._state(name) == state][:limit]
        )

    async def _known_fleet(self) -> Fleet:
        return self.current if self.current.hosts else await self.reload()

    async def _looked_at(self, fleet: Fleet, names: Sequence[str]) -> Sequence[Document]:
        """Ask hosts of a fleet, and hold on to it: read anew meanwhile, it may have lost one of them."""

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
        return [self._host_document(fleet.hosts[name]) for name in names]

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

    def _host_document(self, host: Host) -> Document:
        name = host.name
        newest, contact = self._on_host.newest_facts(name), self._seen_contact.get(name, "never")
        return observed_host(self._controller.world, host, newest, self._state(name), contact, self._waits(name))

    def _findings(self, name: str) -> list[Mapping[str, str]]:
        """Return what people should know of a host, as far as it was ever heard."""
        return finding_documents(*newest) if (newest := self._on_host.newest_facts(name)) is not None else []

    def _waits(self, name: str) -> list[Blocked]:
        """Return what a host waits for: in the rollout that owns it, and for a person where one lost or stranded it."""
        world, now = self._controller.world, self._clock.now()
        owner, rollouts = world.owner(name), world.rollouts.items()
        held = [rollout for rollout, of in rollouts if isinstance(of.hosts.get(name), Lost | Stranded)]
        held += [rollout for rollout, _work in world.hooks.of_host(name)]
        about = dict.fromkeys([*held, *([owner] if owner is not None else [])])
        waits = [host_waits(world, rollout, name, now) for rollout in about]
        return [one for one in (*waits, owed_waits(world.record(name), name)) if one is not None]

    def freeze(self) -> Document:
        """Return whether the fleet is frozen: for whom, why, since when and until when."""
        return {"freeze": hold_document(self._controller.world.fleetwide.freeze)}

    async def explain(self, rollout: str) -> str:
        """Return a whole rollout as text: where it stands, what everything in it waits for. Raises NotFoundError."""
        if rollout not in self._controller.world.rollouts:
            raise missing(self._controller.world, rollout)
        return explain(self._controller.world, rollout, self._clock.now())

    def missing(self, rollout: str) -> NotFoundError:
        """Return what to tell of a rollout that is not there: it never was, or is kept no more."""
        return missing(self._controller.world, rollout)

    async def progress(self, rollout: str) -> Document:
        """Return how far what is under way in a rollout is, host by host. Raises NotFoundError."""
        if rollout not in self._controller.world.rollouts:
            raise missing(self._controller.world, rollout)
        return {"hosts": self._activity.of(rollout)}

    async def changed(self, after: int, timeout_s: float) -> bool:
        """Wait until a record with a larger number is on disk; False when the time is up before."""
        try:
            async with asyncio.timeout(timeout_s):
                while self._controller.durable_seq <= after:
                    await self._ticked.wait()
        except TimeoutError:
            return False
        return True

    def _tell_tick(self) -> None:
        self._ticked.set()
        self._ticked = asyncio.Event()

    def figures(self) -> Figures:
        """Count what there is."""
        return figures_of(self._controller.world, self.current, bool(self.fleet_problem))

    def problems(self) -> Sequence[str]:
        """Return why the controller is not ready."""
        return [] if self._controller.started else ["the journal is being read"]
