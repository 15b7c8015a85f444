"""Health checks: what to ask, how often, and the three answers."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class CheckOutcome(StrEnum):
    """A check that could not ask has not failed."""

    PASS = "pass"  # noqa: S105 - the word of a health check, not a secret
    FAIL = "fail"
    ERROR = "error"


class Via(StrEnum):
    """From where a network check asks."""

    CONTROLLER = "controller"
    HOST = "host"


@dataclass(frozen=True, slots=True)
class HttpCheck:
    """GET ``url``; passes on one of ``status`` with ``contains`` in the first MiB of the body.

    ``url`` may hold ``{address}``, ``{name}`` and ``{port}``.
    """

    url: str
    status: tuple[int, ...] = (200,)
    contains: str = ""
    via: Via = Via.CONTROLLER


@dataclass(frozen=True, slots=True)
class TcpCheck:
    """A TCP connection is accepted on ``port``."""

    port: int
    via: Via = Via.CONTROLLER


@dataclass(frozen=True, slots=True)
class UnitCheck:
    """A systemd unit is active on the host."""

    unit: str


@dataclass(frozen=True, slots=True)
class CommandCheck:
    """A command on the host exits 0. It runs as the deploy user, with the arguments as given."""

    command: tuple[str, ...]


CheckKind = HttpCheck | TcpCheck | UnitCheck | CommandCheck


@dataclass(frozen=True, slots=True)
class Check:
    """One named check on some hosts, with its timing in seconds."""

    name: str
    on: str
    kind: CheckKind
    interval_s: float = 2.0
    timeout_s: float = 5.0
    successes: int = 3
    soak_interval_s: float = 30.0

    @property
    def proof_s(self) -> float:
        """Longest time from the first good answer to the one that proves health."""
        return (self.successes - 1) * self.interval_s + self.timeout_s


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One answer of one check: ``text`` is for people."""

    check: str
    outcome: CheckOutcome
    text: str = ""


BUILT_IN_CHECKS = ("login", "units", "route", "redeployable", "state")
"""Always on; switched off only by name. ``login`` is a fresh connection through the privilege path."""

BUILT_IN_INTERVAL_S = 3.0
"""A fresh login costs a host 3–5 ms of handshake: often enough to notice, far from any limit of its sshd."""

BUILT_IN_TIMEOUT_S = 30.0
"""After a restart of dbus a login takes 25 s (seen on systemd 257 and 262)."""
