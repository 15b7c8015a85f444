"""Whether a run leaves the machine as it found it: mounts, namespaces, links, filters, control groups, processes.

Other labs may be alive on the same machine meanwhile, and are nobody's leftovers: what belongs to a lab whose process
lives is left out. Processes are known by a mark in their environment, which whatever a run starts inherits.

What it cannot see: mounts outside of the lab's state and cache, namespaces, links and filters under other names than
the lab's, and what a process that gave up its environment has made. The lists of the whole machine say nothing of who
made what is new in them, and another program may mount, or bring a link up, at any moment; so they are not compared. A
namespace without a name lives no longer than the processes in it, and those are found by their mark.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from lab import cgroup, net, state
from lab.base import cache_directory
from lab.errors import LabError
from lab.run import POLL_S, say

MARK = "FLEETD_LAB_RUN"
INTERRUPTED = 130
TIDYING_S = 60
ENDING_S = 10
"""A process that was told to end may need a moment, and so may what the kernel takes away after it."""


def watch(argv: Sequence[str]) -> int:
    """Run a command, name what it leaves behind, and return its exit code; 1 where it did well but left something.

    What is left of labs is removed then, as ``clean`` would. Raises LabError when there is no such command.
    """
    if not argv or shutil.which(argv[0]) is None:
        raise LabError(f"there is no program {' '.join(argv[:1])!r} to run")
    mark = secrets.token_hex(8)
    before = things()
    code = _run_to_end(argv, mark)
    left = _left(before, mark)
    for line in left:
        say(f"left behind: {line}")
    if left:
        say(f"removed: {', '.join(state.clean()) or 'nothing'}")
    return code if code != 0 else int(bool(left))


def _run_to_end(argv: Sequence[str], mark: str) -> int:
    """Run a command; an interruption from the keyboard reaches it as well, and it gets a while to tidy up."""
    with subprocess.Popen(argv, env={**os.environ, MARK: mark}) as child:
        try:
            return child.wait()
        except KeyboardInterrupt:
            try:
                child.wait(TIDYING_S)
            except (KeyboardInterrupt, subprocess.TimeoutExpired):
                child.kill()
            return INTERRUPTED


def _left(before: set[str], mark: str) -> list[str]:
    """Return what there is now and was not before, once it no longer gets less by itself."""
    end = time.monotonic() + ENDING_S
    while True:
        left = sorted(things() - before) + marked(mark)
        if not left or time.monotonic() > end:
            return left
        time.sleep(POLL_S)


def things() -> set[str]:
    """Return what labs are made of, as far as it is no living lab's, a line each."""
    alive = {name: number for name, number in state.numbers().items() if not _is_crashed(name)}
    numbers = set(alive.values())
    mounts = {f"mount {place}" for place in _mounts() if not any(state.STATE / name in place.parents for name in alive)}
    groups = {f"control group {name}" for name in cgroup.names("fl") if net.index_of(name) not in numbers | {None}}
    network = {line for line, index in net.things().items() if index not in numbers}
    files = {f"directory {place}" for place in state.STATE.glob("*/") if place.name not in alive}
    return mounts | groups | network | files


def _is_crashed(name: str) -> bool:
    try:
        return state.is_crashed(name)
    except LabError:
        return False  # It has gone meanwhile, with all that it had.


def _mounts() -> list[Path]:
    """Return the mount points below the places in which labs mount."""
    tops = (state.STATE, cache_directory())
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    places = [Path(line.split()[4].encode().decode("unicode_escape")) for line in lines]
    return [place for place in places if any(top in place.parents for top in tops)]


def marked(mark: str) -> list[str]:
    """Return the processes that carry a mark, a line each."""
    wanted = f"{MARK}={mark}".encode()
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            is_ours = wanted in (entry / "environ").read_bytes().split(b"\0")
            words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:
            continue  # It has ended meanwhile.
        if is_ours and state.owner(int(entry.name)) is not None:
            found.append(f"process {entry.name} {words[:200]}")
    return sorted(found)
