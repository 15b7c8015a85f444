"""What the control node does for hosts that do not come back from a reboot; ``rollout.power`` says when."""

from __future__ import annotations

from typing import Protocol

from fleetd.errors import FleetdError, HostIdentityError, LoginRefused, OrderRefused
from fleetd.executor.on_host import OnHost
from fleetd.model.fleet import Host
from fleetd.model.program import Aid, ControlCommand, ProgramEnd
from fleetd.ports import Blobs, Clock
from fleetd.rollout import events as e
from fleetd.rollout.decision import Unlock
from fleetd.rollout.observations import Unlocked

LAST_LOOK_S = 120.0
"""The longest pause after failed logins, and a login and its answer after that: somebody has to have asked in truth."""


class Programs(Protocol):
    """Programs of the control node that act on a host by other ways than ssh."""

    async def run(self, command: ControlCommand, host: Host) -> ProgramEnd:
        """Run one to its end, or until its time is over; never raises for what it does."""
        ...


class Power:
    """Runs the programs that the fleet file names for a host, as it is now."""

    def __init__(self, clock: Clock, on_host: OnHost, programs: Programs, blobs: Blobs | None = None) -> None:
        self._clock = clock
        self._on_host = on_host
        self._programs = programs
        self._blobs = blobs

    @staticmethod
    def aids(host: Host | None) -> tuple[Aid, ...]:
        """Return what can be done for a host."""
        if host is None:
            return ()
        given = {Aid.UNLOCK: host.unlock, Aid.POWER_CYCLE: host.power_cycle}
        return tuple(aid for aid, command in given.items() if command is not None)

    async def unlock(self, question: Unlock, host: Host | None) -> Unlocked:
        """Try once; whether it was of use shows when the host answers."""
        if host is not None and host.unlock is not None:
            end = await self._programs.run(host.unlock, host)
            await self._keep(question.rollout, question.host, f"unlock, try {question.number}", end)
            if end.well:
                self._on_host.expect(host)
        return Unlocked(self._clock.now(), question.rollout, question.host, question.step, question.again_s)

    async def cycle(self, intent: e.PowerCycleIntended, host: Host | None) -> e.PowerCycled:
        """Take the power of a host away and give it back, unless it answers a last question in whatever way."""
        why = await self._why_not(host)
        if host is None or host.power_cycle is None or why:
            return self._cycled(intent, False, f"its power was left alone: {why}")
        end = await self._programs.run(host.power_cycle, host)
        await self._keep(intent.rollout, intent.host, "power cycle", end)
        self._on_host.expect(host)
        if not end.well:
            return self._cycled(intent, False, f"its power was to be cycled, and {end.said}")
        return self._cycled(intent, True, "its power was cycled")

    async def _why_not(self, host: Host | None) -> str:
        if host is None or host.power_cycle is None:
            return "the fleet file no longer says how to cycle it"
        try:
            await self._on_host.facts(host, timeout_s=LAST_LOOK_S)
        except (LoginRefused, HostIdentityError, OrderRefused) as error:
            return f"something answers there: {error}"
        except FleetdError:
            return ""
        return "it answers"

    def _cycled(self, intent: e.PowerCycleIntended, done: bool, reason: str) -> e.PowerCycled:
        return e.PowerCycled(self._clock.now(), intent.rollout, intent.host, intent.fence, done, reason)

    async def _keep(self, rollout: str, host: str, what: str, end: ProgramEnd) -> None:
        if self._blobs is not None:
            said = "\n".join(part for part in (f"== {what}: {end.said}", end.output) if part)
            await self._blobs.add(rollout, host, f"{said}\n")
