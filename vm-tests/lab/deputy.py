"""A controller's hand: sends orders to one lab host over ssh, as the daemon does, one at a time and from a test."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from fleetd.errors import FleetdError
from fleetd.host.connection import SshIdentity
from fleetd.host.port import SshHosts
from fleetd.model.facts import HelperState, HostFacts, HostStatus
from fleetd.model.fence import Fence
from fleetd.model.fleet import Host, Privilege
from fleetd.model.order import Order, OrderTimes, Verb
from lab.errors import LabError
from lab.host import LabHost

T = TypeVar("T")
TIMES = OrderTimes(switch_timeout_s=30, contact_timeout_s=15, cap_s=120, commit_timeout_s=30, revert_timeout_s=60)
ASK_S = 40.0
STILL = tuple(state for state in HelperState if not state.is_moving)


class _LoopClock:
    def now(self) -> float:
        return time.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


@dataclass(slots=True)
class Deputy:
    """Speaks for the controller to one host. ``helper`` is another program to bring there, with a bug planted."""

    host: LabHost
    user: str = "root"
    privilege: str = "none"
    helper: bytes | None = None
    seq: int = 0
    attempt: int = 0
    _runner: asyncio.Runner | None = None
    _hosts: SshHosts | None = None

    def __enter__(self) -> Self:
        self._runner = asyncio.Runner()
        identity = SshIdentity((str(self.host.wiring.private_key),), None, connect_timeout_s=10, login_timeout_s=30)
        self._hosts = SshHosts(identity, _LoopClock(), lambda _name: None)
        if self.helper is not None:
            self._hosts.bring(self.helper)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        assert self._runner is not None and self._hosts is not None
        self._runner.run(self._hosts.close())
        self._runner.close()

    @property
    def target(self) -> Host:
        """The host as the fleet file has it."""
        privilege = Privilege(self.privilege)
        return Host(
            self.host.name, (self.host.address,), user=self.user, host_key=self.host.host_key, privilege=privilege
        )

    def facts(self) -> HostFacts:
        """Ask for the facts."""
        return self._run(lambda hosts: hosts.facts(self.target, timeout_s=ASK_S))

    def status(self, *, fresh: bool = False) -> HostStatus:
        """Ask for the status."""
        return self._run(lambda hosts: hosts.status(self.target, timeout_s=ASK_S, fresh=fresh))

    def write(self, verb: Verb, new: str = "", *, times: OrderTimes = TIMES, **changes: object) -> Order:
        """Return an order for the newest activation, bound to facts of now, without sending it."""
        facts = self.facts()
        starts = verb is Verb.TRIAL
        if starts:
            self.attempt += 1
        if verb is not Verb.EXTEND:
            self.seq += 1
        order = Order(
            verb=verb,
            id=f"r-{id(self)}.{self.host.name}.{self.attempt}",
            fence=Fence(1, self.seq),
            host=self.host.name,
            machine_id=facts.machine_id,
            boot_id=facts.boot_id,
            uptime_limit_s=facts.uptime_s + 60,
            toplevel=new,
            expect_current=facts.current if starts else "",
            expect_profile=facts.profile if starts else "",
            times=times if starts else None,
        )
        return replace(order, **changes)  # type: ignore[arg-type]

    def send(self, order: Order, *, fresh: bool = False) -> HostStatus:
        """Send an order once."""
        return self._run(lambda hosts: hosts.order(self.target, order, timeout_s=ASK_S, fresh=fresh))

    def trial(self, new: str, *, times: OrderTimes = TIMES, **changes: object) -> HostStatus:
        """Start a trial and follow it over the connection that started it until the switch has ended."""
        self.send(self.write(Verb.TRIAL, new, times=times, **changes))
        return self.until(*STILL)

    def commit(self) -> HostStatus:
        """Commit over a fresh connection, and follow it to its end."""
        self.send(self.write(Verb.COMMIT), fresh=True)
        return self.until(*STILL)

    def revert(self) -> HostStatus:
        """Revert, and follow it to its end."""
        self.send(self.write(Verb.REVERT))
        return self.until(*STILL)

    def until(self, *states: HelperState, timeout_s: float = 150) -> HostStatus:
        """Ask until the host is in one of the states; contact may be lost meanwhile."""
        end = time.monotonic() + timeout_s
        last: object = None
        while time.monotonic() < end:
            try:
                status = self.status()
            except FleetdError as error:  # lost contact is what is waited through
                last = error
            else:
                if status.state in states:
                    return status
                last = status
            time.sleep(0.3)
        raise LabError(f"{self.host.name} is not {' or '.join(states)} after {timeout_s:.0f} s: {last}")

    def _run(self, ask: Callable[[SshHosts], Awaitable[T]]) -> T:
        assert self._runner is not None and self._hosts is not None

        async def asked() -> T:
            assert self._hosts is not None
            return await ask(self._hosts)

        return self._runner.run(asked())


def planted(old: str, new: str) -> bytes:
    """Return the helper with one protection taken out. Raises LabError unless ``old`` is there once."""
    place = Path(__file__).parents[2] / "fleetd/host/helper/fleetd-host"
    text = place.read_text()
    if text.count(old) != 1:
        raise LabError(f"{old!r} is {text.count(old)} times in the helper")
    return text.replace(old, new).encode()
