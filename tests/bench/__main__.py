"""``make bench``: fleetd and ``nix copy`` side by side on the same work; a table, and ``build/bench.json``.

Each row is a ratio of medians of runs that take turns, so that what else the machine does meets both alike.
``python -m tests.bench [WORD]`` runs only the rows with this word in their names.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from lab import HostSpec, Lab

from tests.bench.closures import SHAPES
from tests.bench.rig import Rig, Taken
from tests.nix.private_store import temporary_directory

FAN_OUT = 12
RUNS = int(os.environ.get("FLEETD_BENCH_RUNS", "3"))
RESULT = Path("build/bench.json")
SYSTEM, SMALL, CHAIN, LARGE, MANY = "2,000 paths, 400 MB", "201 paths, 53 MB", *list(SHAPES)[2:]


@dataclass(frozen=True)
class Row:
    """One line of the result; ``detail`` has the medians. ``ratio`` is in the goal's own unit where it is no ratio."""

    name: str
    ratio: float
    goal: float
    met: bool
    detail: str


def compare(name: str, goal: float, ours: Sequence[float], theirs: Sequence[float], unit: str = "s") -> Row:
    """Return the row of two series."""
    a, b = median(ours), median(theirs)
    ratio = a / b if b else 0.0
    return Row(name, round(ratio, 3), goal, ratio <= goal, f"{a:.2f} {unit} against {b:.2f} {unit}")


def take_turns(*runs: Callable[[], Taken], times: int = RUNS) -> list[list[Taken]]:
    """Run each, again and again, one after the other; returns the results of each."""
    results: list[list[Taken]] = [[] for _ in runs]
    for _ in range(times):
        for index, run in enumerate(runs):
            results[index].append(run())
    return results


def walls(results: Sequence[Taken]) -> list[float]:
    return [result.wall_s for result in results]


def near(rig: Rig) -> list[Row]:
    one = rig.hosts[:1]
    rows = []
    for shape, goal in ((SMALL, 0.95), (SYSTEM, 1.0), (LARGE, 1.0), (MANY, 0.95)):
        if not wanted(shape):
            continue
        ours, theirs = take_turns(lambda s=shape: rig.push(s, one), lambda s=shape: rig.nix_copy("ssh-ng", s, one))  # type: ignore[misc]
        rows.append(compare(f"{shape}, 1 host: time of ssh-ng://", goal, walls(ours), walls(theirs)))
        if shape == MANY:
            (legacy,) = take_turns(lambda: rig.nix_copy("ssh", MANY, one), times=2)
            rows.append(compare(f"{shape}, 1 host: time of ssh://", 0.5, walls(ours), walls(legacy)))
    return rows


def far(rig: Rig) -> list[Row]:
    one = rig.hosts[:1]
    rows = []
    with rig.far(one, 50) as ports:
        for shape, goal in ((SMALL, 0.6), (SYSTEM, 0.45), (CHAIN, 0.7)):
            if not wanted(shape):
                continue
            ours, theirs = take_turns(
                lambda s=shape: rig.push(s, one, ports),  # type: ignore[misc]
                lambda s=shape: rig.nix_copy("ssh-ng", s, one, ports),  # type: ignore[misc]
            )
            rows.append(compare(f"{shape}, 1 host at 50 ms: time of ssh-ng://", goal, walls(ours), walls(theirs)))
            if shape == SMALL:
                (legacy,) = take_turns(lambda: rig.nix_copy("ssh", SMALL, one, ports), times=1)
                rows.append(compare(f"{shape}, 1 host at 50 ms: time of ssh://", 0.12, walls(ours), walls(legacy)))
    return rows


def fan_out(rig: Rig) -> list[Row]:
    hosts = rig.hosts[:FAN_OUT]
    name = f"{SYSTEM} to {len(hosts)} hosts"
    ours, theirs = take_turns(lambda: rig.push(SYSTEM, hosts), lambda: rig.nix_copy("ssh-ng", SYSTEM, hosts))
    all_ours = [result.cpu_s + result.hosts_cpu_s for result in ours]
    all_theirs = [result.cpu_s + result.hosts_cpu_s for result in theirs]
    peak = max(result.peak_mb for result in ours)
    return [
        compare(f"{name}: time", 0.55, walls(ours), walls(theirs)),
        compare(f"{name}: the controller's CPU", 0.3, [r.cpu_s for r in ours], [r.cpu_s for r in theirs]),
        compare(f"{name}: CPU of all", 0.55, all_ours, all_theirs),
        Row("peak memory of the controller, MB", round(peak, 1), 120, peak <= 120, name),
    ]


def nothing_to_do(rig: Rig) -> list[Row]:
    hosts = rig.hosts[:FAN_OUT]
    store = rig.empty_store(hosts)
    rig.push(SYSTEM, hosts, store=store)
    ours, theirs = take_turns(
        lambda: rig.push(SYSTEM, hosts, warm=True, store=store),
        lambda: rig.nix_copy("ssh-ng", SYSTEM, hosts, store=store),
    )
    return [compare(f"nothing to copy, {len(hosts)} hosts, connections open: time", 0.2, walls(ours), walls(theirs))]


def help_text(_rig: Rig) -> list[Row]:
    times = []
    for _ in range(9):
        begun = time.monotonic()
        subprocess.run([str(Path(sys.executable).parent / "fleetctl"), "--help"], stdout=subprocess.DEVNULL, check=True)
        times.append(time.monotonic() - begun)
    best = min(times)
    return [Row("fleetctl --help, s", round(best, 3), 0.15, best <= 0.15, f"best of {len(times)}")]


PARTS: dict[str, Callable[[Rig], list[Row]]] = {
    "near": near,
    "far": far,
    "fan-out": fan_out,
    "nothing": nothing_to_do,
    "help": help_text,
}
ONLY_PART = os.environ.get("FLEETD_BENCH_PART", "")
ONLY_SHAPE = sys.argv[1] if len(sys.argv) > 1 else ""


def wanted(shape: str) -> bool:
    return ONLY_SHAPE in shape


def main() -> int:
    rows: list[Row] = []
    specs = [HostSpec(f"host{number}", disk_bytes=4 << 30) for number in range(FAN_OUT)]
    with Lab.up(f"bench-{os.getpid()}", specs) as lab, temporary_directory() as place:
        rig = Rig(lab, place)
        try:
            for name, part in PARTS.items():
                if ONLY_PART in name:
                    for row in part(rig):
                        rows.append(row)
                        mark = "met" if row.met else "MISSED"
                        print(
                            f"{row.name:<62} {row.ratio:>8.3f}  goal {row.goal:<6g} {mark:<6}  {row.detail}", flush=True
                        )
        finally:
            rig.close()
    RESULT.parent.mkdir(exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=RESULT.parent, delete=False) as file:
        json.dump([asdict(row) for row in rows], file, indent=1)
    Path(file.name).replace(RESULT)
    return 0


if __name__ == "__main__":
    sys.exit(main())
