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
    def is_observable(self) -> bool:
        """Whether the new system runs at the end, so that checks and a soak say something of it."""
        return self in (Goal.SWITCH, Goal.TEST)
