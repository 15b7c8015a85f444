"""``ServePusher``: what is missing of a closure goes to a host in one unbroken stream; answers are read beside it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Collection, Sequence

from fleetd.errors import OutcomeUnknown, PushError, ToplevelError, UsageError
from fleetd.model.fleet import Host
from fleetd.model.store_path import StorePath
from fleetd.ports import ByteChannel, HostLink, HostPort, PathInfo, PushReport, Store
from fleetd.push.archives import Archive, SharedArchives, Sign
from fleetd.push.refusal import refusal
from fleetd.push.serve import ServerEnded
from fleetd.push.stripes import StripedChannel
from fleetd.push.transfer import Progress, PushSettings, Transfer

ROOT_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,200}")

ROOT_SCRIPT = 'set -eu; mkdir -p "$1"; ln -sfn "$2" "$1/$3"; sync "$1"'
"""Makes a root (directory, path, name), synced, so that it outlives a power cut.

Its words come as arguments, never as text: there is nothing to quote.
"""

TIDY_SCRIPT = """
place=$1; shift 2
for link in "$place"/*-next; do
  for live; do [ "${link##*/}" != "$live" ] || continue 2; done
  rm -f "$link"
done"""
"""After it: removes the roots of copies whose name is neither the one just made nor among the words that follow it."""


class ServePusher:
    """The port ``Pusher`` over the hosts' own ssh connections.

    A push that failed is resumed by pushing again: what arrived is valid there and is not sent twice. ``live_roots``
    are the names of roots on hosts that are still needed: each push removes the others; None: all are needed.
    """

    def __init__(
        self,
        hosts: HostPort,
        store: Store,
        archive: Archive,
        sign: Sign | None = None,
        settings: PushSettings | None = None,
        live_roots: Callable[[], Collection[str]] | None = None,
    ) -> None:
        self._hosts = hosts
        self._store = store
        self._archives = SharedArchives(archive, sign or (lambda info: info))
        self._settings = settings or PushSettings()
        self._live_roots = live_roots
        self._slots = asyncio.Semaphore(max(1, self._settings.in_flight_bytes // (2 * self._settings.write_bytes)))
        # Two transfers to one host would wait for each other's path locks. One small lock for each host of the fleet.
        self._locks: dict[str, asyncio.Lock] = {}

    @property
    def read_bytes(self) -> int:
        """How much was read from the store for all pushes so far."""
        return self._archives.read_bytes

    async def push(
        self, host: Host, toplevel: StorePath, *, root: str, progress: Progress, timeout_s: float
    ) -> PushReport:
        """Copy what is missing, root it on the host under the name ``root``, and see that it is valid there.

        Raises PushError, HostError, or ToplevelError when neither the control node nor the host has the closure.
        """
        if ROOT_NAME.fullmatch(root) is None:
            raise UsageError(f"{root!r} cannot be the name of a root (letters, digits, '.', '_', '-')")
        try:
            async with asyncio.timeout(timeout_s) as limit, self._locks.setdefault(host.name, asyncio.Lock()):
                # The metadata is read while the connection is made.
                reading = asyncio.ensure_future(self._store.closure(toplevel))
                try:
                    link = await self._hosts.link(host, timeout_s=self._settings.link_timeout_s)
                    closure = await reading
                except ToplevelError as error:
                    return await self._keep(host, link, toplevel, root, error)
                finally:
                    reading.cancel()
                    await asyncio.gather(reading, return_exceptions=True)
                return await self._push(host, link, toplevel, closure, root, progress)
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise PushError("stalled", f"{host.name}: the copy did not end within {timeout_s:g} s") from error
        except OutcomeUnknown as error:
            # A copy is harmless to repeat: what the link swallowed is asked for again.
            raise PushError("lost", f"{host.name}: the link was lost during the copy: {error}") from error

    async def _push(
        self,
        host: Host,
        link: HostLink,
        toplevel: StorePath,
        closure: tuple[PathInfo, ...],
        root: str,
        progress: Progress,
    ) -> PushReport:
        channel = await link.open(self._settings.server)
        try:
            transfer = Transfer(host.name, channel, self._settings, self._slots)
            missing = await transfer.missing(closure, substitute=host.substitute)
            total = sum(info.nar_size for info in missing)
            progress(0, total)
            if missing:
                await self._send(host.name, link, transfer, missing, progress)
            # Rooted, and seen to be valid, before the server ends and lets go of its temporary roots.
            await self._root(host.name, link, toplevel, root)
            if left := await transfer.invalid([info.path for info in closure], lock=False):
                raise PushError("lost", f"{host.name}: {left[0]} is not valid there after the copy")
        except (ServerEnded, OutcomeUnknown) as error:
            raise await self._last_words(host.name, channel) from error
        finally:
            await channel.close()
        return PushReport(len(missing), total)

    async def _send(
        self, host: str, link: HostLink, asked: Transfer, infos: Sequence[PathInfo], progress: Progress
    ) -> None:
        """Send over the server that was asked, or, to a far host, over one that is fed by several channels."""
        with self._archives.in_use():
            total, settings = sum(info.nar_size for info in infos), self._settings
            if total < settings.striped_bytes or not await self._is_far(link, asked):
                await asked.send(infos, self._archives, progress)
                return
            # The first server stays: it keeps the whole closure from being collected.
            channel = await StripedChannel.open(link, settings.server)
            try:
                await Transfer(host, channel, settings, self._slots).send(infos, self._archives, progress, last=True)
            except (ServerEnded, OutcomeUnknown) as error:
                raise await self._last_words(host, channel) from error
            finally:
                await channel.close()

    async def _is_far(self, link: HostLink, asked: Transfer) -> bool:
        known_s = link.round_trip_s()
        return (await asked.round_trip_s() if known_s is None else known_s) >= self._settings.far_s

    async def _keep(
        self, host: Host, link: HostLink, toplevel: StorePath, root: str, absent: ToplevelError
    ) -> PushReport:
        """Root what only the host has, such as the system from before fleetd came. Raises ``absent`` if it has not."""
        channel = await link.open(self._settings.server)
        try:
            transfer = Transfer(host.name, channel, self._settings, self._slots)
            if await transfer.invalid([toplevel]):
                raise absent
            await self._root(host.name, link, toplevel, root)
            if await transfer.invalid([toplevel], lock=False):
                raise absent
        except (ServerEnded, OutcomeUnknown) as error:
            raise await self._last_words(host.name, channel) from error
        finally:
            await channel.close()
        return PushReport(0, 0)

    async def _last_words(self, host: str, channel: ByteChannel) -> PushError:
        """Return why a server ended. Its stderr and status may arrive after the end of its answers."""
        status: int | None
        try:
            status = await channel.wait(self._settings.last_words_s)
        except OutcomeUnknown:
            status = None
        return refusal(host, channel.stderr_tail(), status)

    async def _root(self, host: str, link: HostLink, toplevel: StorePath, root: str) -> None:
        """Make a root on the host, over a second channel while the first still protects the paths."""
        script, live = ROOT_SCRIPT, list[str]()
        if self._live_roots is not None:
            script, live = ROOT_SCRIPT + TIDY_SCRIPT, list(self._live_roots())
        argv = ["sh", "-c", script, "sh", self._settings.root_directory, toplevel, root, *live]
        channel = await link.open(argv, privileged=True)
        try:
            channel.write_eof()
            status = await channel.wait(self._settings.root_timeout_s)
            said = channel.stderr_tail().strip()[-500:]
        except OutcomeUnknown as error:
            raise PushError("lost", f"{host}: it is not known whether the root {root} was made: {error}") from error
        finally:
            await channel.close()
        if status != 0:
            code = "disk-full" if "No space left" in said else "rejected"
            where = f"{self._settings.root_directory}/{root}"
            raise PushError(code, f"{host}: the root {where} cannot be made (exit {status}): {said}")
