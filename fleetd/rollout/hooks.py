"""How the hooks of hosts stand, as the fold of their events: what began, what ended, and what is still owed.

An entry begins with the first ``before``, or with the trial where a host has none. It ends when all that is to run
after the trial has ended; until then the host holds the slot that it took, and counts as unavailable in its groups:
it may carry no load. One that waits for nothing but a person is *stuck*.

::

    before* → (trial) → after-commit* or after-revert* → always-after* → over
        └──────── passed over, skipped, aborted, held ────────┘
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from fleetd.model.fence import Fence
from fleetd.model.hook import Hook, HookEnd, When
from fleetd.rollout import events as e
from fleetd.rollout.agenda import Place
from fleetd.rollout.spec import HostPlan, RolloutSpec
from fleetd.rollout.states import Committed, Copied, HostState, LiveState, Reverted, RolledBack, is_final, is_unproven
from fleetd.rollout.task import IllegalTransition

RETRY_HOOK_S = 5.0
"""How long after a run that did not go well the next one comes; each time twice as long."""

RETRY_HOOK_LONGEST_S = 300.0


@dataclass(frozen=True, slots=True)
class HookFlight:
    """A hook runs. A fence of an earlier term: it ran when the controller died, and how it ended is unknown."""

    hook: str
    fence: Fence
    deadline: float


@dataclass(frozen=True, slots=True)
class HostHooks:
    """The hooks of one host in one rollout, from the first that began to the end of the last.

    ``done`` names those that run no more; ``trying`` is the one that ran last, ``tries`` how often in a row it did not
    go well, ``problem`` how it ended then and ``unknown`` whether that is known. ``tried``: a trial was begun.
    ``reverted``: it was taken back. ``returning``: the first ``always-after`` began, so nothing else comes before all
    of them have ended.
    """

    began_at: float
    done: tuple[str, ...] = ()
    flight: HookFlight | None = None
    trying: str = ""
    tries: int = 0
    retry_at: float = 0.0
    problem: str = ""
    unknown: bool = False
    ended_at: float = 0.0
    is_drained: bool = False
    tried: bool = False
    reverted: bool = False
    returning: bool = False
    stuck: str = ""


def next_hook(spec: RolloutSpec, plan: HostPlan, work: HostHooks, state: HostState, *, held: bool) -> Hook | None:
    """Return which hook is to run now, or to run on; None while there is none.

    Args:
        spec: of the rollout.
        plan: of the host.
        work: how its hooks stand.
        state: where the host stands.
        held: whether it may not begin its trial now, so that it is given back if it has not begun.
    """
    if is_unproven(state):
        return None
    hooks = [hook for hook in spec.hooks_of(plan) if hook.name not in work.done]
    if not work.returning:
        if isinstance(state, Copied) and not work.reverted and not held:
            return _first(hooks, When.BEFORE)
        if (work.reverted or isinstance(state, Committed)) and work.tried:
            after = _first(hooks, When.AFTER_REVERT if work.reverted else When.AFTER_COMMIT)
            if after is not None:
                return after
    return _first(hooks, When.ALWAYS_AFTER)


def is_ready(spec: RolloutSpec, plan: HostPlan, work: HostHooks) -> bool:
    """Whether every hook before the trial has ended as it must, and none after it has begun."""
    if work.flight is not None or work.returning or work.reverted or work.stuck:
        return False
    return _first([hook for hook in spec.hooks_of(plan) if hook.name not in work.done], When.BEFORE) is None


def is_spent(spec: RolloutSpec, plan: HostPlan, work: HostHooks, state: HostState) -> bool:
    """Whether nothing of it is left but what a person must look at."""
    return bool(work.stuck) and work.flight is None and next_hook(spec, plan, work, state, held=True) is None


def first_before(spec: RolloutSpec, plan: HostPlan) -> Hook | None:
    """Return the hook with which a host begins; None where it has none before its trial."""
    return _first(spec.hooks_of(plan), When.BEFORE)


def _first(hooks: Iterable[Hook], when: When) -> Hook | None:
    return next((hook for hook in hooks if hook.when is when), None)


def _is_over(spec: RolloutSpec, plan: HostPlan, work: HostHooks, state: HostState) -> bool:
    if work.flight is not None or work.stuck or is_unproven(state):
        return False
    ended = work.returning or work.reverted or is_final(state)
    return ended and next_hook(spec, plan, work, state, held=False) is None


@dataclass(slots=True)
class Hooks:
    """Every host whose hooks have begun and not ended, oldest first."""

    _open: dict[Place, HostHooks] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._open)

    def get(self, place: Place) -> HostHooks | None:
        """Return how the hooks of a host stand; None where none has begun, or all have ended."""
        return self._open.get(place)

    def items(self) -> Iterator[tuple[Place, HostHooks]]:
        """Yield every entry, oldest first."""
        yield from self._open.items()

    def of_host(self, host: str) -> list[tuple[str, HostHooks]]:
        """Return the rollouts in which a host has an entry."""
        return [(name, work) for (name, other), work in self._open.items() if other == host]

    def of_rollout(self, rollout: str) -> dict[str, HostHooks]:
        """Return the hosts of a rollout that have an entry."""
        return {host: work for (name, host), work in self._open.items() if name == rollout}

    def drained_by(self, host: str) -> str:
        """Return the rollout by whose hooks a host is drained; empty where it is not."""
        return next((name for name, work in self.of_host(host) if work.is_drained), "")

    def apply(self, spec: RolloutSpec, plan: HostPlan, state: HostState, event: e.HookEvent) -> bool:
        """Take an event into account; returns whether the host is free of hooks now. Raises IllegalTransition."""
        place = (event.rollout, event.host)
        work = self._open.get(place)
        match event:
            case e.HookIntended():
                after = _begun(spec, plan, state, work, event)
                self._drop_stuck(event.host, event.rollout)
            case e.HookEnded() if work is not None and work.flight is not None and work.flight.fence == event.fence:
                after = _ended(work, event)
            case e.HookGivenUp() if work is not None and work.flight is None and event.hook == work.trying:
                stuck = work.stuck or (event.reason if event.stuck else "")
                after = replace(work, done=(*work.done, event.hook), tries=0, problem="", stuck=stuck)
            case e.HooksCleared() if work is not None and is_spent(spec, plan, work, state):
                del self._open[place]
                return True
            case _:
                raise IllegalTransition(work, event)
        return self._keep(place, spec, plan, state, after)

    def host_changed(
        self, spec: RolloutSpec, plan: HostPlan, before: HostState, after: HostState, event: e.HostEvent
    ) -> None:
        """Take a host's new state into account."""
        if not plan.hooks:
            return
        place = (event.rollout, event.host)
        work = self._open.get(place)
        if isinstance(event, e.TrialIntended):
            fresh = work is None or is_spent(spec, plan, work, before)
            self._drop_stuck(event.host, event.rollout if not fresh else "")
            work = replace(HostHooks(event.at) if work is None or fresh else work, tried=True)
        elif work is None:
            return
        elif isinstance(after, Reverted | RolledBack) or _was_taken_back(before, after):
            work = replace(work, reverted=work.tried)
        self._keep(place, spec, plan, after, work)

    def _keep(self, place: Place, spec: RolloutSpec, plan: HostPlan, state: HostState, work: HostHooks) -> bool:
        if _is_over(spec, plan, work, state):
            self._open.pop(place, None)
            return True
        self._open[place] = work
        return False

    def _drop_stuck(self, host: str, but: str) -> None:
        """Let a new activation take the place of what an earlier one left stuck: its own end puts all of it back."""
        for name, work in self.of_host(host):
            if name != but and work.stuck:
                del self._open[name, host]


