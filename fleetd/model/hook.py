"""Hooks: commands of the operator around a host's trial, as to drain it and to bring it back."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

LONGEST_HOOK_S = 7200.0
"""Moving all that runs on a large host elsewhere takes an hour; what takes more than two is not waited for."""


class When(StrEnum):
    """At which point of a host's trial a hook runs."""

    BEFORE = "before"
    """Ahead of the trial, which starts only once it has succeeded."""
    AFTER_COMMIT = "after-commit"
    """The new system is committed."""
    AFTER_REVERT = "after-revert"
    """The host is back on the system before, by itself or by a rollback."""
    ALWAYS_AFTER = "always-after"
    """However it ended, and whatever else failed: for every ``before`` that began."""


class Where(StrEnum):
    """Which machine runs a hook."""

    CONTROLLER = "controller"
    HOST = "host"
    """Over ssh, as the deploy user."""


class OnHookFailure(StrEnum):
    """What a hook that does not succeed means for its host."""

    SKIP_HOST = "skip-host"
    """Of ``before`` only: the host is passed over, untouched."""
    FAIL = "fail"
    IGNORE = "ignore"


@dataclass(frozen=True, slots=True)
class Hook:
    """One hook of the fleet file. ``command`` is an argument vector: no shell reads it."""

    name: str
    on: str
    when: When
    where: Where
    command: tuple[str, ...]
    timeout_s: float
    on_failure: OnHookFailure


class HookEnd(StrEnum):
    """How a run of a hook ended; unknown where the link to the host was lost, or fleetd itself broke."""

    WELL = "well"
    FAILED = "failed"
    UNKNOWN = "unknown"
