"""Hooks in simulated fleets: which there are, machines that are drained by them, and what is promised of both."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from random import Random

from fleetd.errors import OutcomeUnknown, Unreachable
from fleetd.model.fleet import Host
from fleetd.model.hook import Hook, HookEnd, OnHookFailure, When, Where
from fleetd.model.program import ProgramEnd
from fleetd.rollout import events as e
from fleetd.rollout.spec import RolloutSpec
from fleetd.rollout.states import Direction, Lost, is_unproven
from fleetd.rollout.world import World
from tests.simulation.sim_machine import SimMachine
from tests.simulation.sim_ports import Uplink

Require = Callable[[object, str], None]

DRAIN, RETURN = "drain", "return"
"""The hooks that take a machine's load away and give it back; others only run."""


@dataclass(frozen=True, slots=True)
class Hooked:
    """The hooks of a fleet, who has them, and how reliable they are until nothing goes wrong any more."""

    hooks: tuple[Hook, ...]
    hosts: tuple[str, ...]
    fails: float = 0.0
    slow_s: float = 5.0
    broken: tuple[str, ...] = ()
    """Hooks that never succeed."""


def drain(on_failure: OnHookFailure = OnHookFailure.SKIP_HOST, where: Where = Where.CONTROLLER) -> tuple[Hook, ...]:
    """Return the usual pair."""
    return (
        Hook(DRAIN, "*", When.BEFORE, where, (DRAIN,), 60.0, on_failure),
        Hook(RETURN, "*", When.ALWAYS_AFTER, where, (RETURN,), 60.0, OnHookFailure.FAIL),
    )


def draw_hooks(rng: Random, fleet: tuple[str, ...]) -> Hooked | None:
    """Return hooks for some fleets."""
    if rng.random() < 0.5:
        return None
    where = rng.choice(tuple(Where))
    hooks = list(drain(rng.choice(tuple(OnHookFailure)), where))
    if rng.random() < 0.4:
        hooks.insert(1, replace(hooks[0], name="second", command=("second",)))
    for when in (When.AFTER_COMMIT, When.AFTER_REVERT, When.ALWAYS_AFTER):
        if rng.random() < 0.4:
            end = rng.choice((OnHookFailure.FAIL, OnHookFailure.IGNORE, OnHookFailure.IGNORE))
            hooks.append(Hook(when.value, "*", when, rng.choice(tuple(Where)), ("tell",), 60.0, end))
    hosts = tuple(host for host in fleet if rng.random() < 0.7)
    return Hooked(tuple(hooks), hosts, rng.choice((0.0, 0.0, 0.1, 0.4)), rng.choice((1.0, 5.0, 70.0)))


def with_hooks(spec: RolloutSpec, hooked: Hooked | None) -> RolloutSpec:
    """Return a specification with the hooks of its hosts."""
    if hooked is None:
        return spec
    names = tuple(hook.name for hook in hooked.hooks)
    hosts = tuple(replace(plan, hooks=names) if plan.name in hooked.hosts else plan for plan in spec.hosts)
    return replace(spec, hosts=hosts, hooks=hooked.hooks)


class SimHookRunner:
    """The port ``HookRunner``: ``drained`` are the machines that carry no load.

    What ran when the controller died is ended by the next hook of the same host, as the real one does.
    """

    def __init__(self, machines: Mapping[str, SimMachine], hooked: Hooked | None, rng: Random, uplink: Uplink) -> None:
        self._machines = machines
        self._hooked = Hooked((), ()) if hooked is None else hooked
        self._rng = rng
        self._uplink = uplink
        self.drained: dict[str, None] = {}
        self._left: dict[str, asyncio.TimerHandle] = {}

    def calm(self) -> None:
        """Let every hook succeed from now on."""
        self._hooked = replace(self._hooked, fails=0.0, broken=())

    async def on_controller(self, hook: Hook, host: Host, about: Mapping[str, str], *, alone: str) -> ProgramEnd:
        """Run it there."""
        return await self._run(hook, host, about, alone)

    async def on_host(
        self, hook: Hook, host: Host, about: Mapping[str, str], *, alone: str, contact_s: float
    ) -> ProgramEnd:
        """Run it on the host, if it is there; what is lost is whether it ran."""
        if not self._reaches(host):
            await asyncio.sleep(contact_s)
            raise Unreachable(f"{host.name}: no answer")
        end = await self._run(hook, host, about, alone)
        if not self._reaches(host):
            raise OutcomeUnknown(f"{host.name}: the link was lost")
        return end

    def _reaches(self, host: Host) -> bool:
        return self._uplink.up and self._machines[host.name].reachable

    async def _run(self, hook: Hook, host: Host, about: Mapping[str, str], alone: str) -> ProgramEnd:
        assert about["FLEETD_HOST"] == host.name
        if (left := self._left.pop(alone, None)) is not None:
            left.cancel()
        takes_s = self._rng.uniform(0.1, self._hooked.slow_s)
        fails = self._rng.random() < self._hooked.fails or hook.name in self._hooked.broken
        # Half of what fails has done its work before; and it does it whether or not anybody still waits for it.
        if not fails or self._rng.random() < 0.5:
            work = self._effect(hook, host.name)
            self._left[alone] = asyncio.get_running_loop().call_later(min(takes_s, hook.timeout_s) * 0.9, work)
        if takes_s > hook.timeout_s:
            await asyncio.sleep(hook.timeout_s)
            return ProgramEnd(False, f"{hook.name} did not end within 1m", "")
        await asyncio.sleep(takes_s)
        return ProgramEnd(not fails, f"{hook.name} ended with {int(fails)}", "")

    def _effect(self, hook: Hook, host: str) -> Callable[[], None]:
        def happen() -> None:
            if hook.name == DRAIN:
                self.drained[host] = None
            elif hook.name == RETURN:
                self.drained.pop(host, None)

        return happen


