"""Programs of the control node that act on one host by other ways than ssh."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

LONGEST_PROGRAM_S = 600.0
"""What a management controller or an initrd does not do in ten minutes it does not do."""


@dataclass(frozen=True, slots=True)
class ControlCommand:
    """A program of the control node that acts on one host: ``{name}``, ``{address}`` and ``{port}`` are the host's.

    ``stdin`` is a file that it reads, as one that holds a passphrase: what is in it is never shown.
    """

    argv: tuple[str, ...]
    timeout_s: float
    stdin: str | None = None


class Aid(StrEnum):
    """What the control node can do for a host that does not come back from a reboot."""

    UNLOCK = "unlock"
    """Give it what it waits for before it boots, such as the passphrase of its disk."""
    POWER_CYCLE = "power-cycle"
    """Take its power away, and give it back."""


@dataclass(frozen=True, slots=True)
class ProgramEnd:
    """How a program ended: ``said`` in a few words, ``output`` the end of what it wrote, without what it was given."""

    well: bool
    said: str
    output: str
