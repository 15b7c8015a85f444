"""Which host of a fleet is the machine that fleetd itself runs on: it goes last and alone, and others bear witness.

A switch there restarts the daemon. If that does not come back, nobody renews the trial, and the guard takes the host
back to the system whose daemon worked; nothing else may be half done at that moment.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fleetd.model.fleet import Fleet, Host

LAST_WAVE = "control node"


@dataclass(frozen=True, slots=True)
class Machine:
    """What this machine is: its machine-id ("" where it has none), and its host name."""

    id: str
    hostname: str


def own_host(machine: Machine, fleet: Fleet, machine_id_of: Callable[[str], str]) -> str | None:
    """Return the host that is this machine; ``machine_id_of`` says what is known of a host, "" for nothing.

    Of a host that was never looked at, its name decides: to take another host for this one puts it last, and no more.
    """
    known = {name: machine_id_of(name) for name in fleet.hosts}
    for name, machine_id in known.items():
        if machine.id and machine_id == machine.id:
            return name
    return machine.hostname if known.get(machine.hostname) == "" else None


def witnesses(fleet: Fleet, host: str, *, is_free: Callable[[str], bool]) -> Sequence[Host]:
    """Return the hosts that may be asked whether they reach ``host``: those that are not under way themselves."""
    return [other for other in fleet.hosts.values() if other.name != host and is_free(other.name)]
