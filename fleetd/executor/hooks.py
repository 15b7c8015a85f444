"""Runs the hooks that were decided on: each once, for a limited time, and what it said is kept for people.

Nothing here repeats a hook. One that ran when the controller died is ended before the next one of its host begins.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from fleetd.errors import FleetdError, OutcomeUnknown
from fleetd.model.fleet import Host
from fleetd.model.hook import Hook, HookEnd, Where
from fleetd.model.program import ProgramEnd
from fleetd.ports import Blobs, Clock
from fleetd.rollout import events as e
from fleetd.rollout.spec import RolloutSpec
from fleetd.rollout.states import Task

LAST_WORDS = 200
"""Characters of what a hook said that its failure is told with; the rest is in the log."""


class HookRunner(Protocol):
    """The machines that run hooks. ``about`` goes into the environment of the command."""

    async def on_controller(self, hook: Hook, host: Host, about: Mapping[str, str], *, alone: str) -> ProgramEnd:
        """Run a hook on the control node to its end, or until its time is over; never raises for what it does.

        What is left of an earlier one with the same ``alone`` is ended first.
        """
        ...

    async def on_host(
        self, hook: Hook, host: Host, about: Mapping[str, str], *, alone: str, contact_s: float
    ) -> ProgramEnd:
        """Run a hook on its host likewise. Raises HostError: OutcomeUnknown where it may have run."""
        ...


class HookRuns:
    """Carries out the intents to run hooks."""

    def __init__(self, clock: Clock, runner: HookRunner, blobs: Blobs | None = None) -> None:
        self._clock = clock
        self._runner = runner
        self._blobs = blobs

    async def run(
        self, spec: RolloutSpec, task: Task, intent: e.HookIntended, host: Host | None, revision: str
    ) -> e.HookEnded:
        """Run one hook and return what came of it; never raises for what the hook, the host or the link does."""
        hook = next(hook for hook in spec.hooks if hook.name == intent.hook)
        if host is None:
            return self._ended(intent, HookEnd.FAILED, f"{intent.host} is no longer in the fleet file")
        about, alone = about_of(spec, task, intent, hook, host, revision), f"{intent.rollout}/{intent.host}"
        try:
            if hook.where is Where.CONTROLLER:
                end = await self._runner.on_controller(hook, host, about, alone=alone)
            else:
                end = await self._runner.on_host(hook, host, about, alone=alone, contact_s=spec.contact_s)
        except OutcomeUnknown as error:
            return self._ended(intent, HookEnd.UNKNOWN, str(error))
        except FleetdError as error:
            return self._ended(intent, HookEnd.FAILED, str(error))
        await self._keep(intent, hook, end)
        if end.well:
            return self._ended(intent, HookEnd.WELL, "")
        last = end.output.strip().splitlines()[-1:]
        return self._ended(intent, HookEnd.FAILED, ": ".join([end.said, *(line[:LAST_WORDS] for line in last)]))

    def _ended(self, intent: e.HookIntended, end: HookEnd, reason: str) -> e.HookEnded:
        return e.HookEnded(self._clock.now(), intent.rollout, intent.host, intent.fence, intent.hook, end, reason)

    async def _keep(self, intent: e.HookIntended, hook: Hook, end: ProgramEnd) -> None:
        if self._blobs is not None:
            head = f"== hook {hook.name} ({hook.when.value}), try {intent.number}: {end.said}"
            said = "\n".join(part for part in (head, end.output) if part)
            await self._blobs.add(intent.rollout, intent.host, f"{said}\n")


def about_of(
    spec: RolloutSpec, task: Task, intent: e.HookIntended, hook: Hook, host: Host, revision: str
) -> dict[str, str]:
    """Return what a hook is told of its host, as its environment."""
    return {
        "FLEETD_HOOK": hook.name,
        "FLEETD_WHEN": hook.when.value,
        "FLEETD_TRY": str(intent.number),
        "FLEETD_HOST": host.name,
        "FLEETD_ADDRESS": next(iter(host.network_addresses), host.name),
        "FLEETD_STATE": intent.state,
        "FLEETD_ROLLOUT": intent.rollout,
        "FLEETD_ACTIVATION": f"{intent.rollout}/{intent.host}/{task.direction.value}/{task.attempt}",
        "FLEETD_KIND": spec.kind.value,
        "FLEETD_DIRECTION": task.direction.value,
        "FLEETD_GOAL": spec.goal.value,
        "FLEETD_REVISION": revision,
        "FLEETD_TOPLEVEL": task.to or "",
    }
