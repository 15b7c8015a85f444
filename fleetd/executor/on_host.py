"""Orders on one host: send once, follow until the host stands still, and say what came of it.

Nothing here repeats an order. After it was sent only ``status`` is asked again, which has no effect, until the
intent's deadline; what is not known by then is unknown, and the planner settles it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fleetd.errors import FleetdError, HostError, OrderRefused, OutcomeUnknown, ToplevelError, Unreachable
from fleetd.executor.orders import REASON_CHARACTERS, order_for, reported
from fleetd.model.facts import HelperState, HostFacts, HostStatus
from fleetd.model.fleet import Host
from fleetd.model.nix32 import nix32
from fleetd.model.order import Order, Verb
from fleetd.ports import Blobs, Clock, HostPort, Store
from fleetd.rollout import events as e
from fleetd.rollout.decision import Extend
from fleetd.rollout.observations import Extended
from fleetd.rollout.spec import Kind, RolloutSpec
from fleetd.rollout.states import Direction, Task
from fleetd.rollout.timing import DRY_RUN_S

FOLLOW_EVERY_S = 0.5
"""How often a moving host is looked at over its open connection: a switch is rarely faster."""

FOLLOW_LOST_S = 2.0
"""How long to wait before a lost host is looked at again: well within the limits of its sshd."""

RENEW_AGAIN_S = 1.0
"""How soon a renewal that failed is tried again: it must get through before the guard's deadline."""

_VERBS = {
    e.TrialIntended: Verb.TRIAL,
    e.StageIntended: Verb.STAGE,
    e.CommitIntended: Verb.COMMIT,
    e.ReleaseIntended: Verb.RELEASE,
    e.RevertIntended: Verb.REVERT,
    e.SettleIntended: Verb.SETTLE,
}


_QUIET = (Verb.COMMIT, Verb.RELEASE)
"""What ends a trial well has nothing to tell."""


@dataclass(frozen=True, slots=True)
class _Seen:
    facts: HostFacts
    at: float


