"""Child processes of the lab: bounded, and with their words in the error."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from lab.errors import LabError


def run(
    *argv: str | Path, check: bool = True, timeout_s: float = 60, text_in: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end. Raises LabError with its output when it fails and ``check`` is set."""
    words = [str(word) for word in argv]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=timeout_s, check=False, input=text_in)
    except subprocess.TimeoutExpired as error:
        if not check:
            return subprocess.CompletedProcess(words, 124, "", "took too long")
        raise LabError(f"{' '.join(words)}: did not end within {timeout_s:.0f} s") from error
    if check and done.returncode != 0:
        said = (done.stdout + done.stderr)[-2000:]
        raise LabError(f"{' '.join(words)}: exit {done.returncode}\n{said}")
    return done


def quiet(*argv: str | Path, timeout_s: float = 30) -> bool:
    """Run a program whose failure is an answer; returns whether it succeeded."""
    return run(*argv, check=False, timeout_s=timeout_s).returncode == 0


def lines(argv: Sequence[str]) -> list[str]:
    """Return the output of a program, line by line; empty when it fails."""
    return run(*argv, check=False).stdout.splitlines()
