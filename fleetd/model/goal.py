"""What a rollout does to a host."""

from __future__ import annotations

from enum import StrEnum


class Goal(StrEnum):
    """The four ways ``switch-to-configuration`` can be used."""

    SWITCH = "switch"
    BOOT = "boot"
    TEST = "test"
    DRY_ACTIVATE = "dry-activate"

    @property
    def is_carried_out(self) -> bool:
        """Whether this release carries the goal out; the others are refused by name, never approximated."""
        return self is Goal.SWITCH
