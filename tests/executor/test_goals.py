"""Orders of goals other than ``switch``, over a simulated machine."""

from __future__ import annotations

from random import Random

from fleetd.executor.on_host import OnHost
from fleetd.model.facts import HelperState, HostStatus
from fleetd.model.fence import Fence
from fleetd.model.fleet import Host
from fleetd.rollout import events as e
from fleetd.rollout.states import Task
from tests.fakes.control import FakeBlobs
from tests.rollout.worlds import spec_of, system
from tests.simulation.sim_host import SimHost
from tests.simulation.sim_machine import SimMachine
from tests.simulation.sim_ports import SimHosts, SimStore, Weather
from tests.simulation.virtual_time import VirtualClock, VirtualLoop

HOST, SPEC = Host("h1", ("10.0.0.1",)), spec_of(("h1",))
OLD, NEW = system("h1", 1), system("h1", 2)


class Watched(SimHosts):
    """Notes over which kind of connection a status is asked."""

    def __init__(self, machine: SimMachine) -> None:
        super().__init__({"h1": machine}, Weather(), Random(1))
        self.fresh: list[bool] = []

    async def status(self, host: Host, *, timeout_s: float, fresh: bool = False) -> HostStatus:
        self.fresh.append(fresh)
        return await super().status(host, timeout_s=timeout_s, fresh=fresh)


def carried_out(
    intent: e.StageIntended | e.DryRunIntended, *, copied: bool = True
) -> tuple[e.Event, Watched, FakeBlobs]:
    """Return the outcome of an intent on a machine, and what was asked and kept."""
    loop = VirtualLoop()
    machine = SimMachine(SimHost("h1", OLD), {}, loop, lambda _machine: None)
    if copied:
        machine.host.valid.add(NEW)
    hosts, blobs = Watched(machine), FakeBlobs()
    on_host = OnHost(VirtualClock(loop), hosts, SimStore(), blobs)

    async def run() -> e.Event:
        if isinstance(intent, e.StageIntended):
            return await on_host.carry_out(SPEC, Task(NEW), intent, HOST)
        return await on_host.dry_run(SPEC, Task(NEW), intent, HOST)

    try:
        return loop.run_until_complete(run()), hosts, blobs
    finally:
        loop.close()


def test_what_is_staged_is_believed_over_a_connection_of_its_own() -> None:
    outcome, hosts, _blobs = carried_out(e.StageIntended(1.0, "r-1", "h1", Fence(1, 7), 2e9, OLD, "machine-h1"))
    assert isinstance(outcome, e.HostReported)
    assert (outcome.state, outcome.ours) == (HelperState.STAGED, True)
    assert hosts.fresh[-1]
    assert not any(hosts.fresh[:-1])


def test_another_machine_is_not_staged() -> None:
    outcome, _hosts, _blobs = carried_out(e.StageIntended(1.0, "r-1", "h1", Fence(1, 7), 2e9, OLD, "another"))
    assert isinstance(outcome, e.OrderRejected)
    assert outcome.code == "wrong-host"


def test_the_words_of_a_dry_activation_are_kept() -> None:
    asked = e.DryRunIntended(1.0, "r-1", "h1", Fence(1, 7), 2e9)
    outcome, _hosts, blobs = carried_out(asked)
    assert isinstance(outcome, e.DryRunDone)
    assert outcome.reason == ""
    assert any("would restart web.service" in text for text in blobs.texts.values())
    refused, _hosts, _blobs = carried_out(asked, copied=False)
    assert isinstance(refused, e.OrderRejected)
    assert refused.code == "not-valid"
