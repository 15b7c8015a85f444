"""A host's disk: an overlay on the base tree whose upper side is a size-limited tmpfs of the host's own.

Writes are fast, a full disk is really full (``ENOSPC`` for everyone in the host, ``/nix`` included), and the data stay
over a reboot and a power cut, because the mount is outside of the host.
"""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

from lab.errors import LabError
from lab.run import quiet, run, until

BLOCK = 4096
LONGEST_CHAIN = 40
"""As many links one after the other as the kernel follows."""
UNMOUNT_S = 10


def mount(place: Path, base: Path, size_bytes: int) -> None:
    """Mount ``place/root``: the base tree below, and a fresh and empty disk of ``size_bytes`` above."""
    for name in ("disk", "root"):
        (place / name).mkdir(exist_ok=True)
    run("mount", "-t", "tmpfs", "-o", f"size={size_bytes},mode=755", "fleetd-lab", place / "disk")
    for name in ("upper", "work"):
        (place / "disk" / name).mkdir()
    options = f"lowerdir={base},upperdir={place / 'disk/upper'},workdir={place / 'disk/work'}"
    run("mount", "-t", "overlay", "overlay", "-o", options, place / "root")


def mounts_below(top: Path) -> list[Path]:
    """Return the mount points below a directory, and the directory where it is one, the last mounted first."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        target = Path(line.split()[4].encode().decode("unicode_escape"))
        if top in (target, *target.parents):
            found.append(target)
    return found[::-1]


def unmount_below(top: Path) -> None:
    """Unmount everything at and below a directory. Raises LabError when something holds a mount for long."""

    def gone() -> bool:
        for target in mounts_below(top):
            quiet("umount", target)
        return not mounts_below(top)

    until(gone, UNMOUNT_S, lambda: f"cannot unmount {', '.join(map(str, mounts_below(top)))}: something uses them")


def discard(top: Path) -> None:
    """Remove a directory and all mounts below it."""
    unmount_below(top)
    if top.exists():
        shutil.rmtree(top)


def fill(place: Path, leave_bytes: int) -> None:
    """Fill a host's disk until ``leave_bytes`` are left, rounded down to whole blocks."""
    if leave_bytes < 0:
        raise LabError(f"a disk cannot be filled until {leave_bytes} bytes are left")
    disk = place / "disk"
    with (disk / "ballast").open("ab", buffering=0) as ballast:
        step = shutil.disk_usage(disk).free
        # The host goes on writing meanwhile, so: until it is full, and not once as much as was free.
        while step >= BLOCK and (excess := shutil.disk_usage(disk).free - leave_bytes) >= BLOCK:
            step = min(step, excess) // BLOCK * BLOCK
            try:
                os.posix_fallocate(ballast.fileno(), os.fstat(ballast.fileno()).st_size, step)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                step //= 2


def unfill(place: Path) -> None:
    """Undo ``fill``."""
    (place / "disk/ballast").unlink(missing_ok=True)


def resolve(root: Path, path: str) -> Path:
    """Return where ``path`` of the host leads, seen from outside; every link is followed as the host would.

    The result may not exist. Raises LabError for a path that is not absolute, and for a loop.
    """
    if not path.startswith("/"):
        raise LabError(f"{path!r} is not an absolute path")
    todo, done, followed = [part for part in path.split("/") if part], root, 0
    while todo:
        part = todo.pop(0)
        if part in (".", ".."):
            done = done if part == "." or done == root else done.parent
            continue
        step = done / part
        if not step.is_symlink():
            done = step
            continue
        followed += 1
        if followed > LONGEST_CHAIN:
            raise LabError(f"{path}: too many links one after the other")
        target = str(step.readlink())
        todo = [word for word in target.split("/") if word] + todo
        done = root if target.startswith("/") else done
    return done
