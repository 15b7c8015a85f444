"""Orders from intents: pure."""

from __future__ import annotations

from fleetd.model.facts import HostFacts, HostStatus, Verdict
from fleetd.model.fence import Fence
from fleetd.model.fleet import BootKind, Host
from fleetd.model.order import Order, Verb
from fleetd.rollout import events as e
from fleetd.rollout.spec import RolloutSpec
from fleetd.rollout.states import Direction, Task
from fleetd.rollout.timing import order_times

VALID_S = 60.0
"""How late on the host's own clock an order may still start: longer than a slow login, shorter than any guard."""

REASON_CHARACTERS = 600
"""What of a host's own words goes into the journal; its whole log is kept elsewhere."""


def activation_id(rollout: str, host: str, task: Task) -> str:
    """Return the id under which the host knows this activation: letters, digits, dots and dashes."""
    suffix = "r" if task.direction is Direction.ROLLBACK else ""
    return f"{rollout}.{host}.{task.attempt}{suffix}"


def order_for(
    verb: Verb,
    fence: Fence,
    *,
    task: Task,
    spec: RolloutSpec,
    host: Host,
    facts: HostFacts,
    elapsed_s: float,
    nar_hash: str = "",
    keep_systems: tuple[str, ...] = (),
) -> Order:
    """Return the order for one intent.

    ``facts`` are the newest known, ``elapsed_s`` seconds old: they bind the order to this boot, machine and system.
    """
    starts = verb in (Verb.TRIAL, Verb.STAGE, Verb.DRY_ACTIVATE)
    return Order(
        verb=verb,
        id=activation_id(spec.id, host.name, task),
        fence=fence,
        host=host.name,
        machine_id=facts.machine_id,
        boot_id=facts.boot_id,
        uptime_limit_s=facts.uptime_s + elapsed_s + VALID_S,
        toplevel=str(task.to or "") if starts else "",
        nar_hash=nar_hash if starts else "",
        expect_current=facts.current if starts else "",
        expect_profile=facts.profile if starts else "",
        times=order_times(spec) if starts or verb is Verb.EXTEND else None,
        last_resort=spec.policy.last_resort.value,
        reboot=spec.policy.reboot.value if verb is Verb.TRIAL else "never",
        # A rollback goes to what ran there before: without a guard of its own it is still better than what is left.
        reboot_risk=("accept" if task.direction is Direction.ROLLBACK else spec.policy.reboot_risk.value),
        unattended_boot=host.unattended_boot,
        boot_external=host.boot is BootKind.EXTERNAL,
        ignore_units=host.ignore_units,
        generations=host.keep_generations if verb is Verb.TRIAL else None,
        keep_systems=keep_systems if verb is Verb.TRIAL else (),
    )


def reported(at: float, rollout: str, host: str, fence: Fence, order_id: str, status: HostStatus) -> e.HostReported:
    """Return the outcome that a host's status is."""
    return e.HostReported(
        at=at,
        rollout=rollout,
        host=host,
        fence=fence,
        state=status.state,
        ours=status.id == order_id,
        verdict=status.verdict,
        by=status.by,
        reason=_reason(status)[:REASON_CHARACTERS],
    )


def _reason(status: HostStatus) -> str:
    parts = [status.message] if status.message else []
    if status.failed_units:
        parts.append(f"failed units: {', '.join(status.failed_units[:8])}")
    if status.down_units:
        parts.append(f"units down: {', '.join(status.down_units[:8])}")
    if status.behind_units:
        parts.append(f"units that still run what was before: {', '.join(status.behind_units[:8])}")
    if not parts and status.verdict not in (Verdict.NONE, Verdict.LIVE):
        parts.append(f"the switch ended {status.verdict.value} (exit {status.exit_code or 'unknown'})")
    return "; ".join(parts)
