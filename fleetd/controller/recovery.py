"""``fleetd recover``: after a journal was restored, hosts say what it does not know, and what is under way is ended.

Everything is done under a term above all that any host holds, so that no order of the lost part can take effect any
more. What it does is durable in two transactions: before the first order, and once every host stands still or is known
to be out of reach. A recovery that dies between them is begun again; no daemon starts before it has ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count

from fleetd.controller.folding import fold, records_of
from fleetd.controller.models import models_of
from fleetd.controller.recovering import Shown, closing, numbered_beyond, term_above, told
from fleetd.errors import HostError, OrderRefused
from fleetd.executor.orders import VALID_S
from fleetd.model.facts import HostFacts, HostStatus
from fleetd.model.fence import Fence
from fleetd.model.fleet import Fleet, Host
from fleetd.model.order import Order, Verb
from fleetd.ports import ForwardClock, HostPort, Journal
from fleetd.rollout import events as e
from fleetd.rollout.world import World

AT_ONCE = 64
"""Hosts that are spoken to at the same time."""

LOOK_EVERY_S = 2.0

SILENT_S = 60.0
"""How long a host that did not answer at first is asked again: a reboot, or a sshd that is busy."""

REST_S = 1800.0
"""How long a host may take to stand still: a switch, and the way back with a reboot, have limits of a quarter hour."""


@dataclass(slots=True)
class Report:
    """What was found, and for a recovery that was not only a look, what was done."""

    records: int
    term_before: int
    term: int = 0
    hosts: dict[str, str] = field(default_factory=dict)
    """A line for each host."""
    silent: dict[str, str] = field(default_factory=dict)
    """Hosts that did not answer, or do not come to rest, and why."""
    rollouts: tuple[str, ...] = ()
    """Those that were under way, and are ended."""
    next_rollout: int = 0

    def lines(self, *, only_look: bool) -> list[str]:
        """Return it for people. ``only_look``: what would be done, instead of what was."""
        would = "would be" if only_look else "was"
        found = [f"{name}: {line}" for name, line in self.hosts.items() if name not in self.silent]
        silent = [f"{name}: not known: {why}" for name, why in self.silent.items()]
        ended = [f"{name}: {would} ended, phase needs-operator" for name in self.rollouts]
        lines = [
            f"journal: {self.records} records, term {self.term_before}; the term {would} raised to {self.term}, and the"
            f" next rollout {'would be' if only_look else 'is'} r-{self.next_rollout}",
            *found,
            *silent,
            *ended,
        ]
        if self.silent:
            again = "they answer: run it again then, before anything is deployed there"
            lines.append(f"{len(self.silent)} of {len(self.hosts | self.silent)} hosts are not known until {again}")
        return lines


class Recovery:
    """One run of it, over a journal that nobody has open."""

    def __init__(
        self, *, clock: ForwardClock, journal: Journal, hosts: HostPort, fleet: Fleet, contact_s: float
    ) -> None:
        self._clock = clock
        self._journal = journal
        self._hosts = hosts
        self._fleet = fleet
        self._contact_s = contact_s
        self._slots = asyncio.Semaphore(AT_ONCE)
        self.world = World()

    async def look(self) -> Report:
        """Say what ``run`` would find and do; changes nothing. Raises JournalError."""
        opened = await self._journal.open(only_look=True)
        return (await self._first_look(opened))[0]

    async def run(self) -> Report:
        """Recover. Raises JournalError; what was begun then has to be begun again."""
        opened = await self._journal.open()
        report, shown = await self._first_look(opened)
        report.term = await self._journal.raise_term(report.term)
        self._clock.go_on_from(self.world.last_at)
        at = self._now()
        away_s = max(0.0, at - self.world.last_at) if self.world.last_at else 0.0
        await self._append([e.ControllerStarted(at, report.term, away_s), e.RecoveryBegan(at, report.next_rollout - 1)])
        began = Fence(self.world.term, self.world.seq)
        asked = {name: self._brought_to_rest(host, began, name in shown) for name, host in self._fleet.hosts.items()}
        resting, report.silent = _apart(await self._each(asked))
        for name, found in resting.items():
            first, then = report.hosts.get(name, ""), told(self.world, name, found)
            report.hosts[name] = then if first in ("", then) else f"{first}; then: {then}"
        events: list[e.Event] = []
        for event in closing(self.world, resting, report.silent | self._unlisted(), self._now()):
            self.world.apply(event)
            events.append(event)
        await self._append(events, applied=True)
        return report

    async def _first_look(self, opened: int) -> tuple[Report, Mapping[str, Shown]]:
        for record in await self._journal.replay():
            fold(self.world, record)
        shown, silent = _apart(await self._each({name: self._look(host) for name, host in self._fleet.hosts.items()}))
        report = Report(
            records=self.world.seq,
            term_before=self.world.term,
            term=term_above(self.world, opened, shown),
            hosts={name: told(self.world, name, found) for name, found in shown.items()},
            silent=silent,
            rollouts=tuple(name for name, _rollout in self.world.active()),
            next_rollout=numbered_beyond(self.world, shown) + 1,
        )
        return report, shown

    def _unlisted(self) -> dict[str, str]:
        """Hosts of the journal that the fleet no longer has: nobody knows where to ask them."""
        known = (*self.world.records, *(host for _name, host in self.world.unproven()))
        return {name: "it is no longer in the fleet" for name in known if name not in self._fleet.hosts}

    async def _look(self, host: Host) -> Shown | str:
        try:
            facts = await self._facts(host)
            async with self._slots:
                return Shown(facts, await self._hosts.status(host, timeout_s=self._contact_s))
        except HostError as error:
            return str(error)

    async def _brought_to_rest(self, host: Host, began: Fence, answered: bool) -> Shown | str:
        """Settle, take back what is in trial, and wait for what moves; returns what it shows then, or why not."""
        fences = (Fence(began.term, began.seq + step) for step in count())
        end = self._clock.now() + (REST_S if answered else SILENT_S)
        while True:
            try:
                facts = await self._facts(host)
                found = Shown(facts, await self._order(host, facts, Verb.SETTLE, "recovery", next(fences)))
                if found.stands_still:
                    return Shown(await self._facts(host), found.status)
                if not answered:
                    answered, end = True, self._clock.now() + REST_S
                problem = f"activation {found.status.id} is still {found.status.state.value}"
                if found.must_be_ended:
                    await self._order(host, facts, Verb.REVERT, found.status.id, next(fences))
            except OrderRefused as error:
                problem = f"refused ({error.code}): {error}"
                if error.code == "stale-fence":
                    return f"another controller gives it orders: {error}"
            except HostError as error:
                problem = str(error)
            if self._clock.now() >= end:
                return problem
            await self._clock.sleep(LOOK_EVERY_S)

    async def _facts(self, host: Host) -> HostFacts:
        async with self._slots:
            return await self._hosts.facts(host, timeout_s=self._contact_s)

    async def _order(self, host: Host, facts: HostFacts, verb: Verb, activation: str, fence: Fence) -> HostStatus:
        order = Order(
            verb=verb,
            id=activation,
            fence=fence,
            host=host.name,
            machine_id=facts.machine_id,
            boot_id=facts.boot_id,
            uptime_limit_s=facts.uptime_s + VALID_S,
        )
        async with self._slots:
            return await self._hosts.order(host, order, timeout_s=self._contact_s)

    async def _each(self, asked: Mapping[str, Awaitable[Shown | str]]) -> Mapping[str, Shown | str]:
        return dict(zip(asked, await asyncio.gather(*asked.values()), strict=True))

    async def _append(self, events: Sequence[e.Event], *, applied: bool = False) -> None:
        for event in () if applied else events:
            self.world.apply(event)
        first = self.world.seq - len(events) + 1
        await self._journal.append(records_of(events, first, self.world.term), models_of(self.world, events))

    def _now(self) -> float:
        return max(self._clock.now(), self.world.last_at)


def _apart(found: Mapping[str, Shown | str]) -> tuple[dict[str, Shown], dict[str, str]]:
    shown = {name: one for name, one in found.items() if isinstance(one, Shown)}
    return shown, {name: one for name, one in found.items() if isinstance(one, str)}
