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


def exit_code(rollout: Mapping[str, Any]) -> int:
    """Return the exit code of a rollout that is final; UNKNOWN while it is not."""
    error = rollout.get("error") or {}
    if rollout["phase"] == "failed" and error.get("kind") == "source":
        return NOT_BUILT
    return {
        "succeeded": OK,
        "incomplete": INCOMPLETE,
        "aborted": INCOMPLETE,
        "superseded": INCOMPLETE,
        "rolled-back": TAKEN_BACK,
        "failed": PERSON_NEEDED,
        "needs-operator": PERSON_NEEDED,
    }.get(rollout["phase"], UNKNOWN)
