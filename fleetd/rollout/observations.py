"""What is observed and may be forgotten: answers to questions, and how they enter the world."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain, islice

from fleetd.model.check import CheckOutcome, CheckResult
from fleetd.model.facts import HostFacts
from fleetd.model.program import Aid
from fleetd.rollout.asking import INSPECT_AGAIN_S
from fleetd.rollout.contact import WITNESSES
from fleetd.rollout.events import Ailment
from fleetd.rollout.health import observe
from fleetd.rollout.patrol import judge, take_sighting
from fleetd.rollout.seen import Look, Observation, Unheard
from fleetd.rollout.sightings import Sighted
from fleetd.rollout.states import Committed, Current, LiveState, TrialKept
from fleetd.rollout.world import World

CANDIDATES = 1000
"""Of how many hosts the witnesses are chosen: a doubt must not cost what a large fleet has hosts."""


@dataclass(frozen=True, slots=True)
class Inspected:
    """A host answered with its facts and a first round of its checks, or did not (``unreachable`` says why).

    ``unheard`` is of what kind that was, here and below.
    """

    at: float
    rollout: str
    host: str
    step: int
    facts: HostFacts | None
    baseline: tuple[CheckResult, ...]
    unreachable: str
    unheard: Unheard = Unheard.UNREACHABLE


@dataclass(frozen=True, slots=True)
class Reached:
    """A host of unknown outcome answered, or did not (``unreachable`` says why); ``aids`` are what could be done."""

    at: float
    rollout: str
    host: str
    step: int
    unreachable: str
    aids: tuple[Aid, ...] = ()
    unheard: Unheard = Unheard.UNREACHABLE


@dataclass(frozen=True, slots=True)
class Unlocked:
    """One try to unlock a host ended, however; only the host's own answer says that it was of use."""

    at: float
    rollout: str
    host: str
    step: int
    again_s: float


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
class Witnessed:
    """A host that was asked because another one fell silent answered, or did not (``unreachable`` says why)."""

    at: float
    host: str
    unreachable: str
    unheard: Unheard = Unheard.UNREACHABLE


@dataclass(frozen=True, slots=True)
class Looked:
    """A host was looked at for its group; ``why`` it is unwell, empty when it is well."""

    at: float
    host: str
    answered: bool
    why: str
    unheard: Unheard = Unheard.UNREACHABLE


@dataclass(frozen=True, slots=True)
class LockEnded:
    """The question what a flake reference is now was answered one way or the other."""

    rollout: str


Contact = Inspected | Reached | Witnessed | Sighted | Looked | Probed | Extended
"""What says of a host whether it answers."""

Observed = Contact | Unlocked | LockEnded


def note(world: World, message: Observed) -> None:
    """Take an observation into account; one that comes too late for its step is forgotten."""
    if isinstance(message, LockEnded):
        world.locking = None
        return
    if not isinstance(message, Unlocked):
        _take_contact(world, message)
    if isinstance(message, Looked):
        _take_look(world, message)
    if isinstance(message, Sighted):
        take_sighting(world, message)
    if isinstance(message, Witnessed | Looked | Sighted):
        return
    seen = world.observations.get((message.rollout, message.host))
    if seen is None or seen.step != message.step:
        return
    world.agenda.touch((message.rollout, message.host))
    match message:
        case Inspected():
            seen.asking = ""
            if message.facts is None:
                _not_reached(seen, message.at, message.unreachable, message.unheard)
                seen.next_round_at = message.at + INSPECT_AGAIN_S
            else:
                seen.failures = 0
                seen.facts, seen.baseline, seen.inspected_at = message.facts, message.baseline, message.at
                unasked = any(result.outcome is CheckOutcome.ERROR for result in message.baseline)
                seen.unasked = seen.unasked + 1 if unasked else 0
        case Reached():
            seen.asking, seen.aids = "", message.aids
            if message.unreachable:
                _not_reached(seen, message.at, message.unreachable, message.unheard)
            else:
                seen.failures, seen.reached_at = 0, message.at
        case Unlocked():
            seen.unlocking, seen.unlocks, seen.unlock_at = False, seen.unlocks + 1, message.at + message.again_s
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


