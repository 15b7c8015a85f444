"""Hooks on the control node and on hosts: argument vectors with an environment, which no shell reads as text.

Each carries a mark in its environment. What is left of an earlier run, as after a ``kill -9`` of the controller, is
found by that and ended before the next one begins: a drain that goes on after the host was given back would leave it
drained, and nobody would know.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from fleetd.errors import OutcomeUnknown
from fleetd.host.programs import ControlPrograms, Tail, words_of
from fleetd.model.duration import format_duration
from fleetd.model.fleet import Host
from fleetd.model.hook import Hook
from fleetd.model.program import ControlCommand, ProgramEnd
from fleetd.ports import ByteChannel, HostPort
from fleetd.process import MARK, end_marked

KILL_AFTER_S = 5
"""Between the friendly and the other way to end a hook on a host."""

ON_HOST = f"""
mark=$1 limit=$2; shift 2
for file in $(grep -lszxF -e "{MARK}=$mark" /proc/[0-9]*/environ); do
  pid=${{file#/proc/}}; kill -KILL "${{pid%/environ}}" 2>/dev/null
done
exec timeout -k {KILL_AFTER_S} "$limit" env "{MARK}=$mark" "$@"
"""
"""Ends what carries the mark, then runs the command, which follows its variables; the time is kept on the host, so that
it is over there too when the link is gone."""

TIMED_OUT = (124, 137)
"""How ``timeout`` ends where it had to end the command."""

READ_BYTES = 64 * 1024


class HookCommands:
    """What ``executor.hooks`` runs. ``owner`` tells this controller's runs from those of any other on this machine."""

    def __init__(self, hosts: HostPort, owner: str) -> None:
        self._hosts = hosts
        self._programs = ControlPrograms()
        self._owner = owner

    async def on_controller(self, hook: Hook, host: Host, about: Mapping[str, str], *, alone: str) -> ProgramEnd:
        """Run a hook on the control node; its process group ends with it, or with its time."""
        mark = f"{self._owner}#{alone}"
        await asyncio.to_thread(end_marked, mark)
        command = ControlCommand(hook.command, hook.timeout_s)
        return await self._programs.run(command, host, env={**about, MARK: mark})

    async def on_host(
        self, hook: Hook, host: Host, about: Mapping[str, str], *, alone: str, contact_s: float
    ) -> ProgramEnd:
        """Run a hook on its host as the deploy user. Raises HostError: OutcomeUnknown where it may have run."""
        limit_s = max(1, round(hook.timeout_s))
        argv = ["sh", "-c", ON_HOST, "sh", f"{self._owner}#{alone}", str(limit_s)]
        argv += [f"{name}={value}" for name, value in about.items()] + words_of(hook.command, host)
        try:
            async with asyncio.timeout(contact_s):
                link = await self._hosts.link(host, timeout_s=contact_s)
                channel = await link.open(argv)
        except TimeoutError as error:
            raise OutcomeUnknown(f"{host.name}: the hook could not be started within {contact_s:.0f} s") from error
        try:
            async with asyncio.timeout(limit_s + KILL_AFTER_S + contact_s):
                status, said = await _to_its_end(channel, contact_s)
        except TimeoutError as error:
            raise OutcomeUnknown(f"{host.name}: no end of the hook was seen") from error
        finally:
            await channel.close()
        program = hook.command[0].rpartition("/")[2]
        if status in TIMED_OUT:
            return ProgramEnd(False, f"{program} did not end within {format_duration(limit_s)}", said)
        return ProgramEnd(status == 0, f"{program} ended with {status}", said)


async def _to_its_end(channel: ByteChannel, contact_s: float) -> tuple[int, str]:
    tail = Tail()
    channel.write_eof()
    while piece := await channel.read(READ_BYTES):
        tail.feed(piece)
    status = await channel.wait(contact_s)
    tail.feed(channel.stderr_tail().encode())
    return status, tail.text([])
