"""Rollouts and hosts as the API shows them: plain JSON documents, made from the world alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime

from fleetd.rollout import events as e
from fleetd.rollout.gates import reason_of
from fleetd.rollout.states import (
    SOURCE_FAILED,
    Committed,
    Failed,
    HostState,
    LiveState,
    Pending,
    is_evidence,
    shown,
)
from fleetd.rollout.tally import Mark
from fleetd.rollout.world import HostRecord, Rollout, World

Document = Mapping[str, object]


def instant(at: float | None) -> str | None:
    """Return RFC 3339 in UTC, to the millisecond."""
    if at is None:
        return None
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def rollout_document(world: World, rollout: Rollout, now: float) -> Document:
    """Return a rollout without its hosts: those are pages of their own."""
    header, spec = rollout.header, rollout.header.spec
    return {
        "id": spec.id,
        "kind": spec.kind.value,
        "phase": shown_phase(rollout).value,
        "paused": False,
        "revision": header.locked or spec.revision,
        "goal": spec.goal.value,
        "policy": spec.policy.name,
        "on": spec.on,
        "reason": spec.reason,
        "requested_by": spec.requested_by,
        "created_at": instant(header.created_at),
        "finished_at": instant(header.finished_at),
        "finish_reason": header.finish_reason,
        "waves": [_wave(rollout, index) for index in range(len(header.waves))],
        "counts": _counts(*rollout.tally.words),
        "blocked_by": blocked_by(world, rollout, now),
        "error": _error(rollout),
        "seq": world.seq,
    }


def shown_phase(rollout: Rollout) -> e.Phase:
    """Return the phase; between evaluating and building by what is still missing."""
    header = rollout.header
    if header.phase is not e.Phase.EVALUATING:
        return header.phase
    for host in rollout.tally.hosts[Mark.UNBUILT]:
        state = rollout.hosts[host]
        if isinstance(state, Pending) and state.derivation is None:
            return e.Phase.EVALUATING
    return e.Phase.BUILDING if rollout.tally.count(Mark.UNBUILT) else e.Phase.EVALUATING


def _wave(rollout: Rollout, index: int) -> Document:
    header = rollout.header
    wave = header.waves[index]
    if header.phase.is_final or index < header.wave:
        word = "passed" if index < header.wave else "ended"
    elif index > header.wave or header.phase in (e.Phase.PENDING, e.Phase.EVALUATING):
        word = "waiting"
    elif header.starts_nothing:
        word = "failed"
    else:
        word = "soaking" if header.phase is e.Phase.SOAKING else "rolling"
    return {"name": wave.name, "state": word, "counts": _counts(rollout.tally.words[index]), "soak_s": wave.soak_s}


def _counts(*words: Counter[str]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for some in words:
        counts.update(some)
    return {word: count for word, count in sorted(counts.items()) if count}


def _error(rollout: Rollout) -> Document | None:
    """Say what went wrong, with a word for machines; None while nothing did."""
    header = rollout.header
    if header.source_error:
        return {"kind": "source", "detail": header.source_error}
    if header.phase is e.Phase.FAILED and all(_is_unbuildable(state) for state in rollout.hosts.values()):
        return {"kind": "source", "detail": header.finish_reason}
    if header.failing is not None:
        return {"kind": "failing", "detail": header.failing.reason}
    if header.phase in (e.Phase.FAILED, e.Phase.NEEDS_OPERATOR):
        return {"kind": header.phase.value, "detail": header.finish_reason}
    return None


def _is_unbuildable(state: HostState) -> bool:
    return isinstance(state, Failed) and state.kind == SOURCE_FAILED


def host_document(rollout: Rollout, host: str) -> Document:
    """Return one host of a rollout."""
    state, header = rollout.hosts[host], rollout.header
    wave = next((wave.name for wave in header.waves if host in wave.hosts), "")
    lost = state.live.lost_since if isinstance(state, LiveState) else None
    return {
        "name": host,
        "wave": wave,
        "state": shown(state),
        "contact": "ok" if lost is None else f"lost since {instant(lost)}",
        "from": _old(state),
        "to": state.task.to,
        "kind": getattr(state, "kind", ""),
        "reason": reason_of(state),
        "attempts": state.task.attempt,
        "unhealthy": bool(getattr(state, "unhealthy", "")),
    }


def _old(state: HostState) -> str | None:
    if isinstance(state, LiveState):
        return state.live.old
    return state.old if isinstance(state, Committed) else None


def record_document(record: HostRecord) -> Document:
    """Return what is owed to a host and was last left there."""
    return {
        "wanted": record.wanted,
        "last_good": record.last_good,
        "good_before": record.good_before,
        "left": record.left,
        "machine_id": record.machine_id,
    }


def blocked_by(world: World, rollout: Rollout, now: float) -> list[Document]:
    """Return what the rollout waits for: the reason, until when, and what to type; empty when it is final."""
    header, found = rollout.header, []
    name = header.spec.id
    if header.phase.is_final:
        return []
    if header.phase is e.Phase.PENDING:
        owners = sorted({owner for host in rollout.hosts if (owner := world.owner(host)) not in (None, name)})
        text = f"waits for {', '.join(str(owner) for owner in owners)}, which holds some of its hosts"
        return [_blocked("queued", text, None, f"fleetctl abort {owners[0]}" if owners else "")]
    tally = rollout.tally
    unproven = [(host, rollout.hosts[host]) for host in tally.hosts[Mark.UNPROVEN]]
    lost = [host for host, state in unproven if isinstance(state, LiveState) and state.live.lost_since]
    if lost:
        text = "asked again until they answer; their guards take them back by themselves"
        found.append(_blocked("unknown", text, None, "", lost))
    if header.phase is e.Phase.SOAKING and header.wave < len(header.waves):
        found.append(_soak(world, rollout, now))
    holding = list(tally.hosts[Mark.UNPROVEN])
    if header.phase is e.Phase.ROLLING and tally.count(Mark.STARTABLE) and holding:
        first = not tally.count(Mark.EVIDENCE)
        text = "the first host is alone until it is committed" if first else "hosts in trial hold the slots"
        found.append(_blocked("first-host" if first else "max-parallel", text, None, "", holding))
    deferred = list(tally.hosts[Mark.DEFERRED])
    if deferred:
        text = reason_of(rollout.hosts[deferred[0]])
        found.append(_blocked("deferred", text, None, f"fleetctl deploy --on {','.join(deferred[:5])}", deferred))
    return found


def _soak(world: World, rollout: Rollout, now: float) -> Document:
    wave = rollout.header.waves[rollout.header.wave]
    hosts, name = [host for host in wave.hosts if is_evidence(rollout.hosts[host])], rollout.header.spec.id
    covered_s = min((world.observation(name, host).health.covered_s for host in hosts), default=0.0)
    left_s = max(0.0, wave.soak_s - covered_s)
    text = f"wave {wave.name} was observed healthy for {covered_s:.0f} of {wave.soak_s:.0f} s"
    return _blocked("soak", text, now + left_s, "", hosts)


def _blocked(reason: str, text: str, until: float | None, todo: str, hosts: list[str] | None = None) -> Document:
    names = hosts or []
    return {
        "reason": reason,
        "text": text,
        "until": instant(until),
        "type": todo,
        "hosts": names[:20],
        "count": len(names),
    }
