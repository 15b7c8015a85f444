"""An order is on its way for long, and its controller has settled meanwhile: when it arrives, the host refuses it.

fleetd's own connection and order code meet the host here without a daemon in between, so that the test decides when an
order arrives: a helper acts once its input has ended, and the end is what is held back.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from lab import LabHost
from lab import system as systems
from lab.scene import Scene
from lab.seed import copy_to

from fleetd.clock import SystemClock
from fleetd.host.connection import SshIdentity
from fleetd.host.port import SshHosts
from fleetd.host.wire import Reply, encode_order, parse_reply
from fleetd.model.facts import HelperState
from fleetd.model.fence import Fence
from fleetd.model.fleet import Host
from fleetd.model.order import Order, OrderTimes, Verb
from fleetd.ports import ByteChannel

pytestmark = [pytest.mark.lab, pytest.mark.asyncio]

TIMES = OrderTimes(switch_timeout_s=30, contact_timeout_s=60, cap_s=120, commit_timeout_s=30, revert_timeout_s=60)
CONTACT_S = 20.0


class Late:
    """An order that has left its controller and has not arrived."""

    def __init__(self, channel: ByteChannel) -> None:
        self._channel = channel

    async def arrive(self) -> Reply:
        """Let it arrive, and return what the host answers."""
        self._channel.write_eof()
        said = bytearray()
        async with asyncio.timeout(CONTACT_S):
            while piece := await self._channel.read(4096):
                said += piece
        await self._channel.close()
        return parse_reply(bytes(said))


class Controller:
    """What a controller knows of one host: how to reach it, and how to write an order for it."""

    def __init__(self, scene: Scene, host: LabHost) -> None:
        identity = SshIdentity(client_keys=(str(scene.lab.private_key),), known_hosts=str(scene.lab.known_hosts))
        self.hosts = SshHosts(identity, SystemClock(), lambda _name: None)
        self.host = Host(name=host.name, addresses=(host.address,))

    async def order(self, verb: Verb, seq: int, toplevel: str = "") -> Order:
        """Return an order that is right for the host as it is now."""
        facts = await self.hosts.facts(self.host, timeout_s=CONTACT_S)
        return Order(
            verb=verb,
            id=f"r-1.{self.host.name}.1",
            fence=Fence(1, seq),
            host=self.host.name,
            machine_id=facts.machine_id,
            boot_id=facts.boot_id,
            uptime_limit_s=facts.uptime_s + 300,
            toplevel=toplevel,
            expect_current=facts.current if toplevel else "",
            expect_profile=facts.profile if toplevel else "",
            times=TIMES if toplevel else None,
        )

    async def send(self, order: Order) -> HelperState:
        """Send an order, and return the state that the host answers."""
        return (await self.hosts.order(self.host, order, timeout_s=CONTACT_S)).state

    async def send_late(self, order: Order) -> Late:
        """Send an order of which everything but the end reaches the host."""
        link = await self.hosts.link(self.host, timeout_s=CONTACT_S)
        assert link.helper is not None
        channel = await link.open([link.helper, order.verb.value], privileged=True)
        channel.write(encode_order(order))
        return Late(channel)

    async def until(self, state: HelperState) -> None:
        """Wait until the host is in this state."""
        async with asyncio.timeout(90):
            while True:
                if (await self.hosts.status(self.host, timeout_s=CONTACT_S)).state is state:
                    return
                await asyncio.sleep(0.3)


@asynccontextmanager
async def controllers(scene: Scene, host: LabHost) -> AsyncIterator[tuple[Controller, Controller]]:
    """Two that have a connection each: the one whose order is late, and the one that settles."""
    both = Controller(scene, host), Controller(scene, host)
    try:
        yield both
    finally:
        for controller in both:
            await controller.hosts.close()


async def test_a_late_trial_starts_nothing(scene: Scene) -> None:
    (host,) = scene.hosts("web1")
    before = scene.runs(host)
    new = scene.build(systems.good, ["web1"], "v2")["web1"]
    copy_to(host.root, new)
    async with controllers(scene, host) as (slow, quick):
        late = await slow.send_late(await slow.order(Verb.TRIAL, 10, new))
        assert await quick.send(await quick.order(Verb.SETTLE, 20)) is HelperState.IDLE
        reply = await late.arrive()
    assert (reply.end, reply.code) == ("refused", "stale-fence")
    assert scene.runs(host) == before
    assert scene.switches(host) == 0
    assert scene.record(host, "state") == "", "there is no activation"


async def test_a_late_commit_commits_nothing(scene: Scene) -> None:
    (host,) = scene.hosts("web2")
    before = scene.runs(host)
    new = scene.build(systems.good, ["web2"], "v2")["web2"]
    copy_to(host.root, new)
    async with controllers(scene, host) as (slow, quick):
        await slow.send(await slow.order(Verb.TRIAL, 10, new))
        await slow.until(HelperState.TRIAL)
        late = await slow.send_late(await slow.order(Verb.COMMIT, 20))
        assert await quick.send(await quick.order(Verb.SETTLE, 30)) is HelperState.TRIAL
        reply = await late.arrive()
        assert (reply.end, reply.code) == ("refused", "stale-fence")
        assert scene.runs(host) == (new, before[1], before[2]), "it runs on trial, and nothing more"
        await quick.send(await quick.order(Verb.REVERT, 40))
        await quick.until(HelperState.REVERTED)
    assert scene.runs(host) == before
    assert scene.page(host) == "greeting v1"
