"""The ports of the world, over simulated machines and a network that loses, delays and doubles what it carries."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import TypeVar

from fleetd.errors import OrderRefused, OutcomeUnknown, PushError, SourceError, Unreachable
from fleetd.model.build import Told, untold
from fleetd.model.check import CheckOutcome, CheckResult
from fleetd.model.facts import HostFacts, HostStatus
from fleetd.model.fleet import Host, Installable, ToplevelSource
from fleetd.model.order import Order, Verb
from fleetd.model.program import ControlCommand, ProgramEnd
from fleetd.model.store_path import StorePath
from fleetd.ports import HostLink, PathInfo, ProbeRequest, PushReport
from fleetd.rollout.roots import WantedRoots
from tests.simulation.sim_machine import SimMachine

Result = TypeVar("Result")

CONNECT_S = 5.0
"""How long nobody answering takes to be noticed."""


@dataclass(frozen=True, slots=True)
class Weather:
    """How likely each mishap is for one message; all 0 is a good network."""

    lost: float = 0.0
    answer_lost: float = 0.0
    late: float = 0.0
    doubled: float = 0.0
    refused: float = 0.0
    copy_cut: float = 0.0


@dataclass(slots=True)
class Uplink:
    """The control node's own way to the network, and its name server, without which no check can be asked."""

    up: bool = True
    names: bool = True


class SimHosts:
    """The port ``HostPort``. What was sent is on its way, whatever becomes of the sender."""

    def __init__(
        self, machines: Mapping[str, SimMachine], weather: Weather, rng: Random, uplink: Uplink | None = None
    ) -> None:
        self._machines = machines
        self.weather = weather
        self._rng = rng
        self._uplink = uplink or Uplink()

    async def facts(self, host: Host, *, timeout_s: float) -> HostFacts:
        """Ask what the host is."""
        machine = self._machines[host.name]
        return await self._exchange(machine, machine.facts, timeout_s, "facts")

    async def status(self, host: Host, *, timeout_s: float, fresh: bool = False) -> HostStatus:
        """Ask how its activation stands."""
        machine = self._machines[host.name]
        return await self._exchange(machine, machine.status, timeout_s, "status")

    async def order(self, host: Host, order: Order, *, timeout_s: float, fresh: bool = False) -> HostStatus:
        """Send an order once."""
        machine = self._machines[host.name]
        if order.verb in (Verb.COMMIT, Verb.RELEASE) and not fresh:
            problem = AssertionError(
                f"{host.name}: a {order.verb.value} over a connection from before the switch (promise 1)"
            )
            asyncio.get_running_loop().call_exception_handler({"exception": problem})

        def deliver() -> tuple[str, str, HostStatus]:
            answer = machine.order(order)
            status = machine.status()
            if answer.code == "shown":
                status = replace(status, id=order.id, exit_code="0", log="would restart web.service")
            return answer.end, answer.code, status

        end, code, status = await self._exchange(machine, deliver, timeout_s, order.verb.value)
        if end != "ok":
            raise OrderRefused(code, f"{host.name} answered {end} {code}")
        return status

    def expect(self, host: Host) -> None:
        """Nothing is ever put off."""

    def let_go(self, host: Host) -> None:
        """Connections are not simulated."""

    def reached_at(self, host: Host) -> str | None:
        """Every host has the one address that it was given."""
        return host.addresses[0]

    async def link(self, host: Host, *, timeout_s: float, fresh: bool = False) -> HostLink:
        """Connections are not simulated; only what goes over them."""
        raise NotImplementedError

    async def close(self) -> None:
        """Nothing is open."""

    async def _exchange(self, machine: SimMachine, act: Callable[[], Result], timeout_s: float, what: str) -> Result:
        name, rng, weather = machine.host.name, self._rng, self.weather
        if not self._uplink.up or not machine.receives or rng.random() < weather.refused:
            await asyncio.sleep(min(timeout_s, CONNECT_S) * rng.uniform(0.2, 1.0))
            raise Unreachable(f"{name}: no answer")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Result] = loop.create_future()
        one_way_s = rng.uniform(0.005, 0.05)

        def deliver(*, heard: bool) -> None:
            if not self._uplink.up or not machine.receives:
                return
            result = act()
            if heard:
                loop.call_later(one_way_s, arrive, result)

        def arrive(result: Result) -> None:
            if self._uplink.up and machine.reachable and not answer.done():
                answer.set_result(result)

        if rng.random() < weather.late:
            loop.call_later(rng.uniform(0.5, 4.0) * timeout_s, lambda: deliver(heard=False))
        elif rng.random() >= weather.lost:
            heard = rng.random() >= weather.answer_lost
            loop.call_later(one_way_s, lambda: deliver(heard=heard))
            if rng.random() < weather.doubled:
                loop.call_later(rng.uniform(0.1, 60.0), lambda: deliver(heard=False))
        try:
            async with asyncio.timeout(timeout_s):
                return await answer
        except TimeoutError as error:
            raise OutcomeUnknown(f"{name}: no reply to {what} within {timeout_s:.0f} s") from error


