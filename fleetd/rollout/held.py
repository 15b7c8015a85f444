"""What holds a rollout, or a host of it, for a reason that is none of the rollout's own."""

from __future__ import annotations

from fleetd.rollout.brakes import freeze_of, is_braked, lock_of
from fleetd.rollout.decision import own_is_on_trial
from fleetd.rollout.fleetwide import Hold
from fleetd.rollout.quorum import waits_for_group
from fleetd.rollout.reasons import Blocked, Reason, instant
from fleetd.rollout.states import Copied, Direction, HostState
from fleetd.rollout.tally import Mark
from fleetd.rollout.world import Rollout, World


def rollout_held(world: World, rollout: Rollout, now: float) -> list[Blocked]:
    """Return what keeps a rollout from starting hosts beside its own gates."""
    found = [blocked] if (blocked := _isolated(world)) is not None else []
    if not rollout.tally.count(Mark.OPEN) and own_is_on_trial(world):
        text = "what it owes hosts is written when the control node's own host has ended its trial, and then it ends"
        found.append(Blocked(Reason.OWED, text))
    if not rollout.tally.count(Mark.STARTABLE):
        return found
    freeze = freeze_of(world, rollout)
    if freeze is not None:
        found.append(_frozen(freeze))
    if (closed := _closed(world, rollout, now)) is not None:
        found.append(closed)
    if is_braked(world, rollout):
        found.append(_braked(world, rollout))
    waiting = rollout.tally.hosts[Mark.STARTABLE]
    locked = [host for host in world.fleetwide.locks if host in waiting and _is_released(rollout, host)]
    if locked:
        found.append(_locked(world.fleetwide.locks[locked[0]], rollout, locked))
    return found


def host_held(world: World, rollout: Rollout, host: str, state: HostState, now: float) -> Blocked | None:
    """Return what keeps a host from being started beside its rollout's own gates; None when nothing does."""
    isolated = _isolated(world)
    if isolated is not None:
        return isolated
    if state.task.direction is Direction.ROLLBACK:
        return _grouped(world, rollout, host, state, now)
    freeze, lock = freeze_of(world, rollout), lock_of(world, host, state)
    if freeze is not None:
        return _frozen(freeze)
    if lock is not None:
        return _locked(lock, rollout, [host])
    if is_braked(world, rollout) and host not in world.fleetwide.unwell:
        return _braked(world, rollout)
    return _closed(world, rollout, now) or _grouped(world, rollout, host, state, now)


def _grouped(world: World, rollout: Rollout, host: str, state: HostState, now: float) -> Blocked | None:
    """Return the group that has no room for a host that is its turn otherwise."""
    found = waits_for_group(world, rollout, host, now) if isinstance(state, Copied) else None
    if found is None:
        return None
    group, how = found
    first, why = next(iter(how.unavailable.items()))
    text = f"group {group.name}: {first} is unavailable ({why}), and {group.max_unavailable} may be at one time"
    is_deploy = state.task.direction is Direction.DEPLOY
    todo = f"fleetctl skip {rollout.header.spec.id} {host}" if is_deploy else ""
    return Blocked(Reason.GROUP, text, None, todo, tuple(how.unavailable))


def _closed(world: World, rollout: Rollout, now: float) -> Blocked | None:
    opening, spec = world.openings.of(rollout.header.spec, now), rollout.header.spec
    if opening.is_open:
        return None
    windows = ", ".join(str(window) for window in spec.policy.windows)
    return Blocked(Reason.WINDOW, f"no window of the policy is open ({windows})", opening.next_at)


def _is_released(rollout: Rollout, host: str) -> bool:
    return rollout.tally.wave_of[host] <= rollout.header.wave


def _frozen(freeze: Hold) -> Blocked:
    return Blocked(Reason.FROZEN, f"nothing is deployed or rebooted: {told(freeze)}", freeze.until, "fleetctl unfreeze")


def _locked(lock: Hold, rollout: Rollout, hosts: list[str]) -> Blocked:
    todo = f"fleetctl unlock {hosts[0]}, or fleetctl skip {rollout.header.spec.id} {hosts[0]}"
    return Blocked(Reason.LOCKED, f"{hosts[0]} is locked: {told(lock)}", lock.until, todo, tuple(hosts))


def told(hold: Hold) -> str:
    """Return for whom and why something is held."""
    return f"by {hold.owner}, since {instant(hold.since)}: {hold.reason}".rstrip(": ")


def _isolated(world: World) -> Blocked | None:
    isolated = world.fleetwide.isolated
    if isolated is None:
        return None
    text = (
        f"the control node itself hears nobody: {isolated.lost} hosts fell silent since {instant(isolated.since)}, and "
        f"{isolated.heard} answered. Nothing starts and nothing counts until as many answer; look at its network"
    )
    return Blocked(Reason.ISOLATED, text, None, "", isolated.hosts)


def _braked(world: World, rollout: Rollout) -> Blocked:
    unwell = world.fleetwide.unwell
    host, why = next(iter(unwell.items()))
    text = (
        f"{len(unwell)} hosts of the fleet are unwell, and beyond {rollout.header.spec.brake} only those that are may "
        f"start: {host}: {why}"
    )
    return Blocked(Reason.BRAKE, text, None, f"fleetctl clear {host}", tuple(unwell))
