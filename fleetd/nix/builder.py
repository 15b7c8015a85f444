"""Evaluates and builds on the control node, with Nix as it is configured there."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping
from pathlib import Path

from fleetd.errors import SourceError, ToplevelError
from fleetd.model.build import Told, untold
from fleetd.model.fleet import Prebuilt, ToplevelSource
from fleetd.model.store_path import StorePath, parse_store_path
from fleetd.nix import commands
from fleetd.nix.evaluation import EVALUATOR_MIB, EvalBudget, EvaluationCache
from fleetd.nix.evaluator import Evaluator
from fleetd.nix.internal_json import BuildWatch
from fleetd.nix.roots import make_place, root_link
from fleetd.process import Seen, nix

KEEP_ATTEMPTS = 2
"""A collector runs for minutes and then not for days: it takes a derivation in that moment once at most."""


LINKS_FOLLOWED = 8
"""From a profile's ``init`` to a toplevel's is one link, or a few where profiles are nested."""


class NixBuilder:
    """The port ``Builder``.

    ``roots`` is the directory of the links that keep results alive, ``env`` is added to Nix's environment, and
    ``real_root`` is where ``/nix/store`` really is when that environment says elsewhere. ``budget`` bounds evaluators,
    ``cache`` is the file of what was evaluated before; None: only this process remembers.
    """

    def __init__(
        self,
        roots: Path,
        env: Mapping[str, str] | None = None,
        real_root: Path = Path("/"),
        *,
        budget: EvalBudget | None = None,
        cache: Path | None = None,
    ) -> None:
        self._roots = roots
        self._env = dict(env or {})
        self._real_root = real_root
        budget = budget or EvalBudget(2, EVALUATOR_MIB)
        self._evaluator = Evaluator(self._nix, budget, EvaluationCache(cache), self._env.get("PATH"))

    @property
    def evaluations_at_once(self) -> int:
        """How many hosts are worth evaluating at a time."""
        return self._evaluator.at_once

    async def evaluate(self, name: str, source: ToplevelSource, *, timeout_s: float, root: str | None = None) -> str:
        """Return the derivation of a host's toplevel, or the toplevel itself.

        With ``root`` the derivation is kept alive under that name. Raises SourceError in Nix's words.
        """
        if isinstance(source, Prebuilt):
            return source.toplevel
        for attempt in range(KEEP_ATTEMPTS):
            path = await self._evaluator.derivation(name, source, timeout_s=timeout_s, fresh=attempt > 0)
            if await self._is_kept(path, root, timeout_s):
                return path
        raise SourceError(f"{name}: {path} was collected {KEEP_ATTEMPTS} times before it could be kept alive")

    async def _is_kept(self, derivation: StorePath, root: str | None, timeout_s: float) -> bool:
        """Say whether a derivation is in the store; with ``root`` it stays there."""
        if root is not None:
            return await self._keep_derivation(derivation, root, timeout_s)
        # What was evaluated long ago may have been collected since.
        return await asyncio.to_thread(os.path.lexists, self._real_root / derivation.removeprefix("/"))

    async def data(self, installable: str, *, timeout_s: float, view: str | None = None) -> str:
        """Return a flake output as JSON text: plain data, or another tool's seen through the view of that name.

        Raises SourceError in Nix's words.
        """
        return await self._nix(commands.evaluate_data(installable, view), f"{installable} does not evaluate", timeout_s)

    async def hive_data(self, file: str, *, timeout_s: float) -> str:
        """Return what a hive that is a file says of its nodes, as JSON text. Raises SourceError in Nix's words."""
        return await self._nix(commands.evaluate_hive_data(file), f"the hive {file} does not evaluate", timeout_s)

    async def _keep_derivation(self, derivation: StorePath, root: str, timeout_s: float) -> bool:
        """Say whether it could be kept alive; it cannot when it was collected since it was evaluated."""
        link = await self._place(root)
        try:
            what = f"{derivation} cannot be kept alive"
            await self._nix(commands.keep_derivation(derivation, str(link)), what, timeout_s)
        except SourceError:
            what = f"the store cannot be asked for {derivation}"
            if not (await self._nix(commands.invalid([derivation]), what, timeout_s)).strip():
                raise
            return False
        return True

    async def _place(self, root: str) -> Path:
        """Return the link of a root, in a directory that exists. Raises SourceError, UsageError."""
        link = root_link(self._roots, root)
        try:
            await asyncio.to_thread(make_place, link)
        except OSError as error:
            raise SourceError(f"the directory of roots cannot be written: {error}") from error
        return link

    async def build(self, derivation: str, root: str, *, timeout_s: float, told: Told = untold) -> StorePath:
        """Build, or take a path as it is, and keep it alive under ``root``. Raises SourceError in Nix's words.

        ``told`` gets the news while it runs.
        """
        link = await self._place(root)
        verb = "does not build" if derivation.endswith(".drv") else "cannot be had"
        argv, what = commands.build(derivation, str(link)), f"{derivation} {verb}"
        printed = await nix(argv, what, SourceError, timeout_s=timeout_s, env=self._env, heard=BuildWatch(told))
        # It prints the root for each output; a toplevel has one.
        lines = printed.decode("utf-8", errors="replace").split()
        target = await asyncio.to_thread(_target, lines[0] if lines else str(link))
        try:
            built = parse_store_path(target)
        except ToplevelError as error:
            raise SourceError(f"{derivation}: Nix built {target!r}, which is not a store path") from error
        toplevel = await asyncio.to_thread(wrapped_toplevel, built, self._real_root)
        if toplevel != built:
            # The wrapper is built for deploy-rs' own program; nothing of it belongs on a host.
            what = f"the toplevel in {built} cannot be kept alive"
            await self._nix(commands.keep([toplevel], str(link)), what, timeout_s)
        return toplevel

    async def output(self, derivation: str, *, timeout_s: float) -> StorePath:
        """Return what a derivation will be built to.

        Raises SourceError, also where that depends on what comes out (content-addressed derivations).
        """
        what = f"the outputs of {derivation} cannot be asked for"
        printed = (await self._nix(commands.outputs(derivation), what, timeout_s)).split()
        try:
            (output,) = (parse_store_path(path) for path in printed)
        except (ValueError, ToplevelError) as error:
            text = "a host can build itself only what has one output that is known before"
            raise SourceError(f"{derivation}: {text}; it has {' '.join(printed)[:500] or 'none'}") from error
        return output

    async def lock(self, flake: str, *, timeout_s: float, root: str | None = None) -> str:
        """Return the locked reference. Raises SourceError, also for a work tree with changes that have no commit.

        With ``root`` the flake's source is kept alive under that name: one that is locked by its contents is nowhere
        else once its directory changes.
        """
        printed = await self._nix(commands.lock(flake), f"the flake {flake} cannot be locked", timeout_s)
        try:
            metadata = json.loads(printed)
            url, revision, source = str(metadata["url"]), metadata["locked"].get("rev"), metadata.get("path")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise SourceError(f"the flake {flake}: its metadata has no locked url") from error
        if revision is None and "narHash=" not in url:
            text = "it has changes that are not committed, so no reference names what would be rolled out; commit them"
            raise SourceError(f"the flake {flake} cannot be locked: {text}")
        if root is not None and source is not None:
            argv = commands.keep([str(source)], str(await self._place(root)))
            await self._nix(argv, f"the source of the flake {flake} cannot be kept alive", timeout_s)
        return url

    async def _nix(self, argv: list[str], what: str, timeout_s: float, seen: Seen | None = None) -> str:
        printed = await nix(argv, what, SourceError, timeout_s=timeout_s, env=self._env, seen=seen)
        return printed.decode("utf-8", errors="replace")


