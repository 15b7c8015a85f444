"""What a host says of itself: observed, never assumed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from fleetd.model.fence import Fence

UNREADABLE = "unreadable"
"""The boot default of a host whose boot loader nobody here can read."""


class HelperState(StrEnum):
    """The states of the machine on the host (host protocol, "States")."""

    IDLE = "idle"
    SWITCHING = "switching"
    TRIAL = "trial"
    COMMITTING = "committing"
    COMMITTED = "committed"
    RELEASED = "released"
    STAGING = "staging"
    STAGED = "staged"
    UNDOING = "undoing"
    REVERTING = "reverting"
    REVERTED = "reverted"
    REBOOTING = "rebooting"
    INTERFERED = "interfered"
    STRANDED = "stranded"

    @property
    def is_moving(self) -> bool:
        """Whether the host is about to leave this state by itself."""
        return self in _MOVING


_MOVING = (
    HelperState.SWITCHING,
    HelperState.COMMITTING,
    HelperState.STAGING,
    HelperState.UNDOING,
    HelperState.REVERTING,
    HelperState.REBOOTING,
)


class Verdict(StrEnum):
    """How the end of a switch is judged, by what the host shows."""

    NONE = "none"
    LIVE = "live"
    LIVE_WARNING = "live-warning"
    FAILED = "failed"
    NOT_STARTED = "not-started"
    INTERRUPTED = "interrupted"
    INTERFERED = "interfered"
    NEEDS_REBOOT = "needs-reboot"


@dataclass(frozen=True, slots=True)
class HostFacts:
    """The answer to ``facts``. Paths are store paths, or empty where there is none."""

    fence: Fence
    state: HelperState
    id: str
    current: str
    booted: str
    profile: str
    boot_default: str
    boot_kind: str
    boot_id: str
    uptime_s: float
    machine_id: str
    hostname: str
    system: str
    nix_version: str
    needs_reboot: bool
    state_durable: bool
    nix_free_bytes: int
    nix_free_inodes: int
    boot_free_bytes: int
    clock: float
    other_actors: tuple[str, ...] = ()
    active_units: tuple[str, ...] = ()
    failed_units: tuple[str, ...] = ()
    reboot_reasons: tuple[str, ...] = ()
    """What of the running system only a boot can bring: kernel, initrd, kernel-modules, kernel-params, …"""
    oneshot: str = ""
    """``yes`` where the boot loader can start a system once and its default the next time, else why it cannot; empty
    when the helper does not say."""
    specialisation: str = ""
    """Which specialisation of ``current`` runs; empty for the system itself."""
    kept: str = ""
    """The running system, where it is one that a test left running."""

    @property
    def boots(self) -> str:
        """The system of the next boot: the boot default, or where nobody can read that the profile."""
        return self.profile if self.boot_default == UNREADABLE else self.boot_default

    @property
    def is_settled(self) -> bool:
        """Whether what runs also boots, or is a test that was left running over what boots."""
        return self.profile == self.boots and (self.current == self.profile or self.keeps_test)

    @property
    def keeps_test(self) -> bool:
        """Whether a test was left running."""
        return self.kept == self.current != ""

    def goes_back_to(self, to: str | None) -> str:
        """Return the system that the way back from ``to`` leads to: what runs, or what boots where that is more.

        It is more where ``to`` runs already, and where a test was left running.
        """
        if self.current == to and self.boot_default not in (UNREADABLE, ""):
            return self.boot_default
        return self.profile if self.keeps_test and self.current != to else self.current


@dataclass(frozen=True, slots=True)
class HostStatus:
    """How the newest activation on the host stands; the answer to ``status`` and to every order.

    ``behind_units`` still run what was started before a switch that had to end it. ``by`` says what ended the
    activation (order, guard, reboot, console), ``message`` and ``log`` are for people.
    """

    fence: Fence
    state: HelperState
    id: str
    old: str
    new: str
    current: str
    deadline_in_s: float | None
    verdict: Verdict
    exit_code: str
    failed_units: tuple[str, ...]
    down_units: tuple[str, ...]
    behind_units: tuple[str, ...]
    route_ok: bool
    by: str
    message: str
    log: str
