"""Rollouts and hosts as the API shows them: plain JSON documents, made from the world alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from fleetd.rollout import events as e
from fleetd.rollout.blocked import instant, rollout_waits
from fleetd.rollout.record import HostRecord, Owed
from fleetd.rollout.states import (
    SOURCE_FAILED,
    Failed,
    HostState,
    LiveState,
    Pending,
    Placed,
    reason_of,
    shown,
)
from fleetd.rollout.tally import Mark
from fleetd.rollout.world import Rollout, World

__all__ = [
    "Document",
    "host_document",
    "instant",
    "record_document",
    "rollout_document",
    "seen_document",
    "shown_phase",
]

Document = Mapping[str, object]


def rollout_document(world: World, rollout: Rollout, now: float) -> Document:
    """Return a rollout without its hosts: those are pages of their own."""
    header, spec = rollout.header, rollout.header.spec
    return {
        "id": spec.id,
        "kind": spec.kind.value,
        "phase": shown_phase(rollout).value,
        "paused": header.paused is not None,
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
        "blocked_by": [blocked.document() for blocked in rollout_waits(world, rollout, now)],
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
        return {"kind": header.source_kind, "detail": header.source_error}
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
        "changed": rollout.changed.get(host, ""),
        "attempts": state.task.attempt,
        "unhealthy": bool(getattr(state, "unhealthy", "")),
    }


def _old(state: HostState) -> str | None:
    if isinstance(state, LiveState):
        return state.live.old
    return state.old if isinstance(state, Placed) else None


def seen_document(world: World, host: str) -> Document:
    """Return how a host was when it was last looked at without being in a rollout, and when that was."""
    seen, found = world.patrol.sightings.get(host), world.fleetwide.found.get(host)
    answered = seen is not None and seen.facts is not None and not seen.silent
    word = found.kind.value if found is not None else "well" if answered else "unknown"
    return {
        "state": word,
        "reason": found.reason if found is not None else "",
        "since": instant(found.since) if found is not None else None,
        "counts": found is not None and found.counts,
        "at": instant(seen.at) if seen is not None else None,
    }


def record_document(record: HostRecord) -> Document:
    """Return what is owed to a host and was last left there."""
    return {
        "wanted": record.wanted,
        "last_good": record.last_good,
        "good_before": record.good_before,
        "left": record.left,
        "kept": record.kept,
        "staged": record.staged,
        "machine_id": record.machine_id,
        "owed": _owed(record.owed),
    }


def _owed(owed: Owed | None) -> Document | None:
    if owed is None:
        return None
    return {
        "to": owed.to,
        "rollout": owed.rollout,
        "policy": owed.policy,
        "since": instant(owed.since),
        "tries": owed.tries,
        "retry_at": instant(owed.retry_at or None),
        "reason": owed.reason,
        "given_up": owed.given_up,
    }
