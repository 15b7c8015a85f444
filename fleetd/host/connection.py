"""One authenticated ssh connection to a host, and how it is made: everything explicit, nothing trusted by default."""

from __future__ import annotations

import asyncio
import ipaddress
import shlex
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import asyncssh
from asyncssh.constants import MSG_IGNORE

from fleetd.errors import HostIdentityError, LoginRefused, OutcomeUnknown, Unreachable
from fleetd.host.channel import CLOSE_TIMEOUT_S, LINK_ERRORS, CommandChannel, TcpChannel
from fleetd.model.fleet import Host, Privilege, socket_path
from fleetd.ports import ByteChannel

CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com", "aes256-ctr")
"""AES-GCM first: 640 MB/s against 285 MB/s of chacha20 with AES-NI (measured on asyncssh 2.24)."""

TCP_INFO_BYTES = 152
"""Up to and with ``tcpi_min_rtt``, microseconds, of ``struct tcp_info`` (linux/tcp.h; Linux 4.6 and newer)."""

KEEPALIVE_S = 15.0
KEEPALIVE_COUNT = 3
"""A read without keepalive waits for ever on a frozen peer (asyncssh issue 321); 45 s find it."""


@dataclass(frozen=True, slots=True)
class SshIdentity:
    """With what fleetd logs in, and whom it believes. Times in seconds."""

    client_keys: tuple[str, ...]
    known_hosts: str | None
    connect_timeout_s: float = 10.0
    login_timeout_s: float = 30.0


class _Client(asyncssh.SSHClient):
    """Remembers the key that the server showed, so that a refusal can name it."""

    def __init__(self) -> None:
        self.shown: asyncssh.SSHKey | None = None

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        """Called only for a key that is not known: remember and refuse."""
        del host, addr, port
        self.shown = key
        return False


def command_line(argv: Sequence[str], privilege: Privilege | None) -> str:
    """Return the one string that a remote shell gets, every word quoted."""
    match privilege:
        case None | Privilege.NONE:
            prefix: tuple[str, ...] = ()
        case Privilege.SUDO:
            prefix = ("sudo", "-n", "--")
        case Privilege.RUN0:
            # A unit of its own, so nothing that runs above the helper knows where the controller came from.
            prefix = ("run0", "--no-ask-password", "--setenv=SSH_CONNECTION", "--")
        case Privilege.DOAS:
            prefix = ("doas", "-n", "--")
    return shlex.join([*prefix, *argv])


