"""One host as the API shows it: what was observed and when, what is owed, and what it waits for. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from fleetd.controller.commands import Document
from fleetd.controller.holds import hold_document
from fleetd.model.facts import HostFacts
from fleetd.model.fleet import Host
from fleetd.rollout.documents import instant, record_document, seen_document
from fleetd.rollout.hook_waits import drained_document
from fleetd.rollout.preflight import drift_of, finding_documents
from fleetd.rollout.reasons import Blocked
from fleetd.rollout.world import World


def observed_host(
    world: World,
    host: Host,
    newest: tuple[HostFacts, float] | None,
    state: str,
    contact: str,
    waits: Sequence[Blocked],
) -> Document:
    """Return a host as the API shows it.

    Args:
        world: what is so.
        host: the host, as the fleet file has it.
        newest: its newest facts, and when they arrived; None where it was never heard.
        state: its state in the rollout that has it.
        contact: how it was when it was asked last.
        waits: what it waits for.
    """
    name, record = host.name, world.record(host.name)
    facts, at = newest or (None, None)
    drifted = world.owner(name) is None and facts is not None and bool(drift_of(record, facts))
    staged = facts is not None and record.staged == facts.boots != facts.current
    return {
        "name": name,
        "domain": host.domain,
        "tags": list(host.tags),
        "current": facts.current if facts else None,
        "specialisation": facts.specialisation if facts else None,
        "booted": facts.booted if facts else None,
        "profile": facts.profile if facts else None,
        "boot_default": facts.boot_default if facts else None,
        "state": state,
        "contact": contact,
        "drifted": drifted,
        "needs_reboot": facts.needs_reboot or staged if facts else None,
        "boot_proven": not facts.needs_reboot if facts else None,
        "oneshot": facts.oneshot if facts else None,
        "observed_at": instant(at),
        "seen": seen_document(world, name),
        "findings": finding_documents(*newest) if newest is not None else [],
        "lock": hold_document(world.fleetwide.locks.get(name)),
        "drained": drained_document(world, name),
        "blocked_by": [one.document() for one in waits],
        **record_document(record),
    }
