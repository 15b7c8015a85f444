"""From a host's source to its derivation: looked up, asked of ``nix-eval-jobs``, or evaluated alone in its turn."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from collections.abc import Awaitable
from typing import Protocol, assert_never

from fleetd.errors import SourceError, ToplevelError
from fleetd.model.fleet import FileAttribute, HiveNode, Installable
from fleetd.model.store_path import StorePath, parse_store_path
from fleetd.nix import commands
from fleetd.nix.eval_jobs import PROGRAM, EvalJobs, NotAnswered
from fleetd.nix.evaluation import EvalBudget, EvaluationCache, is_locked
from fleetd.process import Seen

Evaluable = Installable | FileAttribute | HiveNode


class Nix(Protocol):
    """Runs a Nix command and returns what it printed; see ``process.nix``. Raises SourceError."""

    def __call__(self, argv: list[str], what: str, timeout_s: float, seen: Seen | None = None, /) -> Awaitable[str]:
        """Take words, what to say when it fails, seconds, and who gets what it prints at once."""
        ...


JOBS_AT_ONCE = 64
"""Hosts that may wait for a shared run; alone, each would be an evaluator of its own."""

_PLAIN_ATTRIBUTE = re.compile(r"[A-Za-z_][A-Za-z0-9_.'-]*")
_PLAIN_FLAKE = re.compile(r"[A-Za-z0-9+:/?&=._~%@-]+")
_MISSING = re.compile(r"attribute '([^']+)' missing")


class Evaluator:
    """Evaluates hosts. ``path`` is where ``nix-eval-jobs`` is looked for."""

    def __init__(self, nix: Nix, budget: EvalBudget, cache: EvaluationCache, path: str | None = None) -> None:
        self._nix = nix
        self._cache = cache
        self._alone = asyncio.Semaphore(budget.evaluators)
        has_jobs = shutil.which(PROGRAM, path=path or os.environ.get("PATH")) is not None
        self._jobs = EvalJobs(self._run_jobs, budget) if has_jobs else None
        self.at_once = JOBS_AT_ONCE if has_jobs else budget.evaluators
        """How many hosts are worth asking for at a time."""

    async def derivation(self, name: str, source: Evaluable, *, timeout_s: float, fresh: bool) -> StorePath:
        """Return the derivation of a host's toplevel; ``fresh``: what was found before is gone from the store.

        Only what a locked reference gave is remembered. Raises SourceError in Nix's words.
        """
        argv, shown = words_of(source)
        key = source.text if isinstance(source, Installable) and is_locked(source.text.partition("#")[0]) else None
        if key is not None and fresh:
            self._cache.forget(key)
        known = self._cache.get(key) if key is not None else None
        if known is not None:
            return known
        end = asyncio.get_running_loop().time() + timeout_s
        what = f"{name}: {shown} does not evaluate"
        printed = await self._shared(key, what, timeout_s) if key is not None else None
        if printed is None:
            printed = await self._by_itself(argv, what, end)
        path = _one_derivation(printed, f"{name}: {shown}")
        if key is not None:
            self._cache.put(key, path)
        return path

    async def _shared(self, installable: str, what: str, timeout_s: float) -> str | None:
        """Ask the shared run, where there is one that can be asked; None when it has no answer."""
        flake, _mark, attribute = installable.partition("#")
        if self._jobs is None or not (_PLAIN_ATTRIBUTE.fullmatch(attribute) and _PLAIN_FLAKE.fullmatch(flake)):
            return None
        try:
            return await self._jobs.derivation(flake, attribute, timeout_s=timeout_s)
        except NotAnswered:
            # The run ended before it came to this host, by what another one did to it: alone it gets its own chance.
            return None
        except SourceError as error:
            missing = _MISSING.search(str(error))
            if missing is not None and missing[1] in attribute.split("."):
                # Nix itself looks for it among the flake's packages as well, and says where it looked.
                return None
            raise SourceError(f"{what}: {error}") from error

    async def _by_itself(self, argv: list[str], what: str, end: float) -> str:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout_at(end):
                await self._alone.acquire()
        except TimeoutError as error:
            raise SourceError(f"{what}: no evaluator came free in time (see evaluation.memory)") from error
        try:
            return await self._nix(argv, what, max(1.0, end - loop.time()))
        finally:
            self._alone.release()

    async def _run_jobs(self, argv: list[str], timeout_s: float, seen: Seen) -> str:
        return await self._nix(argv, PROGRAM, timeout_s, seen)


def words_of(source: Evaluable) -> tuple[list[str], str]:
    """Return the command that evaluates a source alone, and how the source is shown."""
    match source:
        case Installable(text):
            return commands.evaluate_flake(text), text
        case FileAttribute(file, attribute):
            return commands.evaluate_file(file, attribute), f"{attribute} in {file}"
        case HiveNode(file, node):
            return commands.evaluate_hive(file, node), f"{node} in the hive {file}"
        case _:
            assert_never(source)


def _one_derivation(printed: str, shown: str) -> StorePath:
    # nix-instantiate names an output other than the first by "!NAME".
    derivation = printed.strip().split("!")[0]
    try:
        path = parse_store_path(derivation)
    except ToplevelError:
        path = None
    if path is None or not path.endswith(".drv"):
        raise SourceError(f"{shown} gave {derivation[:200]!r}, which is not one derivation")
    return path
