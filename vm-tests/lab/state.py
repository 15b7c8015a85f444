"""What is written down about labs: which there are, which number each has, and which process each ends with.

Everything is on disk before it is made, so that the next run can take away whatever a crash left.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lab import cgroup, disk, net
from lab.errors import LabError
from lab.run import until

STATE = Path("/run/fleetd-lab")
LARGEST_INDEX = 200
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")
LOCK_S = 120
POWER_OFF_S = 10


@dataclass(frozen=True)
class Owner:
    """A process, named so that no later one can be taken for it."""

    pid: int
    started: str
    boot_id: str

    def is_alive(self) -> bool:
        """Whether that very process still runs."""
        return owner(self.pid) == self

    def __str__(self) -> str:
        return f"process {self.pid}"


def owner(pid: int) -> Owner | None:
    """Return a process as an owner; None when there is none of that number, or only what is left of one."""
    try:
        # The program's name is in brackets and may hold anything; what follows is state (1st) … start time (20th).
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return None if words[0] in "ZX" else Owner(pid, words[19], boot_id)


@contextmanager
def lock(file: Path, what: str) -> Iterator[None]:
    """Hold a lock; raises LabError when another process holds it for long."""
    with file.open("a") as handle:

        def taken() -> bool:
            return try_lock(handle.fileno())

        until(taken, LOCK_S, lambda: f"somebody else works on {what} (lock: {file})")
        yield


def try_lock(descriptor: int, kind: int = fcntl.LOCK_EX) -> bool:
    """Take a lock if nobody else holds it."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def check_name(name: str, what: str) -> None:
    """Raise LabError unless a lab or host may have this name."""
    if NAME.fullmatch(name) is None:
        raise LabError(f"{name!r} is no name for a {what}: small letters, digits and '-', at most 31")


def names() -> list[str]:
    """Return the labs there are on disk, running or crashed."""
    return sorted(place.parent.name for place in STATE.glob("*/lab.json"))


def numbers() -> dict[str, int]:
    """Return the number of each lab; one that goes away meanwhile is left out."""
    found = {}
    for name in names():
        try:
            found[name] = int(read(name)["index"])
        except LabError:
            continue
    return found


def read(name: str) -> dict[str, Any]:
    """Return what is written about a lab. Raises LabError when there is none of that name."""
    try:
        document: dict[str, Any] = json.loads((STATE / name / "lab.json").read_text())
    except OSError as error:
        known = ", ".join(names()) or "none"
        raise LabError(f"there is no lab {name!r} (there are: {known})") from error
    return document


def write(name: str, document: dict[str, Any]) -> None:
    """Write down what is to be known about a lab."""
    place = STATE / name
    place.mkdir(parents=True, exist_ok=True)
    draft = place / f".lab.json.{os.getpid()}"
    draft.write_text(json.dumps(document, indent=1) + "\n")
    draft.rename(place / "lab.json")


def keep(name: str) -> None:
    """Say that a lab does not end with any process."""
    write(name, {**read(name), "owner": None})


def owner_of(name: str) -> Owner | None:
    """Return the process that a lab ends with, if any."""
    saved = read(name).get("owner")
    return None if saved is None else Owner(**saved)


def is_crashed(name: str) -> bool:
    """Whether the process that a lab was to end with is gone."""
    bound = owner_of(name)
    return bound is not None and not bound.is_alive()


def take(name: str) -> int:
    """Reserve a name and a number for the calling process; what a crashed run left under either is removed.

    Raises LabError while a lab of that name is up, or when there are too many labs.
    """
    check_name(name, "lab")
    STATE.mkdir(parents=True, exist_ok=True)
    with lock(STATE / "lock", "the list of labs"):
        if name in names():
            if not is_crashed(name):
                bound = owner_of(name)
                whose = f"by {bound}" if bound is not None else f"(end it: python -m lab down {name})"
                raise LabError(f"lab {name!r} is up already {whose}")
            sweep(name, int(read(name)["index"]))
        used = set(numbers().values())
        index = next((number for number in range(1, LARGEST_INDEX + 1) if number not in used), None)
        if index is None:
            raise LabError(f"{len(used)} labs are up, more than there are networks for (see: python -m lab list)")
        mine = owner(os.getpid())
        write(name, {"index": index, "base": "/", "owner": asdict(mine) if mine is not None else None, "hosts": []})
    sweep_index(index)
    return index


def remove(name: str, index: int) -> None:
    """Remove a lab, unless that is done already and the name belongs to another one."""
    with lock(STATE / "lock", "the list of labs"):
        if name in names() and int(read(name)["index"]) == index:
            sweep(name, index)


def sweep(name: str, index: int) -> None:
    """Take away everything of a lab: processes, mounts, network, files. Safe to repeat, also after a crash."""
    place = STATE / name
    for host in place.glob("host*"):
        (host / "off").touch()
    sweep_index(index)
    until(lambda: not any(is_on(host) for host in place.glob("host*")), POWER_OFF_S, lambda: f"{name}: a host stays on")
    disk.unmount_below(place)
    # What says that the lab exists goes last.
    for entry in place.iterdir() if place.is_dir() else ():
        if entry.name != "lab.json":
            disk.discard(entry) if entry.is_dir() else entry.unlink(missing_ok=True)
    disk.discard(place)


def sweep_index(index: int) -> None:
    """End the processes and remove the network of lab number ``index``, whoever made them."""
    end = time.monotonic() + POWER_OFF_S
    while living := [group for group in cgroup.names(f"fl{index}h") if cgroup.pids(group)]:
        for group in living:
            cgroup.kill(group)
        if time.monotonic() > end:
            raise LabError(f"processes in {', '.join(sorted(living))} do not end")
        time.sleep(0.02)
    for group in cgroup.names(f"fl{index}h"):
        cgroup.remove(group)
    net.remove(index)


def is_on(place: Path) -> bool:
    """Whether the host that lives in this directory has power: its supervisor holds a lock while it has."""
    try:
        with (place / "power").open() as handle:
            return not try_lock(handle.fileno(), fcntl.LOCK_SH)
    except FileNotFoundError:
        return False


def clean(*, everything: bool = False) -> list[str]:
    """Remove what crashed runs left, and with ``everything`` also the labs that are up; returns the names of labs."""
    STATE.mkdir(parents=True, exist_ok=True)
    gone = []
    with lock(STATE / "lock", "the list of labs"):
        for name in names():
            if everything or is_crashed(name):
                sweep(name, int(read(name)["index"]))
                gone.append(name)
        used = set(numbers().values())
        groups = {net.index_of(group) for group in cgroup.names("fl")}
        for index in (net.indices() | {number for number in groups if number is not None}) - used:
            sweep_index(index)
            gone.append(f"what was left of number {index}")
        for place in STATE.iterdir():
            if place.is_dir() and not (place / "lab.json").exists():
                disk.discard(place)
    return gone
