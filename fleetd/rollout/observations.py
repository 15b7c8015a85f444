"""What is observed and may be forgotten: answers to questions, and how they enter the world."""

from __future__ import annotations

from dataclasses import dataclass

from fleetd.model.check import CheckResult
from fleetd.model.facts import HostFacts
from fleetd.rollout.health import observe
from fleetd.rollout.starting import INSPECT_AGAIN_S
from fleetd.rollout.world import Observation, World


@dataclass(frozen=True, slots=True)
class Inspected:
    """A host answered with its facts and a first round of its checks, or did not (``unreachable`` says why)."""

    at: float
    rollout: str
    host: str
    step: int
    facts: HostFacts | None
    baseline: tuple[CheckResult, ...]
    unreachable: str


@dataclass(frozen=True, slots=True)
class Reached:
    """A host of unknown outcome answered, or did not (``unreachable`` says why)."""

    at: float
    rollout: str
    host: str
    step: int
    unreachable: str


@dataclass(frozen=True, slots=True)
class Probed:
    """One round of checks ended."""

    at: float
    rollout: str
    host: str
    step: int
    results: tuple[CheckResult, ...]
    required: tuple[str, ...]
    interval_s: float


@dataclass(frozen=True, slots=True)
class Extended:
    """A renewal was answered, or not; either way the next one is due later."""

    at: float
    rollout: str
    host: str
    step: int
    done: bool


@dataclass(frozen=True, slots=True)
class LockEnded:
    """The question what a flake reference is now was answered one way or the other."""

    rollout: str


Observed = Inspected | Reached | Probed | Extended | LockEnded


def note(world: World, message: Observed) -> None:
    """Take an observation into account; one that comes too late for its step is forgotten."""
    if isinstance(message, LockEnded):
        world.locking = None
        return
    seen = world.observations.get((message.rollout, message.host))
    if seen is None or seen.step != message.step:
        return
    world.agenda.touch((message.rollout, message.host))
    match message:
        case Inspected():
            seen.asking = ""
            if message.facts is None:
                _not_reached(seen, message.at, message.unreachable)
                seen.next_round_at = message.at + INSPECT_AGAIN_S
            else:
                seen.failures = 0
                seen.facts, seen.baseline, seen.inspected_at = message.facts, message.baseline, message.at
        case Reached():
            seen.asking = ""
            if message.unreachable:
                _not_reached(seen, message.at, message.unreachable)
            else:
                seen.failures, seen.reached_at = 0, message.at
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


def _not_reached(seen: Observation, at: float, why: str) -> None:
    if not seen.failures:
        seen.silent_since = at
    seen.failures += 1
    seen.unreachable = why
    seen.asked_at = at