class SshLink:
    """A connection to one host, perhaps through another one, which then outlives it."""

    def __init__(
        self, host: Host, connection: asyncssh.SSHClientConnection, address: str, through: SshLink | None = None
    ) -> None:
        self._host = host
        self._connection = connection
        self._address = address
        self._users = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._let_go = through.hold() if through is not None else lambda: None
        self.helper: str | None = None
        """The path of the helper on this host, once this connection has made sure of it."""

    @property
    def host(self) -> Host:
        """The host as the fleet file had it when this connection was made."""
        return self._host

    @property
    def address(self) -> str:
        """Over which of the host's addresses it was made."""
        return self._address

    @property
    def is_alive(self) -> bool:
        """Whether the connection is not known to be closed."""
        return not self._connection.is_closed()

    def round_trip_s(self) -> float | None:
        """Return the kernel's shortest round trip; None through a jump host, or a tunnel or proxy on this machine."""
        tcp = self._connection.get_extra_info("socket")
        if self._host.jump is not None or tcp is None:
            return None
        try:
            address = ipaddress.ip_address(tcp.getpeername()[0])
            info = tcp.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_BYTES)
        except (OSError, ValueError, IndexError):
            return None
        if address.is_loopback or len(info) < TCP_INFO_BYTES:
            return None
        return int.from_bytes(info[-4:], sys.byteorder) / 1e6

    @property
    def raw(self) -> asyncssh.SSHClientConnection:
        """The connection itself, for the hosts behind this one."""
        return self._connection

    def hold(self) -> Callable[[], None]:
        """Count one more user of this connection; return what ends that use. The caller calls it once."""
        self._users += 1
        self._idle.clear()

        def release() -> None:
            self._users -= 1
            if self._users == 0:
                self._idle.set()

        return release

    async def retire(self, timeout_s: float) -> None:
        """Close once nobody uses it any more, at the latest after ``timeout_s``."""
        try:
            async with asyncio.timeout(timeout_s if self.is_alive else 0):
                await self._idle.wait()
        except TimeoutError:
            pass
        finally:
            await self.close()

    async def open(self, argv: Sequence[str], *, privileged: bool = False) -> ByteChannel:
        """Start a command. Raises OutcomeUnknown when the link is lost."""
        line = command_line(argv, self._host.privilege if privileged else None)
        try:
            process = await self._connection.create_process(line, encoding=None)
        except LINK_ERRORS as error:
            raise OutcomeUnknown(f"{self._host.name}: cannot open a channel: {error}") from error
        return CommandChannel(process, f"{self._host.name}: {argv[0]}", self.hold())

    async def open_tcp(self, address: str, port: int) -> ByteChannel:
        """Let the host open a TCP connection. Raises Unreachable when it is refused there."""
        try:
            reader, writer = await self._connection.open_connection(address, port, encoding=None)
        except asyncssh.ChannelOpenError as error:
            raise Unreachable(f"{self._host.name}: {address}:{port} refused there: {error.reason}") from error
        except LINK_ERRORS as error:
            raise OutcomeUnknown(f"{self._host.name}: the link was lost: {error}") from error
        return TcpChannel(reader, writer, f"{self._host.name}: {address}:{port}", self.hold())

    async def close(self) -> None:
        """Close, waiting a bounded time, then abort."""
        let_go, self._let_go = self._let_go, lambda: None
        let_go()
        self._connection.close()
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._connection.wait_closed()
        except (TimeoutError, *LINK_ERRORS):
            self._connection.abort()


def known_hosts_for(host: Host, identity: SshIdentity) -> asyncssh.SSHKnownHosts:
    """Return the keys that prove to be this host: its own from the fleet file, else the file of known hosts.

    Raises HostIdentityError when there is neither, or the key cannot be read.
    """
    try:
        if host.host_key is not None:
            names = [host.name, *(_pattern(address, host.port) for address in host.network_addresses)]
            return asyncssh.import_known_hosts(f"{','.join(names)} {host.host_key}\n")
        if identity.known_hosts is not None:
            return asyncssh.read_known_hosts(identity.known_hosts)
    except (OSError, ValueError, asyncssh.Error) as error:
        raise HostIdentityError(f"{host.name}: its host key cannot be read: {error}") from error
    raise HostIdentityError(f"{host.name}: no host_key in the fleet file, and no known_hosts file is configured")


def _pattern(address: str, port: int) -> str:
    return address if port == 22 else f"[{address}]:{port}"


async def connect(
    host: Host, identity: SshIdentity, *, through: SshLink | None, timeout_s: float, first: str | None = None
) -> SshLink:
    """Log in over the first address that answers; ``first`` is tried before the others, where it is one of them.

    Raises HostIdentityError (another key), LoginRefused (the user or key), Unreachable (everything else).
    """
    known = known_hosts_for(host, identity)
    problems: list[str] = []
    for address in sorted(host.addresses, key=lambda address: address != first):
        try:
            async with asyncio.timeout(min(timeout_s, identity.connect_timeout_s + identity.login_timeout_s)):
                connection = await _connect_one(host, address, identity, known, through.raw if through else None)
                return SshLink(host, connection, address, through)
        except TimeoutError:
            problems.append(f"{address}: no answer in time")
        except asyncssh.PermissionDenied as error:
            raise LoginRefused(_refusal_text(host, address, identity, error.reason)) from error
        except LINK_ERRORS as error:
            problems.append(f"{address}: {error}")
    raise Unreachable(f"{host.name}: {'; '.join(problems)}")


