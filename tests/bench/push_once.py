"""fleetd's side of a benchmark, in a process of its own: pushes one closure to some hosts and prints what it took.

The orders come as JSON on stdin, see ``Order``. Time runs from before the first connection (or, ``warm``, from after
it) to the last host's root; start-up of the interpreter is left out, since the daemon is up already.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import uvloop

from fleetd.clock import SystemClock
from fleetd.host.connection import SshIdentity
from fleetd.host.port import SshHosts
from fleetd.model.fleet import Host
from fleetd.model.store_path import StorePath
from fleetd.nix.nar import dump
from fleetd.nix.store import NixStore
from fleetd.push.pusher import ServePusher
from fleetd.push.transfer import PushSettings


@dataclass(frozen=True)
class Order:
    """``hosts`` are (name, address, port, key); ``store`` is where on the hosts; ``env`` is the control node's Nix."""

    hosts: list[tuple[str, str, int, str]]
    identity: str
    toplevel: str
    control: str
    env: dict[str, str]
    store: str
    warm: bool = False


async def main(order: Order) -> dict[str, float]:
    hosts = [Host(name, (address,), port=port, host_key=key) for name, address, port, key in order.hosts]
    links = SshHosts(SshIdentity((order.identity,), None), SystemClock(), lambda _name: None)
    store = NixStore(Path(order.control) / "roots", order.env, Path(order.control))
    server = ("nix-store", "--serve", "--write", "--store", f"local?root={order.store}")
    settings = PushSettings(server=server, root_directory=f"{order.store}/gcroots")

    def archive(path: str):  # type: ignore[no-untyped-def]  # what dump gives
        return dump(order.control + path)

    pusher = ServePusher(links, store, archive, None, settings)
    toplevel = StorePath(order.toplevel)

    async def push(host: Host) -> int:
        report = await pusher.push(host, toplevel, root="bench-next", progress=lambda *_: None, timeout_s=600)
        return report.bytes

    if order.warm:
        await asyncio.gather(*(push(host) for host in hosts))
    before, begun = _cpu_s(), time.monotonic()
    sent = sum(await asyncio.gather(*(push(host) for host in hosts)))
    taken_s, cpu_s = time.monotonic() - begun, _cpu_s() - before
    await links.close()
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "wall_s": taken_s,
        "cpu_s": cpu_s,
        "peak_mb": peak_kib * 1024 / 1e6,
        "bytes": sent,
        "read": pusher.read_bytes,
    }


def _cpu_s() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


if __name__ == "__main__":
    print(json.dumps(uvloop.run(main(Order(**json.load(sys.stdin))))))