def _begun(
    spec: RolloutSpec, plan: HostPlan, state: HostState, work: HostHooks | None, event: e.HookIntended
) -> HostHooks:
    if work is None or is_spent(spec, plan, work, state):
        hook, work = first_before(spec, plan), HostHooks(event.at)
        allowed = [hook] if isinstance(state, Copied) else []
    else:
        free = work.flight is None or work.flight.fence.term < event.fence.term
        allowed = [next_hook(spec, plan, work, state, held=held) for held in (False, True)] if free else []
    hook = next((hook for hook in allowed if hook is not None and hook.name == event.hook), None)
    if hook is None:
        raise IllegalTransition(work, event)
    again = work.trying == hook.name
    return replace(
        work,
        flight=HookFlight(hook.name, event.fence, event.deadline),
        trying=hook.name,
        tries=work.tries if again else 0,
        problem=work.problem if again else "",
        is_drained=work.is_drained or hook.when is When.BEFORE,
        returning=work.returning or hook.when is When.ALWAYS_AFTER,
    )


def _ended(work: HostHooks, event: e.HookEnded) -> HostHooks:
    landed = replace(work, flight=None, ended_at=event.at)
    if event.end is HookEnd.WELL:
        return replace(landed, done=(*work.done, event.hook), tries=0, problem="", unknown=False)
    wait_s = min(RETRY_HOOK_LONGEST_S, RETRY_HOOK_S * 2.0 ** min(work.tries, 10))
    return replace(
        landed,
        tries=work.tries + 1,
        retry_at=event.at + wait_s,
        problem=event.reason,
        unknown=event.end is HookEnd.UNKNOWN,
    )


def _was_taken_back(before: HostState, after: HostState) -> bool:
    """Whether a host went back because no controller was there, and is to be tried once more."""
    return isinstance(before, LiveState) and not is_final(after) and after.task.attempt > before.task.attempt