class OnHost:
    """Sends orders and keeps the newest facts of each host, which bind an order to a boot and a machine."""

    def __init__(self, clock: Clock, hosts: HostPort, store: Store, blobs: Blobs | None = None) -> None:
        self._clock = clock
        self._hosts = hosts
        self._store = store
        self._blobs = blobs
        self._seen: dict[str, _Seen] = {}

    def newest_facts(self, host: str) -> tuple[HostFacts, float] | None:
        """Return the newest facts of a host with the time they were read, if any were."""
        seen = self._seen.get(host)
        return None if seen is None else (seen.facts, seen.at)

    async def facts(self, host: Host, *, timeout_s: float) -> HostFacts:
        """Ask a host for its facts and keep them. Raises HostError."""
        facts = await self._hosts.facts(host, timeout_s=timeout_s)
        self._seen[host.name] = _Seen(facts, self._clock.now())
        return facts

    def expect(self, host: Host) -> None:
        """Ask a host again without delay: something was just done so that it comes back."""
        self._hosts.expect(host)

    def let_go(self, host: Host) -> None:
        """Keep no connection to a host for which nothing is to be done for a while."""
        self._hosts.let_go(host)

    async def carry_out(
        self, spec: RolloutSpec, task: Task, intent: e.OrderIntent, host: Host | None, keep: tuple[str, ...] = ()
    ) -> e.Event:
        """Send the order of an intent and return its outcome; never raises for what the host or the link does.

        ``keep`` are the systems that the controller may still go back to there.
        """
        at = self._clock.now
        if host is None:
            text = f"{intent.host} is no longer in the fleet file"
            return e.OrderNotSent(at(), intent.rollout, intent.host, intent.fence, text)
        try:
            order = await self._order(spec, task, intent, host, keep)
        except OrderRefused as error:
            return e.OrderRejected(at(), intent.rollout, host.name, intent.fence, error.code, str(error))
        except FleetdError as error:
            # Only facts were asked so far: whatever went wrong, no order left.
            return e.OrderNotSent(at(), intent.rollout, host.name, intent.fence, str(error))
        try:
            fresh = order.verb in (Verb.COMMIT, Verb.RELEASE)
            status = await self._hosts.order(host, order, timeout_s=spec.contact_s, fresh=fresh)
        except OrderRefused as error:
            return e.OrderRejected(at(), intent.rollout, host.name, intent.fence, error.code, str(error))
        except Unreachable as error:
            return e.OrderNotSent(at(), intent.rollout, host.name, intent.fence, str(error))
        except OutcomeUnknown as error:
            return e.ContactLost(at(), intent.rollout, host.name, intent.fence, str(error))
        except HostError as error:
            return e.OrderNotSent(at(), intent.rollout, host.name, intent.fence, str(error))
        return await self._follow(intent, host, order, status, spec.contact_s)

    async def dry_run(self, spec: RolloutSpec, task: Task, intent: e.DryRunIntended, host: Host | None) -> e.Event:
        """Ask a host what a switch would change, and keep its words; never raises for what the host or link does."""
        place = (intent.rollout, intent.host, intent.fence)
        if host is None:
            return e.OrderNotSent(self._clock.now(), *place, f"{intent.host} is no longer in the fleet file")
        try:
            facts = await self.facts(host, timeout_s=spec.contact_s)
            nar_hash = await self._nar_hash(task, spec.kind)
            order = order_for(
                Verb.DRY_ACTIVATE,
                intent.fence,
                task=task,
                spec=spec,
                host=host,
                facts=facts,
                elapsed_s=0.0,
                nar_hash=nar_hash,
            )
            status = await self._hosts.order(host, order, timeout_s=spec.contact_s + DRY_RUN_S)
        except OrderRefused as error:
            return e.OrderRejected(self._clock.now(), *place, error.code, str(error))
        except FleetdError as error:
            # Whatever became of it, it has changed nothing.
            return e.ContactLost(self._clock.now(), *place, str(error))
        if status.id != order.id:
            return e.ContactLost(self._clock.now(), *place, "the host had answered before, and its words are lost")
        if self._blobs is not None:
            await self._blobs.add(intent.rollout, intent.host, f"== dry-activate {order.id}\n{status.log.strip()}\n")
        well = status.exit_code == "0"
        why = "" if well else f"it ended with exit {status.exit_code or 'unknown'}: {_last_line(status.log)}"
        return e.DryRunDone(self._clock.now(), *place, why)

    async def extend(
        self, question: Extend, spec: RolloutSpec, host: Host | None, report: Callable[[Extended], None]
    ) -> None:
        """Renew a guard's deadline; the outcome is only noted, the guard is what counts."""
        done = False
        try:
            done = host is not None and await self._extend(question, spec, host)
        except Exception:
            # Told by whoever runs this; the pause keeps the next renewal from being tried at once, again and again.
            await self._clock.sleep(RENEW_AGAIN_S)
            raise
        report(Extended(self._clock.now(), question.rollout, question.host, question.step, done))

    async def _extend(self, question: Extend, spec: RolloutSpec, host: Host) -> bool:
        task = Task(None, question.direction, question.attempt)
        try:
            facts, elapsed_s = await self._recent(host, spec)
            order = order_for(
                Verb.EXTEND, question.fence, task=task, spec=spec, host=host, facts=facts, elapsed_s=elapsed_s
            )
            await self._hosts.order(host, order, timeout_s=spec.contact_s)
        except FleetdError as error:
            if isinstance(error, OrderRefused) and error.code == "expired":
                # A control node that stood still, as a virtual machine that is moved does, takes the host's boot clock
                # for earlier than it is, and would do so until the guard fires: the next renewal asks anew.
                self._seen.pop(host.name, None)
            await self._clock.sleep(RENEW_AGAIN_S)
            return False
        return True

    async def _order(
        self, spec: RolloutSpec, task: Task, intent: e.OrderIntent, host: Host, keep: tuple[str, ...]
    ) -> Order:
        """Return the order, bound to facts read just now. Raises OrderRefused where they already forbid it."""
        facts = await self.facts(host, timeout_s=spec.contact_s)
        nar_hash = ""
        if isinstance(intent, e.TrialIntended):
            if facts.machine_id != intent.machine_id:
                raise OrderRefused("wrong-host", f"its machine-id is {facts.machine_id}, not {intent.machine_id}")
            if facts.current != task.to and facts.goes_back_to(task.to) != intent.old:
                raise OrderRefused("drifted", f"it runs {facts.current}, and would have gone back to {intent.old}")
            nar_hash = await self._nar_hash(task, spec.kind)
        if isinstance(intent, e.StageIntended):
            if facts.machine_id != intent.machine_id:
                raise OrderRefused("wrong-host", f"its machine-id is {facts.machine_id}, not {intent.machine_id}")
            nar_hash = await self._nar_hash(task, spec.kind)
        return order_for(
            _VERBS[type(intent)],
            intent.fence,
            task=task,
            spec=spec,
            host=host,
            facts=facts,
            elapsed_s=0.0,
            nar_hash=nar_hash,
            keep_systems=keep,
        )

    async def _nar_hash(self, task: Task, kind: Kind) -> str:
        """Return the toplevel's hash as the control node knows it; empty for what only the host has, or has built."""
        if task.to is None or task.derivation or task.direction is Direction.ROLLBACK:
            return ""
        try:
            closure = await self._store.closure(task.to)
        except ToplevelError:
            if kind.brings:
                raise
            return ""
        return next((f"sha256:{nix32(info.nar_hash)}" for info in closure if info.path == task.to), "")

    async def _recent(self, host: Host, spec: RolloutSpec) -> tuple[HostFacts, float]:
        seen = self._seen.get(host.name)
        if seen is None:
            return await self.facts(host, timeout_s=spec.contact_s), 0.0
        return seen.facts, self._clock.now() - seen.at

    async def _follow(
        self, intent: e.OrderIntent, host: Host, order: Order, status: HostStatus, contact_s: float
    ) -> e.Event:
        """Ask for the status until the host stands still or goes down; over the open connection, else over new ones."""
        lost = ""
        while lost or (status.state.is_moving and not _goes_down(order, status)):
            if self._clock.now() >= intent.deadline - contact_s / 2:
                break
            await self._clock.sleep(FOLLOW_LOST_S if lost else FOLLOW_EVERY_S)
            try:
                if lost:
                    # It may have been rebooted meanwhile, and its facts take up what that left.
                    await self.facts(host, timeout_s=contact_s)
                status = await self._hosts.status(host, timeout_s=contact_s)
                lost = ""
            except FleetdError as error:
                lost = str(error)
        if status.state is HelperState.STAGED and not lost:
            # What nobody has seen over a connection of its own is no evidence.
            try:
                status = await self._hosts.status(host, timeout_s=contact_s, fresh=True)
            except FleetdError as error:
                lost = str(error)
        now = self._clock.now()
        if lost:
            return e.ContactLost(now, intent.rollout, host.name, intent.fence, lost)
        await self._keep_log(intent, order, status)
        return reported(now, intent.rollout, host.name, intent.fence, order.id, status)

    async def _keep_log(self, intent: e.OrderIntent, order: Order, status: HostStatus) -> None:
        """Keep what the host wrote while it obeyed, for people; a commit that went well has nothing to tell."""
        if self._blobs is None or status.id != order.id or (order.verb in _QUIET and not status.message):
            return
        head = f"== {order.verb.value} {order.id}: {status.state.value}, {status.verdict.value}"
        said = "\n".join(part for part in (head, status.message, status.log.strip()) if part)
        await self._blobs.add(intent.rollout, intent.host, f"{said}\n")


def _goes_down(order: Order, status: HostStatus) -> bool:
    """Whether a trial has come to its reboot: how it ends is asked when the host is back."""
    return order.verb is Verb.TRIAL and status.state is HelperState.REBOOTING


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1][:REASON_CHARACTERS] if lines else "it said nothing"
