"""What something can wait for, as a word and a sentence; ``blocked`` and ``held`` say when which of them holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

SHOWN_HOSTS = 20
"""How many names a list of hosts shows; its count says how many there are."""


class Reason(StrEnum):
    """Everything that something can wait for, a word each."""

    ISOLATED = "controller-isolated"
    BRAKE = "brake"
    FROZEN = "frozen"
    LOCKED = "locked"
    WINDOW = "window"
    GROUP = "group"
    SUPERSEDED = "superseded"
    QUEUED = "queued"
    PAUSED = "paused"
    APPROVAL = "approval"
    UNKNOWN = "unknown"
    REBOOTING = "rebooting"
    LOST = "lost"
    STRANDED = "stranded"
    SOAK = "soak"
    TURN = "turn"
    UNREACHABLE = "unreachable"
    LOGIN_REFUSED = "login-refused"
    HOST_IDENTITY = "host-identity"
    DISK_FULL = "disk-full"
    FIRST_HOST = "first-host"
    MAX_PARALLEL = "max-parallel"
    DEPENDENCY = "dependency"
    DOMAIN = "domain"
    DEFERRED = "deferred"
    OWED = "owed"
    WAVE = "wave"
    EFFECT = "effect"
    HEALTH = "health"
    RETRY = "retry"
    HOOK = "hook"
    DRAINED = "drained"


@dataclass(frozen=True, slots=True)
class Blocked:
    """One thing that is waited for. ``todo`` is what to type, empty where waiting is all there is to do."""

    reason: Reason
    text: str
    until: float | None = None
    todo: str = ""
    hosts: tuple[str, ...] = ()

    def document(self) -> Mapping[str, object]:
        """Return it as the API shows it."""
        return {
            "reason": self.reason.value,
            "text": self.text,
            "until": instant(self.until),
            "type": self.todo,
            "hosts": list(self.hosts[:SHOWN_HOSTS]),
            "count": len(self.hosts),
        }


def instant(at: float | None) -> str | None:
    """Return RFC 3339 in UTC, to the millisecond."""
    if at is None:
        return None
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
