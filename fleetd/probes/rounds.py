"""One round of checks on one host: every check at once, one fresh connection for all that ask on the host."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from urllib.parse import urlsplit

import aiohttp

from fleetd.errors import FleetdError, OutcomeUnknown, Unreachable
from fleetd.model.check import (
    BUILT_IN_TIMEOUT_S,
    Check,
    CheckOutcome,
    CheckResult,
    CommandCheck,
    HttpCheck,
    TcpCheck,
    UnitCheck,
    Via,
)
from fleetd.model.facts import UNREADABLE, HostStatus
from fleetd.model.fleet import BootKind, Host
from fleetd.ports import ByteChannel, HostLink, HostPort, ProbeRequest

BODY_LIMIT_BYTES = 1024 * 1024
OUTPUT_LIMIT_BYTES = 4096
WITNESSES = 3
"""So many other hosts are asked; each may be down for reasons of its own."""
Answer = tuple[CheckOutcome, str]
PASS, FAIL, ERROR = CheckOutcome.PASS, CheckOutcome.FAIL, CheckOutcome.ERROR


class Probes:
    """The port ``Probe``."""

    def __init__(self, hosts: HostPort, witnesses: Callable[[Host], Sequence[Host]] = lambda _host: ()) -> None:
        """Ask over ``hosts``; ``witnesses`` says who else has to reach a host before its login counts."""
        self._hosts = hosts
        self._witnesses = witnesses
        self._session: aiohttp.ClientSession | None = None

    async def round(self, host: Host, request: ProbeRequest) -> tuple[CheckResult, ...]:
        """Make every check of the request."""
        on_host = bool(request.builtin) or any(_asks_on_host(check) for check in request.checks)
        link, status, problem = None, None, ""
        if on_host:
            try:
                # A new login through the whole path is the proof itself; the round shares its connection.
                link = await self._hosts.link(host, timeout_s=BUILT_IN_TIMEOUT_S, fresh=True)
                if request.builtin:
                    status = await self._hosts.status(host, timeout_s=BUILT_IN_TIMEOUT_S)
            except FleetdError as error:
                problem = str(error)
        own = await asyncio.gather(*(self._own(host, check, link, problem) for check in request.checks))
        built_in = [await self._built_in(host, name, request, link, status, problem) for name in request.builtin]
        return (*built_in, *own)

    async def close(self) -> None:
        """Close the HTTP client."""
        if self._session is not None:
            await self._session.close()

    # -- the fleet file's checks ----------------------------------------------------------------------------------

    async def _own(self, host: Host, check: Check, link: HostLink | None, problem: str) -> CheckResult:
        if _asks_on_host(check) and link is None:
            return CheckResult(check.name, ERROR, f"could not ask on the host: {problem}")
        try:
            async with asyncio.timeout(check.timeout_s):
                outcome, text = await self._ask(host, check, link)
        except TimeoutError:
            outcome, text = FAIL, f"no answer within {check.timeout_s:g} s"
        except FleetdError as error:
            outcome, text = ERROR, str(error)
        return CheckResult(check.name, outcome, text)

    async def _ask(self, host: Host, check: Check, link: HostLink | None) -> Answer:
        match check.kind:
            case HttpCheck(via=Via.CONTROLLER) as kind:
                return await self._http(host, kind, self._address_of(host))
            case HttpCheck() as kind:
                return await _http_on_host(_need(link), host, kind)
            case TcpCheck(port=port, via=Via.CONTROLLER):
                return await _tcp(self._address_of(host), port)
            case TcpCheck(port=port):
                return await _tcp_on_host(_need(link), port)
            case UnitCheck(unit=unit):
                status, said = await _command(_need(link), ("systemctl", "is-active", "--", unit))
                return (PASS, "active") if status == 0 else (FAIL, said or "not active")
            case CommandCheck(command=command):
                status, said = await _command(_need(link), command)
                return (PASS, "") if status == 0 else (FAIL, f"exit {status}: {said}")

    async def _http(self, host: Host, kind: HttpCheck, address: str) -> Answer:
        if self._session is None:
            # A new connection each time: one from before the switch would be answered behind a firewall that takes none
            # any more. No limit over all hosts: those that hang must not make others wait, which is a failure as well.
            connector = aiohttp.TCPConnector(limit=0, force_close=True)
            self._session = aiohttp.ClientSession(connector=connector, auto_decompress=True)
        url = url_for(host, kind, address)
        try:
            async with self._session.get(url, allow_redirects=False) as response:
                body = bytearray()
                # One read returns what has arrived so far, which may be half of the page.
                while len(body) < BODY_LIMIT_BYTES and (piece := await response.content.read(64 * 1024)):
                    body += piece
                return judge_http(kind, response.status, bytes(body))
        except aiohttp.ClientConnectorDNSError as error:
            return ERROR, str(error)
        except (aiohttp.ClientError, OSError) as error:
            return FAIL, str(error) or type(error).__name__

    def _address_of(self, host: Host) -> str:
        """Return where the host was reached last, for a switch may have moved it; else the first of its addresses."""
        reached = self._hosts.reached_at(host)
        return reached if reached in host.network_addresses else next(iter(host.network_addresses), host.name)

    # -- the built-in ones ----------------------------------------------------------------------------------------

    async def _built_in(
        self,
        host: Host,
        name: str,
        request: ProbeRequest,
        link: HostLink | None,
        status: HostStatus | None,
        problem: str,
    ) -> CheckResult:
        if name == "login":
            outcome, text = (FAIL, problem) if status is None else await self._witnessed(host)
            return CheckResult(name, outcome, text)
        if link is None or status is None:
            return CheckResult(name, ERROR, problem or "no status")
        ask: dict[str, Callable[[], Awaitable[Answer]]] = {
            "units": lambda: _units(status),
            "route": lambda: _route(status),
            "redeployable": lambda: _redeployable(link),
            "state": lambda: self._state(host, request),
        }
        try:
            async with asyncio.timeout(BUILT_IN_TIMEOUT_S):
                outcome, text = await ask[name]()
        except (TimeoutError, FleetdError) as error:
            outcome, text = ERROR, str(error) or "no answer in time"
        return CheckResult(name, outcome, text)

    async def _witnessed(self, host: Host) -> Answer:
        """Pass where one of the witnesses reaches the host's sshd, or there are none to ask.

        This machine reaches itself also where it is cut off from all others: that proves nothing of its network.
        """
        said = list[str]()
        chosen = list(self._witnesses(host))[:WITNESSES]
        for witness in chosen:
            try:
                async with asyncio.timeout(BUILT_IN_TIMEOUT_S):
                    if await self._reaches(witness, host):
                        return PASS, ""
                said.append(f"{witness.name}: what answers is no sshd")
            except TimeoutError:
                said.append(f"{witness.name}: no answer in time")
            except FleetdError as error:
                said.append(f"{witness.name}: {error}")
        return (FAIL, f"no other host reaches it: {'; '.join(said)}") if chosen else (PASS, "")

    async def _reaches(self, witness: Host, host: Host) -> bool:
        link = await self._hosts.link(witness, timeout_s=BUILT_IN_TIMEOUT_S)
        channel = await link.open_tcp(_address_for_others(host), host.port)
        try:
            return (await channel.read(4)).startswith(b"SSH-")
        finally:
            await channel.close()

    async def _state(self, host: Host, request: ProbeRequest) -> Answer:
        facts = await self._hosts.facts(host, timeout_s=BUILT_IN_TIMEOUT_S)
        if not facts.state_durable:
            return FAIL, "its state would not survive a reboot"
        if request.expect is not None and facts.current != request.expect:
            return FAIL, f"it runs {facts.current}"
        wanted = request.boot_default
        by_permission = host.boot is BootKind.EXTERNAL and facts.boot_default == UNREADABLE
        if wanted is not None and facts.boot_default != wanted and not by_permission:
            return FAIL, f"it would boot {facts.boot_default}"
        return PASS, ""


def _address_for_others(host: Host) -> str:
    """Return the first address that means this host on another one as well; else its name."""
    for address in host.network_addresses:
        if address != "localhost" and not address.startswith("127.") and address != "::1":
            return address
    return host.name


MANAGER = "init.scope"
"""systemd itself: the helper says that it is down when it does not answer, and then nothing is known of the others."""


async def _units(status: HostStatus) -> Answer:
    if MANAGER in status.down_units:
        return ERROR, "systemd does not answer on the host"
    bad = [f"{unit} failed" for unit in status.failed_units]
    bad += [f"{unit} is down" for unit in status.down_units]
    bad += [f"{unit} still runs what was before the switch" for unit in status.behind_units]
    return (FAIL, ", ".join(bad)) if bad else (PASS, "")


async def _route(status: HostStatus) -> Answer:
    return (PASS, "") if status.route_ok else (FAIL, "the default route is gone")


async def _redeployable(link: HostLink) -> Answer:
    """The push path as the next deploy will use it: the server greets, and answers a question."""
    channel = await link.open(("nix-store", "--serve", "--write"))
    try:
        numbers = (0x390C9DEB, 0x0207, 1, 0, 0, 0)  # hello, then which of no paths are valid
        channel.write(b"".join(number.to_bytes(8, "little") for number in numbers))
        await channel.drain()
        answer = b""
        while len(answer) < 24:
            piece = await channel.read(24 - len(answer))
            if not piece:
                return FAIL, f"nix-store --serve ended: {channel.stderr_tail().strip()[-200:]}"
            answer += piece
    finally:
        await channel.close()
    good = int.from_bytes(answer[:8], "little") == 0x5452EECB
    return (PASS, "") if good else (FAIL, "nix-store --serve does not speak its protocol")


def url_for(host: Host, kind: HttpCheck, address: str) -> str:
    """Return the URL with its braces filled in; an IPv6 address gets its brackets."""
    shown = f"[{address}]" if ":" in address else address
    return kind.url.replace("{address}", shown).replace("{name}", host.name).replace("{port}", str(host.port))


def judge_http(kind: HttpCheck, status: int, body: bytes) -> Answer:
    """Return what an answer means."""
    if status not in kind.status:
        return FAIL, f"answered {status}, expected {' or '.join(str(code) for code in kind.status)}"
    if kind.contains and kind.contains.encode() not in body:
        return FAIL, f"answered {status}, and the page does not contain {kind.contains!r}"
    return PASS, f"answered {status}"


async def _http_on_host(link: HostLink, host: Host, kind: HttpCheck) -> Answer:
    """GET over a connection that the host makes to itself; HTTP/1.0, so the end of the answer is its end."""
    url = urlsplit(url_for(host, kind, "127.0.0.1"))
    authority, name = url.netloc, url.hostname or "127.0.0.1"
    path = (url.path or "/") + (f"?{url.query}" if url.query else "")
    try:
        channel = await link.open_tcp("127.0.0.1" if name in host.addresses else name, url.port or 80)
    except Unreachable as error:
        return FAIL, str(error)
    try:
        channel.write(f"GET {path} HTTP/1.0\r\nHost: {authority}\r\nConnection: close\r\n\r\n".encode())
        data = await _read_up_to(channel, BODY_LIMIT_BYTES)
    finally:
        await channel.close()
    head, _, body = data.partition(b"\r\n\r\n")
    words = head.split(b" ", 2)
    if len(words) < 2 or not words[1][:3].isdigit():
        return FAIL, "what answered does not speak HTTP"
    return judge_http(kind, int(words[1][:3]), body)


async def _tcp(address: str, port: int) -> Answer:
    try:
        _reader, writer = await asyncio.open_connection(address, port)
    except socket.gaierror as error:
        return ERROR, f"{address}: {error}"
    except OSError as error:
        return FAIL, str(error)
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return PASS, "accepted"


async def _tcp_on_host(link: HostLink, port: int) -> Answer:
    try:
        channel = await link.open_tcp("127.0.0.1", port)
    except Unreachable as error:
        return FAIL, str(error)
    await channel.close()
    return PASS, "accepted"


async def _command(link: HostLink, argv: tuple[str, ...]) -> tuple[int, str]:
    channel = await link.open(argv)
    try:
        channel.write_eof()
        said = await _read_up_to(channel, OUTPUT_LIMIT_BYTES)
        status = await channel.wait(BUILT_IN_TIMEOUT_S)
    finally:
        await channel.close()
    text = (said.decode("utf-8", errors="replace") + channel.stderr_tail()).strip()
    return status, text[-300:]


async def _read_up_to(channel: ByteChannel, limit: int) -> bytes:
    data = bytearray()
    while len(data) < limit and (piece := await channel.read(64 * 1024)):
        data += piece
    return bytes(data)


def _asks_on_host(check: Check) -> bool:
    match check.kind:
        case HttpCheck(via=via) | TcpCheck(via=via):
            return via is Via.HOST
        case UnitCheck() | CommandCheck():
            return True


def _need(link: HostLink | None) -> HostLink:
    if link is None:
        raise OutcomeUnknown("no connection to the host")
    return link
