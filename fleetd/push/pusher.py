"""``ServePusher``: what is missing of a closure goes to a host in one unbroken stream; answers are read beside it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Collection

import structlog

from fleetd.errors import OutcomeUnknown, PushError, SourceError, ToplevelError, UsageError
from fleetd.model.fleet import Host
from fleetd.model.store_path import StorePath
from fleetd.ports import HostPort, PushReport, Store
from fleetd.push.archives import Archive, SharedArchives, Sign
from fleetd.push.bandwidth import Bandwidth
from fleetd.push.copy import Copy
from fleetd.push.stale import end_stale
from fleetd.push.transfer import Progress, PushSettings

ROOT_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,200}")


class ServePusher:
    """The port ``Pusher`` over the hosts' own ssh connections.

    A push that failed is resumed by pushing again: what arrived is valid there and is not sent twice. ``live_roots``
    are the names of roots on hosts that are still needed: each push removes the others; None: all are needed.
    ``publish`` brings a closure to a binary cache, before hosts with ``substitute`` are told to fetch it there.
    """

    def __init__(
        self,
        hosts: HostPort,
        store: Store,
        archive: Archive,
        sign: Sign | None = None,
        settings: PushSettings | None = None,
        live_roots: Callable[[], Collection[str]] | None = None,
        publish: Callable[[StorePath], Awaitable[None]] | None = None,
    ) -> None:
        self._hosts = hosts
        self._store = store
        self._archives = SharedArchives(archive, sign or (lambda info: info))
        self._settings = settings or PushSettings()
        self._live_roots = live_roots
        self._publish = publish
        self._slots = asyncio.Semaphore(max(1, self._settings.in_flight_bytes // (2 * self._settings.write_bytes)))
        self._bandwidth = Bandwidth(self._settings.bytes_per_s)
        self._cut: set[str] = set()
        """Hosts on which a copy of ours may have left a server."""
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
                return await self._push(host, toplevel, root, progress)
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise PushError("stalled", f"{host.name}: the copy did not end within {timeout_s:g} s") from error
        except OutcomeUnknown as error:
            # A copy is harmless to repeat: what the link swallowed is asked for again.
            raise PushError("lost", f"{host.name}: the link was lost during the copy: {error}") from error

    async def _push(self, host: Host, toplevel: StorePath, root: str, progress: Progress) -> PushReport:
        # The metadata is read while the connection is made.
        reading = asyncio.ensure_future(self._store.closure(toplevel))
        try:
            link = await self._hosts.link(host, timeout_s=self._settings.link_timeout_s)
            live = None if self._live_roots is None else tuple(self._live_roots())
            copy = Copy(host.name, link, self._settings, self._archives, self._slots, self._bandwidth, live)
            closure = await reading
        except ToplevelError:
            if await copy.keep(toplevel, root):
                return PushReport(0, 0)
            raise
        except SourceError as error:
            # Nothing is wrong with the host or the closure, so it is worth another try.
            raise PushError("stalled", f"{host.name}: nothing can be sent by the control node: {error}") from error
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
        # Derivations are in nobody's cache: to look for thousands of them there takes longer than to send them.
        substitute = host.substitute and not toplevel.endswith(".drv")
        if substitute and self._publish is not None:
            await self._published(self._publish, toplevel)
        if host.name in self._cut:
            await end_stale(link, self._settings.root_timeout_s)
            self._cut.discard(host.name)

        async def once() -> PushReport:
            try:
                return await copy.run(closure, toplevel, root, progress, substitute=substitute, compress=host.compress)
            except BaseException as error:
                # Whatever else ends a copy, its server saw the end too.
                if not isinstance(error, PushError) or error.code == "lost":
                    self._cut.add(host.name)
                raise

        try:
            return await once()
        except PushError as error:
            # A copy that was cut long ago, perhaps by a daemon before this one, left a server that holds a path.
            if error.code != "stalled" or not await end_stale(link, self._settings.root_timeout_s):
                raise
        return await once()

    @staticmethod
    async def _published(publish: Callable[[StorePath], Awaitable[None]], toplevel: StorePath) -> None:
        """Publish; a cache that fails costs its advantage, not the copy: what hosts do not find there is sent."""
        try:
            await publish(toplevel)
        except PushError as error:
            structlog.get_logger().warning("cache", error=str(error))
