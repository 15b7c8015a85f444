"""``SshHosts``: every host of the fleet over ssh. One long-lived connection each, and a fresh one for each proof."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Callable
from pathlib import Path

from fleetd.errors import HostError, OrderRefused, OutcomeUnknown, Unreachable
from fleetd.host.connection import SshIdentity, SshLink, connect
from fleetd.host.wire import REPLY_LIMIT_BYTES, Reply, WireError, encode_order, facts_of, parse_reply, status_of
from fleetd.model.facts import HostFacts, HostStatus
from fleetd.model.fleet import Host
from fleetd.model.order import Order
from fleetd.ports import ByteChannel, Clock

HELPER = Path(__file__).parent / "helper" / "fleetd-host"

HANDSHAKES_IN_FLIGHT = 50
"""A handshake costs 3–5 ms of one core; more at once only make each one later."""

BACKOFF_FIRST_S = 1.0
BACKOFF_LARGEST_S = 60.0
"""A controller that retries a bad login at once is banned by sshd's PerSourcePenalties (OpenSSH 9.8 and newer)."""

FREE_FAILURES = 2
"""Failures after which the backoff begins: a host that reboots must be found again at once."""


RETIRED_LONGEST_S = 3600.0
"""How long a replaced connection may still carry what it carried: the longest copy that has a deadline."""


class _Contact:
    """What is kept of one host between calls."""

    def __init__(self) -> None:
        self.link: SshLink | None = None
        self.lock = asyncio.Lock()
        self.failures = 0
        self.not_before = 0.0


