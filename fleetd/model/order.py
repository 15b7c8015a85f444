"""An order to a host: a small document whose bytes are what a signature covers."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from fleetd.model.fence import Fence


class Verb(StrEnum):
    """Every order. ``facts`` and ``status`` are questions and carry no fence."""

    TRIAL = "trial"
    EXTEND = "extend"
    COMMIT = "commit"
    REVERT = "revert"
    SETTLE = "settle"
    RELEASE = "release"
    STAGE = "stage"
    DRY_ACTIVATE = "dry-activate"
    CLEAR = "clear"


@dataclass(frozen=True, slots=True)
class OrderTimes:
    """Seconds, fixed when the trial is armed: S, W, T, C and V of the host protocol, and what a reboot may take."""

    switch_timeout_s: int
    contact_timeout_s: int
    cap_s: int
    commit_timeout_s: int
    revert_timeout_s: int
    reboot_timeout_s: int = 0


@dataclass(frozen=True, slots=True)
class KeptGenerations:
    """How many generations a host keeps beside those that somebody may need: the newest, and all that are young."""

    newest: int
    younger_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Order:
    """What a host is told to do, on which assumptions, and until when that is still meant.

    ``id`` names the activation: ``ROLLOUT/HOST/ATTEMPT`` with ``/`` written as ``.`` on the host. An order is valid
    only in the boot ``boot_id`` and before ``uptime_limit_s`` on its clock, so a delayed one dies by itself.
    """

    verb: Verb
    id: str
    fence: Fence
    host: str
    machine_id: str
    boot_id: str
    uptime_limit_s: float
    toplevel: str = ""
    nar_hash: str = ""
    expect_current: str = ""
    expect_profile: str = ""
    times: OrderTimes | None = None
    last_resort: str = "none"
    unattended_boot: bool = True
    boot_external: bool = False
    reboot: str = "never"
    """Whether the trial may be a reboot: ``never``, ``when-needed`` (the host compares), or ``always``."""
    reboot_risk: str = "refuse"
    ignore_units: tuple[str, ...] = ()
    generations: KeptGenerations | None = None
    """What stays of old generations after the commit of this trial; None: all of them."""
    keep_systems: tuple[str, ...] = ()
    """Systems whose newest generation stays in any case: those that the controller may still go back to."""
