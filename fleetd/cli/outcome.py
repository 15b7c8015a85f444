"""What a rollout's end means to a script: the exit codes, in one pure table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

OK = 0
USAGE = 1
TAKEN_BACK = 2
PERSON_NEEDED = 3
REFUSED = 4
INCOMPLETE = 5
UNKNOWN = 6
NOT_BUILT = 7
DETACHED = 130

FINAL = ("succeeded", "incomplete", "failed", "rolled-back", "aborted", "superseded", "needs-operator")


NOT_DONE = ("deferred", "skipped", "failed", "reverted", "rolled-back", "pending")
"""States in which a selected host did not get what was asked, whatever the phase is called."""


REFUSALS = ("not-fast-forward", "untrusted-commit")
"""Kinds of errors of a rollout that a policy ended before it began."""


def is_over(rollout: Mapping[str, Any]) -> bool:
    """Whether following it on is pointless: it is final, or it waits for a person."""
    return rollout["phase"] in FINAL or bool(rollout.get("paused"))


def exit_code(rollout: Mapping[str, Any]) -> int:
    """Return the exit code of a rollout; UNKNOWN while it goes on.

    Host counts can only make an end worse, never better: a stranded host needs a person under any phase, and
    ``succeeded`` is 0 only where no selected host was left out.
    """
    error, counts = rollout.get("error") or {}, rollout.get("counts") or {}
    if is_over(rollout) and (counts.get("stranded") or rollout["phase"] not in FINAL):
        return PERSON_NEEDED
    if rollout["phase"] == "succeeded" and rollout.get("kind") != "rollback" and any(counts.get(s) for s in NOT_DONE):
        return INCOMPLETE
    if rollout["phase"] == "failed" and error.get("kind") == "source":
        return NOT_BUILT
    if rollout["phase"] == "failed" and error.get("kind") in REFUSALS:
        return REFUSED
    return {
        "succeeded": OK,
        "incomplete": INCOMPLETE,
        "aborted": INCOMPLETE,
        "superseded": INCOMPLETE,
        "rolled-back": TAKEN_BACK,
        "failed": PERSON_NEEDED,
        "needs-operator": PERSON_NEEDED,
    }.get(rollout["phase"], UNKNOWN)
