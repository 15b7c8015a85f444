"""``SshHosts``: every host of the fleet over ssh. One long-lived connection each, and a fresh one for each proof."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from fleetd.errors import (
    HostError,
    HostIdentityError,
    LoginRefused,
    OrderRefused,
    OutcomeUnknown,
    Unreachable,
)
from fleetd.host.connection import SshIdentity, SshLink, connect
from fleetd.host.refusals import lacks_privilege, no_privilege, not_installed
from fleetd.host.wire import REPLY_LIMIT_BYTES, Reply, WireError, encode_order, facts_of, parse_reply, status_of
from fleetd.model.facts import HostFacts, HostStatus
from fleetd.model.fleet import Host, Privilege
from fleetd.model.order import Order
from fleetd.ports import ByteChannel, Clock
from fleetd.rollout.timing import BUILD_TIMEOUT_S, COPY_TIMEOUT_S

HELPER = Path(__file__).parent / "helper" / "fleetd-host"

HANDSHAKES_IN_FLIGHT = 50
"""A handshake costs 3–5 ms of one core; more at once only make each one later."""

BACKOFF_FIRST_S = 1.0
BACKOFF_LARGEST_S = 60.0

REFUSED_FIRST_S = 10.0
"""After a login that was refused, from the first on. sshd (OpenSSH 9.8 and newer, ``PerSourcePenalties``) holds 5 s for
each against the address that it came from, and once 15 s have gathered nobody gets in from there, with no key. Half of
this is the shortest wait, so nothing gathers."""

FREE_FAILURES = 2
"""Failures after which the backoff begins: a host that reboots must be found again at once."""


RETIRED_LONGEST_S = COPY_TIMEOUT_S + BUILD_TIMEOUT_S + 600.0
"""How long a replaced connection may still carry what it carried: the longest copy with the build that may go with it
has its own deadline, which must come first."""


PINNED_HELPER = "/etc/fleetd-host/run"
"""Where a host that brings its own helper has it (nixos-modules/target): then nothing is installed there."""

FIND_HELPER = (
    f"if [ -x {PINNED_HELPER} ]; then echo {PINNED_HELPER}; "
    'elif [ -n "$1" ] && [ -x "$1" ]; then printf "%s\\n" "$1"; fi'
)
"""Asked as the deploy user, once for each connection; ``$1`` is where the helper was the last time."""

HELPER_ROOTS = "/nix/var/nix/gcroots/fleetd"

INSTALL_HELPER = """
set -eu
d=$(mktemp -d)
trap 'rm -rf "$d"' EXIT
f=$d/$1
cat > "$f"
chmod 755 "$f"
full() {
  b=$(($(stat -f -c '%a * %S' /nix/store))) && [ "$b" -lt 1000000 ] &&
    echo "No space left on device: the helper takes $(wc -c <"$f") bytes, and /nix/store has $b bytes free" >&2
}
p=$(nix-store --add "$f") || { full; exit 1; }
mkdir -p "$2"
ln -sfn "$p" "$2/helper"
nix-store --add "$f"
"""
"""Makes the helper a path of the host's store, named ``$1`` and rooted in ``$2``, and prints it.

