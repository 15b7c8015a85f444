"""Child processes of the lab: bounded, and with their words in the error."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from lab.errors import LabError

POLL_S = 0.05
TOOK_TOO_LONG = 124
"""The exit code that timeout(1) gives."""


def say(text: str) -> None:
    """Tell the person who waits what is being done (on stderr)."""
    sys.stderr.write(f"lab: {text}\n")
    sys.stderr.flush()


def run(
    *argv: str | Path,
    check: bool = True,
    timeout_s: float = 60,
    text_in: str | None = None,
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end and return its result with what it wrote.

    ``env`` replaces the environment. Raises LabError when there is no such program and, where ``check`` is set, with
    the program's own words when it fails or does not end in time. Without ``check`` the latter is an exit code of 124.
    """
    words = [str(word) for word in argv]
    try:
        done = subprocess.run(
            words,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
            input=text_in,
            stdin=subprocess.DEVNULL if text_in is None else None,
            env=None if env is None else dict(env),
        )
    except subprocess.TimeoutExpired as error:
        if not check:
            return subprocess.CompletedProcess(words, TOOK_TOO_LONG, "", f"did not end within {timeout_s:.0f} s")
        raise LabError(f"{' '.join(words)}: did not end within {timeout_s:.0f} s") from error
    except FileNotFoundError as error:
        raise LabError(f"{words[0]}: there is no such program on PATH") from error
    if check and done.returncode != 0:
        said = (done.stdout + done.stderr)[-2000:]
        raise LabError(f"{' '.join(words)}: exit {done.returncode}\n{said}")
    return done


def quiet(*argv: str | Path, timeout_s: float = 30) -> bool:
    """Run a program whose failure is an answer; returns whether it succeeded."""
    return run(*argv, check=False, timeout_s=timeout_s).returncode == 0


def lines(argv: Sequence[str]) -> list[str]:
    """Return the output of a program, line by line; empty when it fails."""
    done = run(*argv, check=False)
    return done.stdout.splitlines() if done.returncode == 0 else []


def until(true: Callable[[], bool], timeout_s: float, otherwise: Callable[[], str]) -> None:
    """Wait until ``true()``; raises LabError with the text of ``otherwise()`` after ``timeout_s``."""
    end = time.monotonic() + timeout_s
    while not true():
        if time.monotonic() > end:
            raise LabError(f"{otherwise()} (waited {timeout_s:.0f} s)")
        time.sleep(POLL_S)