class SimProbe:
    """The port ``Probe``: asks the machines how they are."""

    def __init__(self, machines: Mapping[str, SimMachine], rng: Random, uplink: Uplink | None = None) -> None:
        self._machines = machines
        self._rng = rng
        self._uplink = uplink or Uplink()
        self.rounds = 0

    async def round(self, host: Host, request: ProbeRequest) -> tuple[CheckResult, ...]:
        """Make every check."""
        machine = self._machines[host.name]
        self.rounds += 1
        await asyncio.sleep(self._rng.uniform(0.02, 0.2) if machine.reachable and self._uplink.up else CONNECT_S)
        reachable = machine.reachable and self._uplink.up
        own = CheckOutcome.PASS if reachable and machine.healthy else CheckOutcome.FAIL
        own = own if self._uplink.names else CheckOutcome.ERROR
        results = [self._built_in(machine, name, request, reachable=reachable) for name in request.builtin]
        return (*results, *(CheckResult(check.name, own, "answered 500") for check in request.checks))

    def _built_in(self, machine: SimMachine, name: str, request: ProbeRequest, *, reachable: bool) -> CheckResult:
        if not reachable:
            outcome = CheckOutcome.FAIL if name == "login" else CheckOutcome.ERROR
            return CheckResult(name, outcome, "no answer")
        host = machine.host
        runs_it = host.current == request.expect
        boots_it = request.boot_default in (None, host.boot_default)
        good = runs_it and boots_it if name == "state" else runs_it if name == "units" else True
        return CheckResult(name, CheckOutcome.PASS if good else CheckOutcome.FAIL, f"it runs {host.current}")


class SimPusher:
    """The port ``Pusher``."""

    def __init__(
        self, machines: Mapping[str, SimMachine], weather: Weather, rng: Random, uplink: Uplink | None = None
    ) -> None:
        self._machines = machines
        self.weather = weather
        self._rng = rng
        self._uplink = uplink or Uplink()

    async def push(
        self, host: Host, toplevel: StorePath, *, root: str, progress: Callable[[int, int], None], timeout_s: float
    ) -> PushReport:
        """Copy."""
        machine = self._machines[host.name]
        await asyncio.sleep(self._rng.uniform(0.5, 8.0))
        if not self._uplink.up or not machine.reachable:
            raise Unreachable(f"{host.name}: no answer")
        if self._rng.random() < self.weather.copy_cut:
            raise PushError("lost", "the connection was lost")
        if machine.disk_full:
            raise PushError("disk-full", f"no space left on {host.name}")
        machine.host.valid.add(toplevel)
        return PushReport(1, 1)


