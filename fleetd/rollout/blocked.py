"""What a rollout or a host waits for: the reason, until when, and what to type. Made when it is asked for.

``explain`` renders a whole rollout as text for people.
"""

from __future__ import annotations

from dataclasses import replace

from fleetd.model.program import Aid
from fleetd.rollout import events as e
from fleetd.rollout.asking import ROLLBACK_REACH_S
from fleetd.rollout.decision import limit_of, out_of_service
from fleetd.rollout.held import host_held, rollout_held
from fleetd.rollout.hook_waits import host_hooks_wait, rollout_hooks_wait
from fleetd.rollout.hooking import stuck_in
from fleetd.rollout.power import cycles_at
from fleetd.rollout.preparing import COPIES
from fleetd.rollout.reasons import Blocked, Reason, instant
from fleetd.rollout.starting import has_turn_first
from fleetd.rollout.states import (
    Committed,
    Copied,
    Copying,
    Current,
    Deferred,
    Direction,
    DryRun,
    DryRunning,
    Failed,
    HostState,
    LiveState,
    Lost,
    Pending,
    Rebooting,
    Reverted,
    Staged,
    Staging,
    Stranded,
    Task,
    Trial,
    TrialKept,
    is_evidence,
    is_final,
    reason_of,
    shown,
)
from fleetd.rollout.tally import BACK, Mark
from fleetd.rollout.world import Rollout, World

__all__ = ["Blocked", "Reason", "explain", "host_waits", "instant", "rollout_waits"]


def rollout_waits(world: World, rollout: Rollout, now: float) -> list[Blocked]:
    """Return what a rollout waits for; empty when it is final."""
    header = rollout.header
    if header.phase.is_final:
        return []
    found = rollout_held(world, rollout, now)
    if header.paused is not None:
        text = f"paused by {header.paused.by}: {header.paused.reason}".rstrip(": ")
        found.append(Blocked(Reason.PAUSED, text, todo=f"fleetctl resume {header.spec.id}"))
    if header.superseded_by:
        text = f"ends in favour of {header.superseded_by}: hosts in trial end by their checks"
        found.append(Blocked(Reason.SUPERSEDED, text))
    elif header.phase is e.Phase.PENDING:
        return [*found, _queued(world, rollout)]
    found += _unknown(rollout)
    found += rollout_hooks_wait(world, rollout)
    if header.phase is e.Phase.AWAITING_APPROVAL and header.wave < len(header.waves):
        text = f"wave {header.waves[header.wave].name} waits for a person"
        todo = f"fleetctl approve {header.spec.id}"
        found.append(Blocked(Reason.APPROVAL, text, header.approval_until, todo))
    if header.phase is e.Phase.SOAKING and header.wave < len(header.waves):
        found.append(_soak(world, rollout, now))
    held = world.unproven_count() + len(out_of_service(world))
    if header.phase is e.Phase.ROLLING and rollout.tally.count(Mark.STARTABLE) and held:
        alone = any(blocked.reason is Reason.LOST for blocked in found) and held == 1
        found += [] if alone else [_slots(world, rollout)]
    found += _silent_on_their_way_back(world, rollout)
    deferred = tuple(rollout.tally.hosts[Mark.DEFERRED])
    if deferred:
        text = reason_of(rollout.hosts[deferred[0]])
        todo = f"fleetctl retry {header.spec.id} {deferred[0]}"
        found.append(Blocked(Reason.DEFERRED, text, None, todo, deferred))
    return found


def host_waits(world: World, name: str, host: str, now: float) -> Blocked | None:
    """Return what a host of a rollout waits for; None when nothing more happens to it by itself and well."""
    rollout = world.rollouts[name]
    state, header = rollout.hosts[host], rollout.header
    hooks = host_hooks_wait(world, name, host)
    if hooks is not None and not isinstance(state, Stranded):
        return hooks
    match state:
        case Lost(reason=reason):
            at = cycles_at(state, header.spec) if Aid.POWER_CYCLE in world.observation(name, host).aids else None
            text = reason if at is None else f"{reason}; its power is cycled once, unless it answers before that"
            return Blocked(Reason.LOST, text, at, f"fleetctl clear {host}", (host,))
        case Stranded(reason=reason):
            return Blocked(Reason.STRANDED, reason, None, f"fleetctl clear {host}", (host,))
        case Deferred(reason=reason):
            todo = "" if header.phase.is_final else f"fleetctl retry {name} {host}"
            return Blocked(Reason.DEFERRED, reason, None, todo, (host,))
        case _ if isinstance(state, LiveState):
            return _live_waits(rollout, host, state)
        case Committed() | TrialKept() | Staged() | DryRun() | Current() | Reverted() | Failed():
            return None
        case _ if is_final(state) or header.phase.is_final:
            return None
        case _:
            return _unstarted_waits(world, rollout, host, state, now)