async def _connect_one(
    host: Host,
    address: str,
    identity: SshIdentity,
    known: asyncssh.SSHKnownHosts,
    tunnel: asyncssh.SSHClientConnection | None,
) -> asyncssh.SSHClientConnection:
    client = _Client()
    path = socket_path(address)
    where: dict[str, Any] = {"host": address, "port": host.port, "tunnel": tunnel or (), "known_hosts": known}
    if path is not None:
        # A path is no address, and asyncssh would read it as one: the host is known there by its name alone.
        known_by_name = known.match(host.name, "", None)
        where = {
            "sock": await _open_socket(path, identity),
            "known_hosts": lambda _host, _address, _port: known_by_name,
        }
    try:
        connection, _client = await asyncssh.create_connection(
            lambda: client,
            **where,
            username=host.user,
            client_keys=list(identity.client_keys),
            config=None,
            agent_path=None,
            encryption_algs=list(CIPHERS),
            keepalive_interval=KEEPALIVE_S,
            keepalive_count_max=KEEPALIVE_COUNT,
            connect_timeout=identity.connect_timeout_s,
            login_timeout=identity.login_timeout_s,
        )
    except asyncssh.HostKeyNotVerifiable as error:
        raise HostIdentityError(_identity_text(host, address, client.shown)) from error
    _leave_out_ignored(connection)
    return connection


async def _open_socket(path: str, identity: SshIdentity) -> socket.socket:
    """Connect to a socket of this machine, behind which a host's own ssh client listens for us."""
    opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    opened.setblocking(False)
    try:
        async with asyncio.timeout(identity.connect_timeout_s):
            await asyncio.get_running_loop().sock_connect(opened, path)
    except FileNotFoundError as error:
        opened.close()
        raise OSError("there is no such socket: the host has not connected") from error
    except BaseException:
        opened.close()
        raise
    return opened


def _leave_out_ignored(connection: asyncssh.SSHClientConnection) -> None:
    """Send no empty packet before each packet.

    asyncssh does, against an attack on CBC ciphers (RFC 4251, 9.3.1), and none of CIPHERS is one. Each costs as much
    as a packet with data: a tenth to a quarter of the controller's CPU in a copy, when measured on asyncssh 2.24.
    """
    send = connection.send_packet

    def send_packet(pkttype: int, *args: bytes, handler: Any = None) -> None:
        if pkttype != MSG_IGNORE:
            send(pkttype, *args, handler=handler)

    connection.send_packet = send_packet  # type: ignore[method-assign]  # there is no setting for it


def _refusal_text(host: Host, address: str, identity: SshIdentity, reason: str) -> str:
    keys = " ".join(f"-i {shlex.quote(key)}" for key in identity.client_keys)
    port = "" if host.port == 22 else f" -p {host.port}"
    where = address if socket_path(address) is None else host.name
    return (
        f"{host.name} ({address}): login as {host.user} refused: {reason}: either the host has no such user (`user` in "
        "the fleet file), or that user's authorized_keys there lack fleetd's key (`ssh.identity`); to see for yourself,"
        f" ssh {keys}{port} {host.user}@{where}"
    )


def _identity_text(host: Host, address: str, shown: asyncssh.SSHKey | None) -> str:
    found = shown.get_fingerprint() if shown is not None else "no key of a kind that is known"
    expected = "one in the known_hosts file"
    if host.host_key is not None:
        expected = asyncssh.import_public_key(host.host_key).get_fingerprint()
    return (
        f"{host.name} ({address}) shows the host key {found}, expected {expected}: "
        "if the host was reinstalled, write its new key into the fleet file; if not, something else answers there"
    )