class SimTargets:
    """The port ``TargetBuilder``."""

    def __init__(
        self, machines: Mapping[str, SimMachine], weather: Weather, rng: Random, uplink: Uplink | None = None
    ) -> None:
        self._machines = machines
        self.weather = weather
        self._rng = rng
        self._uplink = uplink or Uplink()

    async def build(
        self,
        host: Host,
        derivation: StorePath,
        toplevel: StorePath,
        *,
        root: str,
        timeout_s: float,
        told: Told = untold,
    ) -> None:
        """Build there; a host that has no derivation cannot."""
        machine = self._machines[host.name]
        await asyncio.sleep(self._rng.uniform(0.5, 20.0))
        if not self._uplink.up or not machine.reachable:
            raise Unreachable(f"{host.name}: no answer")
        if self._rng.random() < self.weather.copy_cut:
            raise PushError("lost", "the connection was lost")
        if derivation not in machine.host.valid:
            raise SourceError(f"error: {derivation} is not valid")
        machine.host.valid.add(toplevel)


class SimBuilder:
    """The port ``Builder``: the installable of a host names its toplevel."""

    def __init__(self, rng: Random, broken: Sequence[str] = ()) -> None:
        self._rng = rng
        self.broken = tuple(broken)

    async def evaluate(self, name: str, source: ToplevelSource, *, timeout_s: float, root: str | None = None) -> str:
        """Evaluate."""
        await asyncio.sleep(self._rng.uniform(0.5, 3.0))
        if name in self.broken:
            raise SourceError(f"error: {name} does not evaluate")
        assert isinstance(source, Installable)
        return f"{source.text.partition('#')[2]}.drv"

    async def build(self, derivation: str, root: str, *, timeout_s: float, told: Told = untold) -> StorePath:
        """Build."""
        await asyncio.sleep(self._rng.uniform(0.5, 5.0))
        return StorePath(derivation.removesuffix(".drv"))

    async def output(self, derivation: str, *, timeout_s: float) -> StorePath:
        """Say what it will be."""
        await asyncio.sleep(self._rng.uniform(0.1, 0.5))
        return StorePath(derivation.removesuffix(".drv"))

    async def lock(self, flake: str, *, timeout_s: float, root: str | None = None) -> str:
        """Lock."""
        await asyncio.sleep(0.5)
        return f"{flake}?rev=1"


class SimPrograms:
    """The port ``Programs``: what the host's machine takes them for. ``cycling`` is told before power is taken."""

    def __init__(self, machines: Mapping[str, SimMachine], cycling: Callable[[SimMachine], None]) -> None:
        self._machines = machines
        self._cycling = cycling

    async def run(self, command: ControlCommand, host: Host) -> ProgramEnd:
        """Do what the first word says, a moment later."""
        await asyncio.sleep(1.0)
        machine = self._machines[host.name]
        if command.argv[0] == "unlock":
            machine.unlock()
        else:
            self._cycling(machine)
            machine.cycle_power()
        return ProgramEnd(True, f"{command.argv[0]} ended with 0", "")


class SimCommits:
    """The port ``Commits``: every commit may be deployed."""

    async def check(self, locked: str, *, since: str, timeout_s: float) -> None:
        """Say yes."""


class SimStore:
    """The port ``Store``; ``kept`` is told of what is kept alive from then on."""

    def __init__(self, kept: Callable[[WantedRoots], None] = lambda _wanted: None) -> None:
        self._kept = kept

    async def closure(self, toplevel: StorePath) -> tuple[PathInfo, ...]:
        """Return a closure of one path."""
        digest = hashlib.sha256(toplevel.encode()).digest()
        return (PathInfo(toplevel, "", digest, (), 1, (), ""),)

    async def check_toplevel(self, toplevel: StorePath, host: Host) -> None:
        """Every path is there."""

    async def keep_only(self, wanted: Callable[[], WantedRoots]) -> None:
        """Keep what is wanted; whoever watches is told."""
        self._kept(wanted())