def _live_waits(rollout: Rollout, host: str, state: LiveState) -> Blocked:
    live, policy = state.live, rollout.header.spec.policy
    if isinstance(state, Rebooting):
        until = state.since + policy.reboot_timeout_s
        text = "boots the new system, once; a boot that does not come up needs a power cycle, which boots the old one"
        return Blocked(Reason.REBOOTING, text, until, "", (host,))
    if live.lost_since is not None:
        end = "nothing was switched" if isinstance(state, Staging) else "its guard takes it back by itself"
        text = f"does not answer since {instant(live.lost_since)}; {end}"
        return Blocked(Reason.UNKNOWN, text, None, "", (host,))
    if live.flight is not None:
        return Blocked(Reason.EFFECT, f"{live.flight.verb.value} is under way", live.flight.deadline, "", (host,))
    if isinstance(state, Trial):
        until = state.since + policy.healthy_deadline_s
        return Blocked(Reason.HEALTH, "its checks must pass for long enough", until, "", (host,))
    return Blocked(Reason.EFFECT, f"the host is {shown(state)} by itself", live.retry_at, "", (host,))


def _unstarted_waits(world: World, rollout: Rollout, host: str, state: HostState, now: float) -> Blocked:
    header, tally = rollout.header, rollout.tally
    outside = host_held(world, rollout, host, state, now)
    if outside is not None:
        return outside
    if state.task.direction is Direction.ROLLBACK:
        # Neither a pause nor a wave is in the way of what has to go back.
        return _silent(world, rollout, host) or _slots(world, rollout, host)
    if header.paused is not None or header.phase in (e.Phase.PENDING, e.Phase.AWAITING_APPROVAL):
        return rollout_waits(world, rollout, now)[0]
    flight = state.flight if isinstance(state, Pending | Copying | DryRunning) else None
    if flight is not None:
        return Blocked(Reason.EFFECT, f"{flight.verb.value} is under way", flight.deadline, "", (host,))
    if state.task.to is None:
        return _turn(state)
    if tally.wave_of[host] > header.wave:
        text = f"its wave {header.waves[tally.wave_of[host]].name} comes after {header.waves[header.wave].name}"
        return Blocked(Reason.WAVE, text, None, "", (host,))
    retry_at = state.retry_at if isinstance(state, Pending | Copied) else 0.0
    if retry_at > now:
        failed = state.copies_failed if isinstance(state, Pending) else 0
        text = f"tried again after {failed} of {COPIES} copies failed" if failed else "looked at again in a moment"
        return Blocked(Reason.RETRY, text, retry_at, "", (host,))
    silent = _silent(world, rollout, host)
    if silent is not None:
        return silent
    ahead = [other for other in rollout.plans[host].depends_on if world.holder(other) is not None]
    if ahead:
        return Blocked(Reason.DEPENDENCY, f"{ahead[0]}, on which it depends, is in trial", None, "", tuple(ahead))
    ahead = [other for other in rollout.plans[host].depends_on if has_turn_first(rollout, other, host)]
    if ahead and isinstance(state, Copied):
        return Blocked(Reason.DEPENDENCY, f"{ahead[0]}, on which it depends, comes first", None, "", tuple(ahead))
    held = {domain for domain, count in world.unproven_domains.items() if count}
    if rollout.plans[host].domain not in held and len(held) >= header.spec.policy.max_domains:
        text = f"domain {sorted(held)[0]} holds unproven hosts, and max_domains is {header.spec.policy.max_domains}"
        return Blocked(Reason.DOMAIN, text, None, "", (host,))
    return _slots(world, rollout, host)


def _silent(world: World, rollout: Rollout, host: str) -> Blocked | None:
    """Return that a host does not answer; None when it did, or was not asked."""
    seen = world.observations.get((rollout.header.spec.id, host))
    if seen is None or not seen.failures:
        return None
    going_back = rollout.hosts[host].task.direction is Direction.ROLLBACK
    until = seen.silent_since + ROLLBACK_REACH_S if going_back else seen.next_round_at
    text = f"{seen.unheard.does}, and is asked on: {seen.unreachable}"
    return Blocked(Reason(seen.unheard), text, until, "", (host,))


def _silent_on_their_way_back(world: World, rollout: Rollout) -> list[Blocked]:
    hosts = [host for host in rollout.tally.lane(BACK) if _silent(world, rollout, host) is not None]
    first = _silent(world, rollout, hosts[0]) if hosts else None
    return [] if first is None else [replace(first, hosts=tuple(hosts))]


def _turn(state: HostState) -> Blocked:
    match state:
        case Pending(task=Task(to=None), derivation=None):
            step = "evaluated"
        case Pending(task=Task(to=None)):
            step = "built"
        case Pending():
            step = "asked and copied to"
        case _:
            step = "asked and tried"
    return Blocked(Reason.TURN, f"waits for its turn to be {step}")


def _queued(world: World, rollout: Rollout) -> Blocked:
    name = rollout.header.spec.id
    owners = sorted({owner for host in rollout.hosts if (owner := world.owner(host)) not in (None, name)})
    text = f"waits for {', '.join(str(owner) for owner in owners)}, which holds some of its hosts"
    ending = [owner for owner in owners if world.rollouts[str(owner)].header.superseded_by]
    if ending and ending == owners:
        text = f"waits for {', '.join(map(str, owners))}, which it supersedes, to bring what is under way to its end"
        return Blocked(Reason.QUEUED, text)
    return Blocked(Reason.QUEUED, text, None, f"fleetctl abort {owners[0]}" if owners else "")