def _not_reached(seen: Observation, at: float, why: str, unheard: Unheard) -> None:
    if not seen.failures:
        seen.silent_since = at
    seen.failures += 1
    seen.unreachable, seen.unheard = why, unheard
    seen.asked_at = at


def _take_look(world: World, message: Looked) -> None:
    world.looking.pop(message.host, None)
    before = world.looks.get(message.host)
    world.looks[message.host] = Look(message.at, message.why, is_sick=message.answered and bool(message.why))
    if before is not None and before.why and not message.why:
        # Whoever waited for it may start from now on: the progress clock begins anew.
        world.freed_at = max(world.freed_at, message.at)


def _take_contact(world: World, message: Contact) -> None:
    """Note that a host answered, or did not, whatever it was asked for: another's silence is judged by it."""
    answered = _answered(message)
    if answered is None:
        return
    host, contacts = message.host, world.contacts
    if answered:
        contacts.hear(host, message.at)
    else:
        is_unproven = world.holder(host) is not None
        was_well = _was_well(world, host) or (isinstance(message, Sighted) and _was_found_there(world, host))
        contacts.miss(host, message.at, was_well=was_well, is_unproven=is_unproven)
    own = contacts.settle()
    while contacts.needs_witnesses:
        contacts.call(witnesses(world))
        own += contacts.settle()
    for one in own:
        judge(world, one)
        for place in world.places_of(one):
            world.agenda.touch(place)


def _answered(message: Contact) -> bool | None:
    """Return whether a host answered; None where nothing was learnt."""
    match message:
        case Sighted():
            return message.facts is not None
        case Inspected():
            return message.facts is not None or message.unheard.is_answer
        case Reached() | Witnessed():
            return not message.unreachable or message.unheard.is_answer
        case Looked():
            return message.answered or message.unheard.is_answer
        case Probed(results=()):
            return None
        case Probed(results=results):
            return any(result.outcome is CheckOutcome.PASS for result in results)
        case Extended():
            # One that was not renewed may have refused.
            return True if message.done else None


def _was_well(world: World, host: str) -> bool:
    """Whether the journal says that a host answered not long ago, perhaps to a controller before this one."""
    for name, _host in world.places_of(host):
        state = world.rollouts[name].hosts[host]
        if isinstance(state, LiveState) or (isinstance(state, Committed | TrialKept | Current) and not state.unhealthy):
            return True
    return False


def _was_found_there(world: World, host: str) -> bool:
    """Whether a host that is in no rollout was there as far as the journal knows: its silence must not be believed
    by a controller that began with its own network down."""
    found = world.fleetwide.found.get(host)
    return world.record(host).is_known and (found is None or found.kind is not Ailment.UNREACHABLE)


def witnesses(world: World) -> list[str]:
    """Return whom to ask whether it is the controller that hears nobody: from as many domains as there are.

    Nobody who is silent already; and somebody on whom something is being tried only where there is nobody else, and it
    is not such a host that fell silent: bad systems may silence all of those.
    """
    in_rollouts = ((host, plan.domain) for _name, rollout in world.active() for host, plan in rollout.plans.items())
    # Of a host that is in no rollout the domain is not known here: each is taken for one of its own.
    candidates = chain(in_rollouts, ((host, host) for host in world.records))
    quiet: dict[str, str] = {}
    unproven: dict[str, str] = {}
    for host, domain in islice(candidates, CANDIDATES):
        if not world.contacts.is_silent(host):
            (quiet if world.holder(host) is None else unproven).setdefault(host, domain)
    doubt = world.contacts.doubt
    chosen = quiet or (unproven if doubt is not None and doubt.lost else {})
    first = {domain: host for host, domain in reversed(chosen.items())}
    return list(dict.fromkeys([*reversed(first.values()), *chosen]))[:WITNESSES]
