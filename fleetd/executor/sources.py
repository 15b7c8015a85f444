"""Revisions to toplevels: lock, evaluate, build, each ending in one outcome."""

from __future__ import annotations

from collections.abc import Callable

from fleetd.errors import FleetdError, RefusedError, ToplevelError
from fleetd.executor.activity import Activity
from fleetd.model.fleet import FileAttribute, HiveNode, Host, Installable, Prebuilt, ToplevelSource
from fleetd.model.store_path import StorePath, path_name, toplevel_belongs_to
from fleetd.ports import Builder, Clock, Commits, Store
from fleetd.rollout import events as e
from fleetd.rollout.decision import LockRevision
from fleetd.rollout.roots import WantedRoots
from fleetd.rollout.spec import RolloutSpec
from fleetd.rollout.states import SOURCE_FAILED

LOCK_TIMEOUT_S = 300.0
"""Fetching a repository over a slow line."""

REASON_CHARACTERS = 4000
"""Nix's own message matters to the person who reads it; a trace of a hundred frames does not."""


class Sources:
    """Asks the builder and the store, and turns what they say into outcomes."""

    def __init__(self, clock: Clock, builder: Builder, store: Store, activity: Activity, commits: Commits) -> None:
        self._clock = clock
        self._activity = activity
        self._builder = builder
        self._store = store
        self._commits = commits

    async def lock(self, question: LockRevision) -> e.RevisionLocked | e.RevisionRefused:
        """Find out what a flake reference is now, and whether that may be deployed."""
        try:
            locked = await self._builder.lock(
                question.flake, timeout_s=LOCK_TIMEOUT_S, root=f"{question.rollout}/_source"
            )
            await self._commits.check(locked, since=question.since, timeout_s=LOCK_TIMEOUT_S)
        except FleetdError as error:
            kind = error.kind if isinstance(error, RefusedError) else SOURCE_FAILED
            return e.RevisionRefused(self._clock.now(), question.rollout, str(error)[-REASON_CHARACTERS:], kind)
        return e.RevisionLocked(self._clock.now(), question.rollout, locked)

    async def evaluate(self, spec: RolloutSpec, intent: e.EvaluateIntended, locked: str | None) -> e.Event:
        """Evaluate one host's toplevel."""
        plan = next(plan for plan in spec.hosts if plan.name == intent.host)
        try:
            left_s = max(1.0, intent.deadline - self._clock.now())
            source = at_revision(plan.source, spec.flake, locked)
            derivation = await self._builder.evaluate(
                intent.host, source, timeout_s=left_s, root=f"{spec.id}/{intent.host}.drv"
            )
        except FleetdError as error:
            return self._refused(intent, error)
        return e.Evaluated(self._clock.now(), intent.rollout, intent.host, intent.fence, derivation)

    async def build(self, spec: RolloutSpec, intent: e.BuildIntended, derivation: str, host: Host | None) -> e.Event:
        """Build one host's toplevel, keep it alive, and see that it is that host's."""
        try:
            if host is None:
                raise FleetdError(f"{intent.host} is no longer in the fleet file")
            left_s = max(1.0, intent.deadline - self._clock.now())
            if host.builds_itself and derivation.endswith(".drv"):
                return await self._left_to_the_host(intent, derivation, host, left_s)
            root = f"{spec.id}/{intent.host}"
            async with self._activity.building(spec.id, intent.host, derivation) as told:
                toplevel = await self._builder.build(derivation, root, timeout_s=left_s, told=told)
            await self._store.check_toplevel(toplevel, host)
        except FleetdError as error:
            if spec.kind.brings or host is None:
                return self._refused(intent, error)
            # What a host runs or ran before fleetd came is often only there: the copy finds out, the host checks it.
            toplevel = StorePath(derivation)
        return e.Built(self._clock.now(), intent.rollout, intent.host, intent.fence, toplevel)

    async def _left_to_the_host(
        self, intent: e.BuildIntended, derivation: str, host: Host, timeout_s: float
    ) -> e.Built:
        """Find out what the host will build when its turn comes. Raises FleetdError."""
        toplevel = await self._builder.output(derivation, timeout_s=timeout_s)
        if not toplevel_belongs_to(toplevel, host.name):
            expected = f"its name would begin with nixos-system-{host.name}-"
            raise ToplevelError(f"{path_name(toplevel)} is no toplevel of {host.name} ({expected})")
        return e.Built(self._clock.now(), intent.rollout, intent.host, intent.fence, toplevel, derivation)

    async def keep(self, wanted: Callable[[], WantedRoots]) -> None:
        """Bring the control node's roots to what is wanted. Raises FleetdError."""
        await self._store.keep_only(wanted)

    def _refused(self, intent: e.EvaluateIntended | e.BuildIntended, error: FleetdError) -> e.SourceRefused:
        text = str(error)[-REASON_CHARACTERS:]
        return e.SourceRefused(self._clock.now(), intent.rollout, intent.host, intent.fence, text)


def at_revision(source: ToplevelSource, flake: str | None, locked: str | None) -> ToplevelSource:
    """Return the source with the rollout's flake replaced by what it was locked to."""
    match source:
        case Installable(text) if flake is not None and locked is not None and text.startswith(f"{flake}#"):
            return Installable(locked + text[len(flake) :])
        case Installable() | FileAttribute() | HiveNode() | Prebuilt():
            return source