By its content, so that the path names exactly this program and nobody can change it. Added twice: nothing holds it from
the end of the first command until a collector that starts later sees the root. On a full disk SQLite says "disk I/O
error" and no number; Nix's database and its log want a few hundred kilobytes, so that below 1 MB that is why.
"""

INSTALL_S = 30.0
"""A few dozen kilobytes and one path added to a store."""


class _NotThere(OutcomeUnknown):
    """The helper is not where it was: collected, since another controller rooted another one."""


async def _never_ran(channel: ByteChannel) -> bool:
    """Whether a command that said nothing was not found, by a shell or by sudo."""
    status = await channel.wait(INSTALL_S)
    return status == 127 or (status == 1 and "command not found" in channel.stderr_tail())


class _Contact:
    """What is kept of one host between calls."""

    def __init__(self) -> None:
        self.link: SshLink | None = None
        self.helper = ""
        self.lock = asyncio.Lock()
        self.failures = 0
        self.refused = 0
        self.not_before = 0.0
        self.problem: HostError | None = None
        self.address: str | None = None
        """Over which of its addresses it was reached the last time."""


def _pause_s(contact: _Contact) -> float:
    """Return how long a host is left alone after what happened last; half of it at least."""
    if contact.refused > 0:
        return min(BACKOFF_LARGEST_S, REFUSED_FIRST_S * 2.0 ** min(contact.refused - 1, 10))
    over = contact.failures - FREE_FAILURES
    return min(BACKOFF_LARGEST_S, BACKOFF_FIRST_S * 2.0 ** min(over, 10)) if over >= 0 else 0.0


def _again_in(host: Host, contact: _Contact, wait_s: float) -> HostError:
    """Say that the host is left alone for a while: what kind of trouble it is must not change by that."""
    later = f"tried again in {wait_s:.0f} s"
    match contact.problem:
        case LoginRefused() | HostIdentityError() as problem:
            return type(problem)(f"{problem}; {later}")
        case _:
            return Unreachable(f"{host.name}: did not answer {contact.failures} times, {later}")


class SshHosts:
    """The port ``HostPort`` over ssh."""

    def __init__(
        self,
        identity: SshIdentity,
        clock: Clock,
        by_name: Callable[[str], Host | None],
        sign: Callable[[bytes], bytes] | None = None,
    ) -> None:
        """Log in with ``identity``; ``by_name`` finds jump hosts, ``sign`` returns the signature over an order."""
        self._sign = sign
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
        try:
            document = encode_order(order)
        except WireError as error:
            raise OrderRefused("bad-order", f"{host.name}: nothing was sent: {error}") from error
        if self._sign is not None:
            document += self._sign(document)
        reply = await self._ask(host, order.verb.value, document, timeout_s=timeout_s, fresh=fresh)
        if reply.end != "ok":
            raise OrderRefused(reply.code, reply.message or f"{host.name} answered {reply.end} {reply.code}")
        return self._status(host, reply)

    async def link(self, host: Host, *, timeout_s: float, fresh: bool = False) -> SshLink:
        """Return the host's connection, or a new one that replaces it: by wish, or since the fleet file changed."""
        contact = self._contacts.setdefault(host.name, _Contact())
        async with contact.lock:
            if contact.link is not None and contact.link.is_alive and contact.link.host == host and not fresh:
                return contact.link
            new = await self._connect(host, contact, timeout_s)
            old, contact.link = contact.link, new
        if old is not None:
            self._retire(host, old)
        return new

    def expect(self, host: Host) -> None:
        """Ask at once again where nobody answered; a login that was refused is put off as before, lest it bans us."""
        contact = self._contacts.get(host.name)
        if contact is not None and contact.refused == 0:
            contact.failures, contact.not_before = 0, 0.0

    def reached_at(self, host: Host) -> str | None:
        """Return the address over which the host was reached last; None where it never was, or no longer has that."""
        contact = self._contacts.get(host.name)
        return contact.address if contact is not None and contact.address in host.addresses else None

    def let_go(self, host: Host) -> None:
        """Keep no connection to a host; what runs over it just now goes on to its end."""
        contact = self._contacts.get(host.name)
        if contact is not None and contact.link is not None:
            link, contact.link = contact.link, None
            self._retire(host, link)

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
            raise _again_in(host, contact, wait_s)
        if wait_s > 0:
            await self._clock.sleep(wait_s)
        try:
            through = await self._through(host, timeout_s)
            async with self._handshakes:
                link = await connect(host, self._identity, through=through, timeout_s=timeout_s, first=contact.address)
        except HostError as error:
            contact.failures += 1
            contact.refused = contact.refused + 1 if isinstance(error, LoginRefused) else 0
            contact.problem = error
            jitter = random.uniform(0.5, 1.0)  # noqa: S311 - spreads retries, guards nothing
            contact.not_before = self._clock.now() + _pause_s(contact) * jitter
            raise
        contact.failures = contact.refused = 0
        contact.not_before = 0.0
        contact.problem = None
        contact.address = link.address
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
        # What would be asked over: where no channel opens on it in time, it is dead, and nobody has noticed yet.
        link = None if fresh else self._contacts.setdefault(host.name, _Contact()).link
        try:
            async with asyncio.timeout(timeout_s):
                link, channel = await self._start(host, verb, timeout_s=timeout_s, fresh=fresh)
                sent = True
                try:
                    return await self._exchange(host, channel, document)
                except _NotThere:
                    # A shell looked for the helper in vain, so nothing of the order was read: bring it, and ask again.
                    sent = False
                    link.helper = None
                finally:
                    await channel.close()
                link, channel = await self._start(host, verb, timeout_s=timeout_s, fresh=False)
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

    async def _start(self, host: Host, verb: str, *, timeout_s: float, fresh: bool) -> tuple[SshLink, ByteChannel]:
        """Return a connection with the helper started on it; one that turns out to be dead is replaced once."""
        known = self._contacts.setdefault(host.name, _Contact()).link
        link = await self.link(host, timeout_s=timeout_s, fresh=fresh)
        try:
            return link, await link.open([await self._helper_on(host, link), verb], privileged=True)
        except OutcomeUnknown:
            if link is not known:
                raise
        self._doubt(host, link)
        link = await self.link(host, timeout_s=timeout_s)
        return link, await link.open([await self._helper_on(host, link), verb], privileged=True)

    async def _exchange(self, host: Host, channel: ByteChannel, document: bytes) -> Reply:
        with suppress(OutcomeUnknown):  # what it answered, if it did, says more
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
            if not reply and await _never_ran(channel):
                raise _NotThere(str(error)) from error
            said = channel.stderr_tail().strip()[-300:]
            if not reply and host.privilege is not Privilege.NONE and lacks_privilege(said):
                # The privilege command spoke in place of the helper, which therefore never ran.
                raise no_privilege(host, said) from error
            raise OutcomeUnknown(f"{host.name}: {error}{': ' + said if said else ''}") from error

    def _status(self, host: Host, reply: Reply) -> HostStatus:
        try:
            return status_of(reply)
        except WireError as error:
            raise OutcomeUnknown(f"{host.name}: {error}") from error

    async def _helper_on(self, host: Host, link: SshLink) -> str:
        """Return where the helper is on the host: its own, or the one that was brought there before, or by now."""
        if link.helper is not None:
            return link.helper
        contact = self._contacts.setdefault(host.name, _Contact())
        known = contact.helper if contact.helper.endswith(self._helper_name) else ""  # else it was another program
        found, _ = await self._say(link, ["sh", "-c", FIND_HELPER, "sh", known], b"", privileged=False)
        if not found.startswith("/"):
            script = ["sh", "-c", INSTALL_HELPER, "sh", self._helper_name, HELPER_ROOTS]
            found, problem = await self._say(link, script, self._helper, privileged=True)
            if not found.startswith("/nix/store/"):
                raise not_installed(host, problem or found)
        contact.helper = link.helper = found
        return found

    async def _say(self, link: SshLink, argv: list[str], stdin: bytes, *, privileged: bool) -> tuple[str, str]:
        """Run a command to its end; return its first words, if it succeeded, and what went wrong."""
        channel = await link.open(argv, privileged=privileged)
        try:
            with suppress(OutcomeUnknown):  # it may have ended already, and then says why
                channel.write(stdin)
            channel.write_eof()
            said = bytearray()
            while (piece := await channel.read(4096)) and len(said) < 4096:
                said += piece
            status = await channel.wait(INSTALL_S)
        finally:
            await channel.close()
        text = said.decode("utf-8", errors="replace").strip()
        if status == 0:
            return text, ""
        return "", f"exit {status}: {channel.stderr_tail().strip()[-500:] or text}"