def _target(link: str) -> str:
    # Not resolved to the end: a toplevel's path is what the link says, wherever the store really is.
    place = Path(link)
    return str(place.readlink()) if place.is_symlink() else link


WRAPPER_MARK = "deploy-rs-activate"
"""The script that makes a profile of deploy-rs one (its ``flake.nix``, ``activate.custom``)."""


def wrapped_toplevel(path: StorePath, real_root: Path) -> StorePath:
    """Return the toplevel inside a profile of deploy-rs, found through ``init``; any other path as it is.

    Raises SourceError where the profile holds no NixOS system.
    """
    place = real_root / path.removeprefix("/")
    if not os.path.lexists(place / WRAPPER_MARK):
        return path
    init = place / "init"
    for _link in range(LINKS_FOLLOWED):
        if not init.is_symlink():
            break
        target = init.readlink()
        # An absolute link means the store as Nix sees it, wherever it really is.
        init = real_root / str(target).removeprefix("/") if target.is_absolute() else init.parent / target
    owner = Path("/", init.parent.relative_to(real_root))
    if str(owner) == path or not os.path.lexists(init):
        raise SourceError(f"{path} is a profile of deploy-rs without a NixOS system in it: its init leads nowhere")
    try:
        return parse_store_path(str(owner))
    except ToplevelError as error:
        raise SourceError(f"{path}: its init leads to {owner}, which is no toplevel") from error