@dataclass(slots=True)
class _Owed:
    """What a host is owed since its first ``before`` began, as the events alone tell it."""

    well: set[str]
    over: set[str]
    running: str = ""
    given_up: bool = False


class HookWatch:
    """Sees every event, before it is folded and after it."""

    def __init__(self, world: World, runner: SimHookRunner, limit: Callable[[str, str], int], require: Require) -> None:
        self._world = world
        self._runner = runner
        self._limit = limit
        self._require = require
        self._owed: dict[tuple[str, str], _Owed] = {}

    def before(self, event: e.Event) -> None:
        """Check an event against what the world was."""
        match event:
            case e.ControllerStarted():
                for owed in self._owed.values():
                    owed.running = ""
            case e.HookIntended():
                self._begins(event)
            case e.HookEnded():
                owed = self._owed[event.rollout, event.host]
                owed.running = ""
                if event.end is HookEnd.WELL:
                    owed.well.add(event.hook)
                    owed.over.add(event.hook)
            case e.HookGivenUp():
                owed = self._owed[event.rollout, event.host]
                owed.over.add(event.hook)
                owed.given_up = owed.given_up or event.hook == RETURN
            case e.TrialIntended():
                self._is_prepared(event)
            case e.RolloutFinished():
                self._all_is_back(event)
            case _:
                pass

    def _begins(self, event: e.HookIntended) -> None:
        place = (event.rollout, event.host)
        rollout = self._world.rollouts[event.rollout]
        hook = next(hook for hook in rollout.header.spec.hooks if hook.name == event.hook)
        self._require(not is_unproven(rollout.hosts[event.host]), f"{place}: a hook runs in its trial")
        owed = self._owed.get(place)
        if owed is None or (hook.when is When.BEFORE and self._is_given_back(place)):
            owed = self._owed[place] = _Owed(set(), set())
            self._radius(event)
        self._require(not owed.running, f"{place}: {event.hook} runs beside {owed.running}")
        running = [name for (name, host), o in self._owed.items() if host == event.host and o.running]
        self._require(not running, f"{place}: {event.hook} runs beside one of {running}")
        owed.running = event.hook
        if hook.when is When.ALWAYS_AFTER:
            owed.well -= {hook.name for hook in self._hooks(place, When.BEFORE)}

    def _hooks(self, place: tuple[str, str], when: When) -> list[Hook]:
        rollout = self._world.rollouts[place[0]]
        return [hook for hook in rollout.header.spec.hooks_of(rollout.plans[place[1]]) if hook.when is when]

    def _is_given_back(self, place: tuple[str, str]) -> bool:
        owed = self._owed[place]
        return not owed.running and all(hook.name in owed.over for hook in self._hooks(place, When.ALWAYS_AFTER))

    def _radius(self, event: e.HookIntended) -> None:
        """A host that is drained holds a slot as one in trial does."""
        held = [place for place in self._owed if not self._is_given_back(place)]
        unproven = list(self._world.unproven())
        limit = min(self._limit(*place) for place in {*held, *unproven})
        self._require(len({*held, *unproven}) <= limit, f"{held} are drained, {unproven} unproven, {limit} allowed")

    def _is_prepared(self, event: e.TrialIntended) -> None:
        place = (event.rollout, event.host)
        hooks = self._hooks(place, When.BEFORE)
        going_back = self._world.rollouts[event.rollout].hosts[event.host].task.direction is Direction.ROLLBACK
        owed = self._owed.get(place, _Owed(set(), set()))
        self._require(not owed.running, f"{place}: its trial begins while {owed.running} runs")
        for hook in hooks:
            may_fail = going_back or hook.on_failure is OnHookFailure.IGNORE
            well = hook.name in owed.well or (may_fail and hook.name in owed.over)
            self._require(well, f"{place}: its trial begins, and {hook.name} did not succeed")
            if hook.name == DRAIN and hook.name in owed.well:
                self._require(event.host in self._runner.drained, f"{place}: its trial begins, and it carries load")

    def _all_is_back(self, event: e.RolloutFinished) -> None:
        hosts = self._world.rollouts[event.rollout].hosts
        for (name, host), owed in self._owed.items():
            if name != event.rollout or isinstance(hosts[host], Lost):
                continue
            self._require(self._is_given_back((name, host)), f"{name} ends, and {host} is not given back")
            told = not owed.given_up or event.phase is not e.Phase.SUCCEEDED
            cleared = (name, host) not in {place for place, _work in self._world.hooks.items()}
            self._require(told or cleared, f"{name} succeeds, and {host} was given up")

    def at_the_end(self, meddled: tuple[str, ...]) -> None:
        """Every ``before`` that began was followed by its ``always-after``, and no machine is left without load."""
        for place, owed in self._owed.items():
            self._require(self._is_given_back(place), f"{place}: drained, and never given back")
            back = [hook for hook in self._hooks(place, When.ALWAYS_AFTER) if hook.name == RETURN]
            if back and not owed.given_up and place[1] not in meddled:
                latest = max((o for o in self._owed if o[1] == place[1]), key=lambda o: int(o[0].removeprefix("r-")))
                carries = place[1] not in self._runner.drained or latest != place
                self._require(carries, f"{place}: its hooks succeeded, and it carries no load")
        self._require(not len(self._world.hooks), f"hooks are still owed: {list(self._world.hooks.items())}")
