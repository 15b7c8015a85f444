"""What is observed and may be forgotten: answers to questions, and how they enter the world."""

from __future__ import annotations

from dataclasses import dataclass

from fleetd.model.check import CheckResult
from fleetd.model.facts import HostFacts
from fleetd.rollout.health import observe
from fleetd.rollout.starting import INSPECT_AGAIN_S
from fleetd.rollout.states import is_final
from fleetd.rollout.world import World


@dataclass(frozen=True, slots=True)
class Inspected:
    """A host answered with its facts and a first round of its checks, or did not (``unreachable`` says why)."""

    at: float
    rollout: str
    host: str
    facts: HostFacts | None
    baseline: tuple[CheckResult, ...]
    unreachable: str


@dataclass(frozen=True, slots=True)
class Probed:
    """One round of checks ended."""

    at: float
    rollout: str
    host: str
    results: tuple[CheckResult, ...]
    required: tuple[str, ...]
    interval_s: float


@dataclass(frozen=True, slots=True)
class Extended:
    """A renewal was answered, or not; either way the next one is due later."""

    at: float
    rollout: str
    host: str
    done: bool


@dataclass(frozen=True, slots=True)
class LockEnded:
    """The question what a flake reference is now was answered one way or the other."""

    rollout: str


Observed = Inspected | Probed | Extended | LockEnded


def note(world: World, message: Observed) -> None:
    """Take an observation into account; one that comes too late for its step is forgotten."""
    if isinstance(message, LockEnded):
        world.locking = None
        return
    rollout = world.rollouts.get(message.rollout)
    seen = world.observations.get(message.host)
    if rollout is None or seen is None or message.host not in rollout.hosts:
        return
    match message:
        case Inspected():
            seen.asking = ""
            if message.facts is None:
                seen.failures += 1
                seen.unreachable = message.unreachable
                seen.next_round_at = message.at + INSPECT_AGAIN_S
            else:
                seen.failures = 0
                seen.facts, seen.baseline, seen.inspected_at = message.facts, message.baseline, message.at
        case Probed():
            seen.asking = ""
            seen.next_round_at = message.at + message.interval_s
            seen.health = observe(
                seen.health, message.results, message.required, at=message.at, interval_s=message.interval_s
            )
        case Extended():
            seen.extending = False
            # A renewal that failed is tried again after a tenth of the usual wait, which is still bounded work.
            if message.done:
                seen.extended_at = message.at


def host_is_free(world: World, host: str) -> bool:
    """Whether no rollout is doing anything with a host just now."""
    return all(host not in rollout.hosts or is_final(rollout.hosts[host]) for _name, rollout in world.active())
