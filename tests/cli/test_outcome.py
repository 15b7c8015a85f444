"""Exit codes: a script must be able to tell every end from every other."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fleetd.cli.outcome import exit_code

FLEETCTL = str(Path(sys.executable).parent / "fleetctl")


@pytest.mark.parametrize(
    ("phase", "kind", "code"),
    [
        ("succeeded", None, 0),
        ("rolled-back", "failing", 2),
        ("failed", "failing", 3),
        ("needs-operator", None, 3),
        ("incomplete", None, 5),
        ("aborted", None, 5),
        ("rolling", None, 6),
        ("failed", "source", 7),
    ],
)
def test_each_end_has_its_code(phase: str, kind: str | None, code: int) -> None:
    assert exit_code({"phase": phase, "error": kind and {"kind": kind}}) == code


@pytest.mark.parametrize("words", [["deploy", "--nonsense"], ["nonsense"], ["rollout"]])
def test_a_usage_error_is_1_and_never_2(words: list[str]) -> None:
    assert subprocess.run([FLEETCTL, *words], capture_output=True, timeout=30, check=False).returncode == 1


def test_no_daemon_is_told() -> None:
    argv = [FLEETCTL, "--server", "unix:/nonexistent/socket", "rollouts"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert "no fleetd at" in done.stderr
