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
        ("failed", "not-fast-forward", 4),
        ("failed", "untrusted-commit", 4),
    ],
)
def test_each_end_has_its_code(phase: str, kind: str | None, code: int) -> None:
    assert exit_code({"phase": phase, "error": kind and {"kind": kind}}) == code


@pytest.mark.parametrize(
    ("phase", "counts", "more", "code"),
    [
        ("succeeded", {"committed": 3, "current": 1}, {}, 0),
        ("succeeded", {"committed": 3, "deferred": 1}, {}, 5),
        ("succeeded", {"committed": 3, "failed": 1}, {}, 5),
        ("succeeded", {"rolled-back": 3}, {"kind": "rollback"}, 0),
        ("rolled-back", {"rolled-back": 3, "stranded": 1}, {}, 3),
        ("aborted", {"stranded": 1}, {}, 3),
        ("rolling", {"stranded": 1}, {}, 6),
        ("rolling", {}, {"paused": True}, 3),
        ("succeeded", {}, {"paused": True}, 0),
        ("a-phase-of-tomorrow", {}, {}, 6),
    ],
)
def test_hosts_can_make_an_end_worse_and_never_better(
    phase: str, counts: dict[str, int], more: dict[str, object], code: int
) -> None:
    assert exit_code({"phase": phase, "counts": counts, **more}) == code


@pytest.mark.parametrize("words", [["deploy", "--nonsense"], ["nonsense"], ["rollout"]])
def test_a_usage_error_is_1_and_never_2(words: list[str]) -> None:
    assert subprocess.run([FLEETCTL, *words], capture_output=True, timeout=30, check=False).returncode == 1


def test_no_daemon_is_told() -> None:
    argv = [FLEETCTL, "--server", "unix:/nonexistent/socket", "rollouts"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert "no fleetd at" in done.stderr
