"""What bounds evaluation: how many at once by a memory budget, and what is never evaluated twice.

A NixOS system takes about 2 GiB to evaluate alone, and 0.15 to 0.5 GiB more for each that shares an evaluator. So the
budget is divided among evaluators, and more of them than it holds are never begun.
"""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from fleetd.errors import ToplevelError
from fleetd.model.store_path import StorePath, parse_store_path

EVALUATOR_MIB = 2048
"""Measured by others for one configuration: 1.7 to 4.5 GB with everything turned on."""

_MIB = 1024 * 1024
_LOCKED = re.compile(r"[?&](rev=([0-9a-f]{64}|[0-9a-f]{40})|narHash=[^&]+)(&|$)")
_FORGE = re.compile(r"(github|gitlab|sourcehut):[^/?]+/[^/?]+/([0-9a-f]{64}|[0-9a-f]{40})(\?|$)")


@dataclass(frozen=True, slots=True)
class EvalBudget:
    """How many evaluators may run at once, and how much memory each may take."""

    evaluators: int
    evaluator_mib: int


def eval_budget(memory_mib: int, cpus: int) -> EvalBudget:
    """Divide memory among evaluators; at least one, since a fleet that is never evaluated is no use."""
    evaluators = max(1, min(memory_mib // EVALUATOR_MIB, cpus))
    return EvalBudget(evaluators, max(memory_mib // evaluators, 1))


def available_mib(meminfo: str) -> int:
    """Return what a machine has free, from the text of /proc/meminfo; 0 when it does not say."""
    found = re.search(r"^MemAvailable:\s+(\d+) kB$", meminfo, re.MULTILINE)
    return int(found[1]) // 1024 if found else 0


def machine_budget(memory_mib: int | None) -> EvalBudget:
    """Return the budget of this machine: what is configured, else half of what is free now."""
    if memory_mib is None:
        try:
            memory_mib = available_mib(Path("/proc/meminfo").read_text()) // 2
        except OSError:
            memory_mib = 0
    return eval_budget(memory_mib, os.cpu_count() or 1)


def is_locked(flake: str) -> bool:
    """Say whether a reference can only ever mean one content: it names a commit or a hash."""
    return _LOCKED.search(flake) is not None or _FORGE.match(flake) is not None


class EvaluationCache:
    """Derivations by locked installable, in one file that may be deleted at any time.

    A line is ``installable TAB derivation``, the last of an installable counts, and a line that a crash cut short is
    passed over. Whether a derivation is still in the store is the caller's to see.
    """

    LIMIT = 20_000
    """Two revisions of 10,000 hosts; about 5 MB."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._known: dict[str, StorePath] | None = None
        self._lines = 0

    def get(self, installable: str) -> StorePath | None:
        """Return what this evaluated to before."""
        return self._entries().get(installable)

    def put(self, installable: str, derivation: StorePath) -> None:
        """Remember a result. One that cannot be written is only remembered here: a cache stops nothing."""
        known = self._entries()
        known.pop(installable, None)
        known[installable] = derivation
        while len(known) > self.LIMIT:
            del known[next(iter(known))]
        if self._file is None:
            return
        with contextlib.suppress(OSError):
            if self._lines >= 2 * self.LIMIT:
                self._rewrite(self._file, known)
                return
            with self._file.open("a") as file:
                file.write(f"{installable}\t{derivation}\n")
            self._lines += 1

    def forget(self, installable: str) -> None:
        """Let go of a result that is in no store any longer."""
        self._entries().pop(installable, None)

    def _rewrite(self, place: Path, known: dict[str, StorePath]) -> None:
        scratch = place.with_suffix(".tmp")
        scratch.write_text("".join(f"{name}\t{path}\n" for name, path in known.items()))
        scratch.replace(place)
        self._lines = len(known)

    def _entries(self) -> dict[str, StorePath]:
        if self._known is None:
            self._known = {}
            text = ""
            if self._file is not None:
                with contextlib.suppress(OSError):
                    text = self._file.read_text(errors="replace")
            for line in text.splitlines(keepends=True):
                self._lines += 1
                installable, tab, path = line.partition("\t")
                with contextlib.suppress(ToplevelError):
                    if tab and path.endswith(".drv\n"):
                        self._known.pop(installable, None)
                        self._known[installable] = parse_store_path(path.rstrip("\n"))
            if text and not text.endswith("\n") and self._file is not None:
                # The next line must not be glued to one that was cut.
                self._rewrite_quietly(self._file, self._known)
        return self._known

    def _rewrite_quietly(self, place: Path, known: dict[str, StorePath]) -> None:
        with contextlib.suppress(OSError):
            self._rewrite(place, known)
