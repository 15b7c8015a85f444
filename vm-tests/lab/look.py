"""What a host shows, read at its console or from its disk: never through fleetd, and never through the network."""

from __future__ import annotations

import json
from pathlib import Path

from lab.host import LabHost
from lab.run import until

HELPER_STATE = "/nix/var/fleetd-host"
ENDS_S = 120
"""Longer than any guard of the tests' policies takes to fire, and to take a host back, on a busy machine."""


def runs(host: LabHost) -> tuple[str, str, str]:
    """Return (running system, profile, boot default) of a host that is on."""
    return host.readlink("/run/current-system"), profile(host), boot_default(host)


def profile(host: LabHost) -> str:
    """Return the system that the host's profile leads to."""
    return host.readlink("/nix/var/nix/profiles/system")


def boot_default(host: LabHost) -> str:
    """Return the system of the entry that the boot loader's configuration names; empty when there is none."""
    named = dict(line.split(maxsplit=1) for line in host.read("/boot/loader/loader.conf").splitlines() if " " in line)
    entry = host.read(f"/boot/loader/entries/{named['default'].strip()}")
    init = next((word for word in entry.split() if word.startswith("init=")), "")
    return init.removeprefix("init=").removesuffix("/init")


def page(host: LabHost) -> str:
    """Return what the host's web server says; empty when nobody answers."""
    return answer(host)[1]


def answer(host: LabHost) -> tuple[int, str]:
    """Return the status and the text with which the host's web server answers; (0, "") when nobody does."""
    words = ("curl", "-s", "--max-time", "5", "-w", "\n%{http_code}", "http://127.0.0.1:8080/")
    text, _, status = host.inside(*words, check=False).stdout.rpartition("\n")
    return int(status or 0), text.strip()


def switches(host: LabHost) -> int:
    """Return how often a switch has begun on the host, whoever asked for it."""
    host.inside("journalctl", "--sync")
    said = host.inside("journalctl", "-q", "-t", "nixos", "-o", "cat").stdout.splitlines()
    return sum(line.startswith("switching to ") and " failed (" not in line for line in said)


def invocation(host: LabHost, unit: str) -> str:
    """Return the id of a unit's present run: another one after a restart."""
    return host.inside("systemctl", "show", "-p", "InvocationID", "--value", unit).stdout.strip()


def began_s(host: LabHost, unit: str) -> float:
    """Return when a unit (a pattern) first began in this boot, on the clock that /proc/uptime shows."""
    host.inside("journalctl", "--sync")
    words = ("journalctl", "-q", "-b", "-o", "json", "-u", unit, "--output-fields=MESSAGE", "-n", "+1")
    return int(json.loads(host.inside(*words).stdout)["__MONOTONIC_TIMESTAMP"]) / 1e6


def has_begun(host: LabHost, unit: str) -> bool:
    """Whether a unit (a pattern) has begun in this boot."""
    host.inside("journalctl", "--sync")
    # It fails where no unit that matches was ever heard of.
    return host.inside("journalctl", "-q", "-b", "-o", "cat", "-u", unit, check=False).stdout != ""


def took_s(host: LabHost, unit: str) -> float:
    """Return how long the main process of a unit ran, the last time."""
    names = ("ExecMainStartTimestampMonotonic", "ExecMainExitTimestampMonotonic")
    begun, ended = (int(host.inside("systemctl", "show", "-p", name, "--value", unit).stdout) for name in names)
    return (ended - begun) / 1e6


# -- what fleetd has left there -------------------------------------------------------------------------------------


def orders(host: LabHost) -> list[str]:
    """Return what orders have left on the host, on or off: activations by id, and the fence that any order raises."""
    place = host.path(HELPER_STATE)
    left = [entry.name for entry in place.iterdir() if _is_of_an_order(entry)] if place.is_dir() else []
    return sorted(left)


def _is_of_an_order(entry: Path) -> bool:
    return entry.is_dir() or entry.name == "fence"


def record(host: LabHost, name: str) -> str:
    """Return one line of the newest activation's record; empty when there is none."""
    active = host.path(f"{HELPER_STATE}/active")
    if not active.exists():
        return ""
    line = host.path(f"{HELPER_STATE}/{active.read_text().strip()}/{name}")
    try:
        return line.read_text().strip()
    except FileNotFoundError:
        return ""


def wait_state(host: LabHost, *states: str, timeout_s: float = ENDS_S) -> None:
    """Wait until the newest activation is in one of these states. Raises LabError when it does not come to that."""
    until(
        lambda: record(host, "state") in states,
        timeout_s,
        lambda: f"{host.name}: the activation is {record(host, 'state') or 'unknown'}, not {' or '.join(states)}",
    )
