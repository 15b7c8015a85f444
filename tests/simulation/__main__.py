"""Seeds by the command line: ``python -m tests.simulation SEED`` for one with its trace, ``--seeds N`` for many."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from random import Random

from tests.simulation.scenario import draw
from tests.simulation.simulation import Report, simulate
from tests.simulation.watch import ViolationError


def one(seed: int, hosts: int | None) -> int:
    """Run one seed, show what it was given and everything that happened."""
    scenario = draw(Random(seed), seed=seed, hosts=hosts)
    print(scenario)
    trace: list[str] = []
    try:
        report = simulate(scenario, trace)
    except ViolationError as error:
        print(*trace, sep="\n")
        print(f"seed {seed}: VIOLATION: {error}")
        return 1
    print(*trace, sep="\n")
    print(f"seed {seed}: {report.phases}, {report.events} events, {report.ended_at_s:.0f} s of virtual time")
    return 0


def many(first: int, seeds: int, hosts: int | None) -> int:
    """Run many seeds; the last line is for scripts."""
    began, violations, events, phases = time.monotonic(), 0, 0, Counter[str]()
    for seed in range(first, first + seeds):
        try:
            report: Report = simulate(draw(Random(seed), seed=seed, hosts=hosts))
        except ViolationError as error:
            violations += 1
            options = f" --hosts {hosts}" if hosts else ""
            print(f"seed {seed}: {error} (again: python -m tests.simulation {seed}{options})", flush=True)
            continue
        events += report.events
        phases.update(report.phases.values())
    took_s = time.monotonic() - began
    print(f"{events} events, {seeds / took_s:.1f} seeds/s; rollouts ended {dict(phases.most_common())}")
    print(f"seeds {seeds}, violations {violations}")
    return 1 if violations else 0


def main() -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("seed", nargs="?", type=int, help="run this seed and show its trace")
    parser.add_argument("--seeds", type=int, default=0, help="run this many seeds")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--hosts", type=int, help="hosts in each fleet (default: drawn, up to 8)")
    args = parser.parse_args()
    if args.seed is not None:
        return one(args.seed, args.hosts)
    if args.seeds:
        return many(args.first, args.seeds, args.hosts)
    parser.print_usage()
    return 2


sys.exit(main())
