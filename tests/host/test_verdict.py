"""How the end of a switch is judged: every combination, and the exit codes that nobody has seen yet."""

from __future__ import annotations

import itertools
import subprocess

import pytest

from fleetd.model.facts import Verdict
from tests.host.rig import HELPER

CODES = ("0", "1", "2", "3", "4", "11", "100", "101", "137", "143", "7", "255", "none", "never")
NEVER_DONE = {"1", "11", "100", "101", "137", "143", "7", "255", "none", "never"}
KILLED = {"137", "143", "none"}
ROWS = tuple(itertools.product(CODES, ("old", "new", "other", "none"), ("yes", "no"), ("yes", "no"), ("yes", "no")))


def expected(code: str, where: str, lists: bool, down: bool, failed: bool) -> Verdict:
    """The same table in other words: what would an operator say who looks at the host?"""
    if where == "other":
        return Verdict.INTERFERED
    if where == "none":
        return Verdict.INTERRUPTED
    if where == "old":
        if lists or down or failed:
            return Verdict.INTERRUPTED
        if code in KILLED:
            return Verdict.INTERRUPTED
        return Verdict.NEEDS_REBOOT if code == "100" else Verdict.NOT_STARTED
    if lists:
        return Verdict.INTERRUPTED
    if down or failed or code == "2":
        return Verdict.FAILED
    if code in NEVER_DONE:
        return Verdict.INTERRUPTED
    return Verdict.LIVE if code == "0" else Verdict.LIVE_WARNING


@pytest.fixture(scope="module")
def table() -> dict[tuple[str, ...], str]:
    calls = "".join(f'verdict {" ".join(row)}; echo "$REPLY"\n' for row in ROWS)
    done = subprocess.run(["bash", "-c", f"source {HELPER}\n{calls}"], capture_output=True, text=True, check=True)
    return dict(zip(ROWS, done.stdout.split("\n"), strict=False))


@pytest.mark.parametrize("row", ROWS, ids="/".join)
def test_a_row_of_the_table(row: tuple[str, ...], table: dict[tuple[str, ...], str]) -> None:
    code, where, *flags = row
    assert table[row] == expected(code, where, *(flag == "yes" for flag in flags))


def test_only_what_is_whole_is_live(table: dict[tuple[str, ...], str]) -> None:
    live = {row for row, verdict in table.items() if verdict == "live"}
    assert live == {("0", "new", "no", "no", "no")}