def _unknown(rollout: Rollout) -> list[Blocked]:
    found = []
    unproven = [(host, rollout.hosts[host]) for host in rollout.tally.hosts[Mark.UNPROVEN]]
    gone = tuple(host for host, state in unproven if isinstance(state, Lost))
    lost = tuple(
        host
        for host, state in unproven
        if isinstance(state, LiveState)
        and state.live.lost_since is not None
        and not isinstance(state, Lost | Rebooting)
    )
    rebooting = {host: state for host, state in unproven if isinstance(state, Rebooting)}
    if gone:
        text = "out of reach until long after their guards fired; they keep their slots until they are seen or cleared"
        found.append(Blocked(Reason.LOST, text, None, f"fleetctl clear {gone[0]}", gone))
    if rebooting:
        until = min(state.since for state in rebooting.values()) + rollout.header.spec.policy.reboot_timeout_s
        found.append(Blocked(Reason.REBOOTING, "boot the new system for their trial", until, "", tuple(rebooting)))
    if lost:
        text = "asked again until they answer; their guards take them back by themselves"
        found.append(Blocked(Reason.UNKNOWN, text, None, "", lost))
    return found


def _soak(world: World, rollout: Rollout, now: float) -> Blocked:
    header = rollout.header
    wave = header.waves[header.wave]
    hosts = tuple(host for host in wave.hosts if is_evidence(rollout.hosts[host]))
    name = header.spec.id
    covered_s = min((world.observation(name, host).health.covered_s for host in hosts), default=0.0)
    left_s = max(0.0, wave.soak_s - covered_s)
    text = f"wave {wave.name} was observed healthy for {covered_s:.0f} of {wave.soak_s:.0f} s"
    return Blocked(Reason.SOAK, text, now + left_s, f"fleetctl promote {name}", hosts)


def _slots(world: World, rollout: Rollout, host: str | None = None) -> Blocked:
    state = None if host is None else rollout.hosts[host]
    direction = Direction.DEPLOY if state is None else state.task.direction
    first = not rollout.tally.count(Mark.EVIDENCE) and rollout.tally.count(Mark.UNPROVEN)
    apart = out_of_service(world)
    holding = tuple(host for _name, host in (*world.unproven(), *apart))
    limit = limit_of(rollout, direction)
    if first and direction is Direction.DEPLOY:
        text = "the first host is alone until it is committed"
        return Blocked(Reason.FIRST_HOST, text, None, "", tuple(rollout.tally.hosts[Mark.UNPROVEN]))
    if state is not None and len(holding) < limit:
        return _turn(state)
    gone = [host for name, host in world.unproven() if isinstance(world.rollouts[name].hosts[host], Lost)]
    gone += [host for name, host in apart if host in stuck_in(world, name)]
    drained = f" and {len(apart)} drained" if apart else ""
    unproven = f"{len(holding) - len(apart)} unproven{drained} over all rollouts"
    text = f"hosts in trial hold the slots: {unproven}, {limit} allowed here"
    return Blocked(Reason.MAX_PARALLEL, text, None, f"fleetctl clear {gone[0]}" if gone else "", holding)


def explain(world: World, name: str, now: float) -> str:
    """Return a whole rollout as text: where it stands, what it waits for, and every host that waits or went wrong."""
    rollout = world.rollouts[name]
    header = rollout.header
    lines = [f"{name}: {header.phase.value}{', paused' if header.paused else ''}, revision {header.spec.revision}"]
    if header.finish_reason:
        lines.append(f"  {header.finish_reason}")
    if header.failing is not None:
        lines.append(f"  nothing more starts: {header.failing.reason}")
    lines += [f"  waits ({blocked.reason}): {_told(blocked)}" for blocked in rollout_waits(world, rollout, now)]
    for index, wave in enumerate(header.waves):
        words = ", ".join(f"{count} {word}" for word, count in sorted(rollout.tally.words[index].items()) if count)
        mark = ">" if index == header.wave and not header.phase.is_final else " "
        lines.append(f"{mark} wave {wave.name}: {words or 'empty'}")
        for host in wave.hosts:
            state, blocked = rollout.hosts[host], host_waits(world, name, host, now)
            word = f"{shown(state)} ({state.kind})" if isinstance(state, Deferred | Failed) else shown(state)
            if blocked is not None:
                lines.append(f"    {host} {word}: {_told(blocked)}")
            elif reason_of(state):
                lines.append(f"    {host} {word}: {reason_of(state)}")
    return "\n".join(lines) + "\n"


def _told(blocked: Blocked) -> str:
    until = f", until {instant(blocked.until)}" if blocked.until is not None else ""
    return f"{blocked.text}{until}{f'; type: {blocked.todo}' if blocked.todo else ''}"
