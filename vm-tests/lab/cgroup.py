"""The control group of a host: who is in it, ending all of them at once, and taking it away.

Each host has one of its own, in the v2 tree and in the machine's ``systemd`` tree where there is one: hosts that share
a tree end each other's units.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

from lab.errors import LabError
from lab.run import until

MOUNT = Path("/sys/fs/cgroup")
GONE_S = 10
NOT_YET = ("systemd-nspawn", "(sd-")
"""Before it becomes the host's systemd, its first process is nspawn's, and not yet in the host's root."""


def _trees() -> list[Path]:
    """Return the trees in which a host has a group; the v2 tree is the first."""
    unified = MOUNT / "unified"
    if not unified.is_dir():
        return [MOUNT]
    return [tree for tree in (unified, MOUNT / "systemd") if tree.is_dir()]


def _every_tree() -> list[Path]:
    """Return the trees above, and that in which memory is counted where it is another one."""
    memory = MOUNT / "memory"
    return [*_trees(), *([memory] if memory.is_dir() else [])]


def names(prefix: str) -> set[str]:
    """Return the groups at the top of any tree whose names begin so."""
    return {place.name for tree in _every_tree() for place in tree.glob(f"{prefix}*") if place.is_dir()}


def limit_memory(name: str, limit_bytes: int) -> None:
    """Let everything in a host together take so much memory from now on; beyond it the kernel ends processes there.

    What its processes have already is not counted where memory has a tree of its own. Raises LabError without either.
    """
    memory = MOUNT / "memory"
    if memory.is_dir():
        group = memory / name
        group.mkdir(exist_ok=True)
        (group / "memory.limit_in_bytes").write_text(str(limit_bytes))
        for _ in range(3):  # what a process begins while it is moved is found the next time
            for pid in pids(name):
                try:
                    (group / "cgroup.procs").write_text(str(pid))
                except ProcessLookupError:
                    continue  # It ended meanwhile.
        return
    limit = _trees()[0] / name / "memory.max"
    if not limit.exists():
        raise LabError(f"nothing here counts the memory of {name}: neither {memory} nor {limit}")
    limit.write_text(str(limit_bytes + int((limit.parent / "memory.current").read_text())))


def _below(top: Path) -> list[Path]:
    """Return a group and all below it, the deepest first."""
    return [Path(directory) for directory, _names, _files in os.walk(top, topdown=False)]


def pids(name: str) -> list[int]:
    """Return the processes in a host's group, by their ids on this machine."""
    found: list[int] = []
    for group in _below(_trees()[0] / name):
        try:
            found += [int(word) for word in (group / "cgroup.procs").read_text().split()]
        except OSError:
            continue  # The group went away while it was read.
    return found


def leader(name: str) -> int | None:
    """Return the process that is number 1 in the host, or None while there is none."""
    for pid in pids(name):
        try:
            status = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            continue
        said = dict(line.split(":", 1) for line in status.splitlines())
        inner = said.get("NSpid", "").split()
        if len(inner) == 2 and inner[1] == "1" and not said["Name"].strip().startswith(NOT_YET):
            return pid
    return None


def kill(name: str) -> None:
    """End every process of a host with one write; nothing in it gets to run another instruction."""
    switch = _trees()[0] / name / "cgroup.kill"
    try:
        switch.write_text("1")
    except OSError:
        # A kernel before 5.14, or no group: the first process takes the rest of its namespace along.
        for pid in pids(name):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue


def remove(name: str) -> None:
    """Take a host's empty groups away. Raises LabError when something lives in them for long.

    A group that was killed once must go: the kernel ends whatever is later cloned into it.
    """

    def gone() -> bool:
        for tree in _every_tree():
            for group in _below(tree / name):
                try:
                    group.rmdir()
                except OSError:
                    continue  # Looked at again below.
        return not any((tree / name).is_dir() for tree in _every_tree())

    until(gone, GONE_S, lambda: f"the control group {name} does not go away; in it: {pids(name)}")
