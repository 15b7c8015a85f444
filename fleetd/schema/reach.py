"""What the fleet file may say of addresses that are sockets of the control node, which no other host can use."""

from __future__ import annotations

from fleetd.errors import FleetdError
from fleetd.model.check import Check, HttpCheck, TcpCheck, Via
from fleetd.model.fleet import Fleet, socket_path
from fleetd.model.selector import select
from fleetd.schema.problems import word_of

SOCKET_PATH_BYTES = 107
"""What the kernel takes (``sun_path`` has 108, with its end)."""


def socket_problem(address: str, jump: str | None) -> str | None:
    """Return what is wrong with an address, as the end of a sentence; None for a good one, or one of the network."""
    path = socket_path(address)
    if path is None:
        return None
    if not path.startswith("/") or path.endswith("/"):
        return "must name a socket by its absolute path (unix:/run/…)"
    if len(path.encode()) > SOCKET_PATH_BYTES:
        return f"is longer than the path of a socket may be ({SOCKET_PATH_BYTES} bytes)"
    if jump is not None:
        return "is a socket on the control node, where no jump host leads (leave out jump)"
    return None


def reach_problems(fleet: Fleet) -> list[str]:
    """Return what asks for an address of the network where a host has none, a sentence each."""
    hidden = {host.name for host in fleet.hosts.values() if not host.network_addresses}
    found = [
        f"hosts.{word_of(host.name)}.jump: {host.jump!r} is reached through a socket alone, and leads nowhere"
        for host in fleet.hosts.values()
        if host.jump in hidden
    ]
    for check in fleet.checks:
        if not _asks_the_address(check):
            continue
        try:
            chosen = hidden.intersection(select(fleet, check.on))
        except FleetdError:
            continue  # told where selectors are
        place = f"checks ({word_of(check.name)})"
        found += [
            f'{place}: the controller cannot ask {word_of(name)} over the network (write: via = "host")'
            for name in sorted(chosen)
        ]
    return found


def _asks_the_address(check: Check) -> bool:
    match check.kind:
        case HttpCheck(via=Via.CONTROLLER, url=url):
            return "{address}" in url
        case TcpCheck(via=via):
            return via is Via.CONTROLLER
        case _:
            return False