class SshHosts:
    """The port ``HostPort`` over ssh."""

    def __init__(self, identity: SshIdentity, clock: Clock, by_name: Callable[[str], Host | None]) -> None:
        self._identity = identity
        self._clock = clock
        self._by_name = by_name
        self._contacts: dict[str, _Contact] = {}
        self._retired: set[asyncio.Task[None]] = set()
        self._handshakes = asyncio.Semaphore(HANDSHAKES_IN_FLIGHT)
        self.bring(HELPER.read_bytes())

    def bring(self, program: bytes) -> None:
        """Choose the helper that connections from now on bring to their hosts."""
        self._helper = program
        self._helper_name = f"fleetd-host-{hashlib.sha256(program).hexdigest()[:16]}"

    async def facts(self, host: Host, *, timeout_s: float) -> HostFacts:
        """Ask what the host is."""
        reply = await self._ask(host, "facts", b"", timeout_s=timeout_s, fresh=False)
        try:
            return facts_of(reply)
        except WireError as error:
            raise OutcomeUnknown(f"{host.name}: {error}") from error

    async def status(self, host: Host, *, timeout_s: float, fresh: bool = False) -> HostStatus:
        """Ask how its activation stands."""
        reply = await self._ask(host, "status", b"", timeout_s=timeout_s, fresh=fresh)
        return self._status(host, reply)

    async def order(self, host: Host, order: Order, *, timeout_s: float, fresh: bool = False) -> HostStatus:
        """Send an order, once."""
        document = encode_order(order)
        reply = await self._ask(host, order.verb.value, document, timeout_s=timeout_s, fresh=fresh)
        if reply.end != "ok":
            raise OrderRefused(reply.code, reply.message or f"{host.name} answered {reply.end} {reply.code}")
        return self._status(host, reply)

    async def link(self, host: Host, *, timeout_s: float, fresh: bool = False) -> SshLink:
        """Return the host's connection, or a new one that replaces it."""
        contact = self._contacts.setdefault(host.name, _Contact())
        async with contact.lock:
            if contact.link is not None and contact.link.is_alive and not fresh:
                return contact.link
            new = await self._connect(host, contact, timeout_s)
            old, contact.link = contact.link, new
        if old is not None:
            self._retire(host, old)
        return new

    def _doubt(self, host: Host, link: SshLink | None) -> None:
        """No answer in time: the next question goes over a new connection; what else runs over this one may go on."""
        contact = self._contacts.get(host.name)
        if link is not None and contact is not None and contact.link is link:
            contact.link = None
            self._retire(host, link)

    def _retire(self, host: Host, link: SshLink) -> None:
        """Let a replaced connection end when what runs over it has: a copy, or the hosts behind it."""
        task = asyncio.get_running_loop().create_task(link.retire(RETIRED_LONGEST_S), name=f"retire/{host.name}")
        self._retired.add(task)
        task.add_done_callback(self._retired.discard)

    async def close(self) -> None:
        """Close every connection."""
        links = [contact.link for contact in self._contacts.values() if contact.link is not None]
        self._contacts.clear()
        retired = list(self._retired)
        for task in retired:
            task.cancel()
        await asyncio.gather(*(link.close() for link in links), *retired, return_exceptions=True)

    async def _connect(self, host: Host, contact: _Contact, timeout_s: float) -> SshLink:
        wait_s = contact.not_before - self._clock.now()
        if wait_s > timeout_s:
            raise Unreachable(f"{host.name}: did not answer {contact.failures} times, tried again in {wait_s:.0f} s")
        if wait_s > 0:
            await self._clock.sleep(wait_s)
        try:
            through = await self._through(host, timeout_s)
            async with self._handshakes:
                link = await connect(host, self._identity, through=through, timeout_s=timeout_s)
        except HostError:
            contact.failures += 1
            over = contact.failures - FREE_FAILURES
            if over >= 0:
                pause_s = min(BACKOFF_LARGEST_S, BACKOFF_FIRST_S * 2.0 ** min(over, 10))
                jitter = random.uniform(0.5, 1.0)  # noqa: S311 - spreads retries, guards nothing
                contact.not_before = self._clock.now() + pause_s * jitter
            raise
        contact.failures = 0
        contact.not_before = 0.0
        return link

    async def _through(self, host: Host, timeout_s: float) -> SshLink | None:
        if host.jump is None:
            return None
        jump = self._by_name(host.jump)
        if jump is None:
            raise Unreachable(f"{host.name}: its jump host {host.jump!r} is not in the fleet file")
        return await self.link(jump, timeout_s=timeout_s)

    async def _ask(self, host: Host, verb: str, document: bytes, *, timeout_s: float, fresh: bool) -> Reply:
        """Run the helper once and return its reply. Raises Unreachable only when nothing was sent."""
        sent = False
        link: SshLink | None = None
        try:
            async with asyncio.timeout(timeout_s):
                link = await self.link(host, timeout_s=timeout_s, fresh=fresh)
                helper = await self._helper_on(host, link)
                channel = await link.open([helper, verb], privileged=True)
                sent = True
                try:
                    return await self._exchange(host, channel, document)
                finally:
                    await channel.close()
        except TimeoutError as error:
            self._doubt(host, link)
            if not sent:
                raise Unreachable(f"{host.name}: no contact within {timeout_s:.0f} s") from error
            raise OutcomeUnknown(f"{host.name}: no reply to {verb} within {timeout_s:.0f} s") from error
        except OutcomeUnknown as error:
            if sent:
                raise
            raise Unreachable(str(error)) from error

    async def _exchange(self, host: Host, channel: ByteChannel, document: bytes) -> Reply:
        channel.write(document)
        channel.write_eof()
        reply = bytearray()
        while piece := await channel.read(64 * 1024):
            reply += piece
            if len(reply) > REPLY_LIMIT_BYTES:
                raise OutcomeUnknown(f"{host.name}: the reply is too long to be one")
        try:
            return parse_reply(bytes(reply))
        except WireError as error:
            said = channel.stderr_tail().strip()[-300:]
            raise OutcomeUnknown(f"{host.name}: {error}{': ' + said if said else ''}") from error

    def _status(self, host: Host, reply: Reply) -> HostStatus:
        try:
            return status_of(reply)
        except WireError as error:
            raise OutcomeUnknown(f"{host.name}: {error}") from error

    async def _helper_on(self, host: Host, link: SshLink) -> str:
        """Return where the helper is on the host; bring it there on the first use of a connection.

        It is added to the host's store by content, so its path names exactly this program and nobody can change it.
        """
        if link.helper is not None:
            return link.helper
        # The name of the file becomes the name of the store path; `test` is all a second contact costs.
        script = (
            'set -eu; d=$(mktemp -d); trap \'rm -rf "$d"\' EXIT; f="$d/$1"; cat > "$f"; chmod 755 "$f"; '
            'p=$(nix-store --add "$f"); mkdir -p /nix/var/nix/gcroots/fleetd; '
            'ln -sfn "$p" /nix/var/nix/gcroots/fleetd/helper; printf "%s\\n" "$p"'
        )
        channel = await link.open(["sh", "-c", script, "sh", self._helper_name], privileged=True)
        try:
            channel.write(self._helper)
            channel.write_eof()
            said = bytearray()
            while (piece := await channel.read(4096)) and len(said) < 4096:
                said += piece
            status = await channel.wait(30)
        finally:
            await channel.close()
        path = said.decode("utf-8", errors="replace").strip()
        if status != 0 or not path.startswith("/nix/store/"):
            tail = channel.stderr_tail().strip()[-500:] or path
            raise Unreachable(f"{host.name}: the helper cannot be installed (exit {status}): {tail}")
        link.helper = path
        return path
