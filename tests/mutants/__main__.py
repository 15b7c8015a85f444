"""Planted bugs: each is put into a copy of the tree, and the tests named beside it must fail.

``python -m tests.mutants [WORD…]`` runs those whose name contains a word (all without one), two at a time, and ends
with the line ``mutants caught N of M``.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.mutants.core import CORE
from tests.mutants.hooks import HOOKS
from tests.mutants.mutant import Mutant

ROOT = Path(__file__).parent.parent.parent
ALL = CORE + HOOKS
LIMIT_S = 600
TESTS_FAILED = 1
"""pytest's exit code when tests ran and some failed; any other says that they did not run."""


def run(mutant: Mutant | None, tests: tuple[str, ...]) -> tuple[int, str]:
    """Run tests on a copy of the tree with a bug planted, or on a clean copy; returns exit code and output."""
    with tempfile.TemporaryDirectory(prefix="fleetd-mutant-") as place:
        tree = Path(place)
        for name in ("fleetd", "tests"):
            shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", tree)
        if mutant is not None:
            mutant.plant(tree)
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(tree)}
        try:
            done = subprocess.run(
                command, cwd=tree, env=environment, capture_output=True, text=True, timeout=LIMIT_S, check=False
            )
        except subprocess.TimeoutExpired:
            return -1, f"not over after {LIMIT_S} s"
        return done.returncode, done.stdout + done.stderr


def judge(mutant: Mutant) -> bool:
    """Say whether the tests caught it."""
    code, output = run(mutant, mutant.tests)
    caught = code == TESTS_FAILED
    last = next((line for line in output.splitlines() if line.startswith("FAILED")), "")
    word = "caught  " if caught else "survived" if code == 0 else "BROKEN  "
    print(f"{word}  {mutant.name}  {last[:150]}", flush=True)
    if not caught and code != 0:
        print(output[-2000:], flush=True)
    return caught


def main() -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("words", nargs="*", help="part of a mutant's name")
    args = parser.parse_args()
    chosen = [m for m in ALL if not args.words or any(word in m.name for word in args.words)]
    with ThreadPoolExecutor(2) as pool:
        # Each as it is run for its bugs, so that the limit means the same for both.
        for code, output in pool.map(lambda tests: run(None, tests), dict.fromkeys(mutant.tests for mutant in chosen)):
            if code != 0:
                print(output[-4000:])
                print("the tests fail without any planted bug, so they can catch none")
                return 1
        caught = sum(pool.map(judge, chosen))
    print(f"mutants caught {caught} of {len(chosen)}")
    return 0 if caught == len(chosen) else 1


sys.exit(main())
