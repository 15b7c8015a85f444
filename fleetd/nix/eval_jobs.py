"""Many hosts of one locked flake in one run of ``nix-eval-jobs``, which shares what they have in common.

Requests that come close together become one run; each gets its own line of the answer, its own error among them.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from fleetd.errors import SourceError
from fleetd.nix import commands
from fleetd.nix.evaluation import EvalBudget
from fleetd.process import Seen, excerpt, plain

PROGRAM = "nix-eval-jobs"
GATHER_S = 0.2
"""How long a run waits for more hosts of its flake: the planner releases them together."""

BATCH = 128
"""Hosts in one run: its expression names each, and a run that is lost loses no more than these."""


class NotAnswered(Exception):
    """A run ended, or was not possible, without a word about this attribute."""


Run = Callable[[list[str], float, Seen], Awaitable[str]]
"""Runs the program within so many seconds and returns what it printed, which is also seen at once.

Raises SourceError when it fails as a whole.
"""


@dataclass(slots=True)
class _Batch:
    flake: str
    waiting: dict[str, list[asyncio.Future[str]]] = field(default_factory=dict)
    timeout_s: float = 0.0
    task: asyncio.Task[None] | None = None
    closed: bool = False


class EvalJobs:
    """Gathers requests into runs, at most one at a time: its workers share the whole memory budget."""

    def __init__(self, run: Run, budget: EvalBudget, gather_s: float = GATHER_S) -> None:
        self._run = run
        self._budget = budget
        self._gather_s = gather_s
        self._open: dict[str, _Batch] = {}
        self._turn = asyncio.Lock()

    async def derivation(self, flake: str, attribute: str, *, timeout_s: float) -> str:
        """Return the derivation of an attribute of a locked flake, as printed.

        Raises SourceError with this attribute's own error in Nix's words, NotAnswered when the run has none.
        """
        batch = self._open.get(flake)
        if batch is None or batch.closed or len(batch.waiting) >= BATCH:
            batch = self._open[flake] = _Batch(flake)
            batch.task = asyncio.create_task(self._serve(batch), name=f"{PROGRAM} {flake}")
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        batch.waiting.setdefault(attribute, []).append(answer)
        batch.timeout_s = max(batch.timeout_s, timeout_s)
        try:
            async with asyncio.timeout(timeout_s):
                return await answer
        except TimeoutError as error:
            raise SourceError(f"it was not evaluated within {timeout_s:g} s") from error
        finally:
            self._leave(batch, attribute, answer)

    def _leave(self, batch: _Batch, attribute: str, answer: asyncio.Future[str]) -> None:
        """Nobody waits for this answer any longer; a run that nobody waits for is ended."""
        answers = batch.waiting.get(attribute, [])
        if answer in answers:
            answers.remove(answer)
        if not any(batch.waiting.values()) and batch.task is not None:
            batch.closed = True
            batch.task.cancel()

    async def _serve(self, batch: _Batch) -> None:
        """Wait for more, run, and answer everybody who still waits, whatever happens."""
        try:
            await asyncio.sleep(self._gather_s)
            async with self._turn:
                batch.closed = True
                names = list(batch.waiting)
                argv = commands.eval_jobs(batch.flake, names, self._budget.evaluators, self._budget.evaluator_mib)
                # Each is answered at once: a host whose evaluation does not end takes nobody else's answer with it.
                printed = await self._run(argv, batch.timeout_s, _Lines(batch))
            _answer(batch, printed)
        except SourceError:
            # The run as a whole: what it said is of no host, and each is asked for alone now.
            pass
        finally:
            batch.closed = True
            if self._open.get(batch.flake) is batch:
                del self._open[batch.flake]
            for answers in batch.waiting.values():
                for answer in answers:
                    if not answer.done():
                        answer.set_exception(NotAnswered())


class _Lines:
    """Answers with each line as soon as all of it is there."""

    def __init__(self, batch: _Batch) -> None:
        self._batch = batch
        self._rest = b""

    def __call__(self, piece: bytes) -> None:
        lines, _end, self._rest = (self._rest + piece).rpartition(b"\n")
        _answer(self._batch, lines.decode("utf-8", errors="replace"))


def _answer(batch: _Batch, printed: str) -> None:
    for name, (path, error) in read_jobs(printed).items():
        for answer in batch.waiting.get(name, []):
            _settle(answer, path, error)


def _settle(answer: asyncio.Future[str], path: str, error: str) -> None:
    if answer.done():
        return
    if error:
        answer.set_exception(SourceError(error))
        return
    answer.set_result(path)


def read_jobs(printed: str) -> Mapping[str, tuple[str, str]]:
    """Return derivation and error (one of them empty) by attribute; a line that cannot be read is nobody's."""
    found: dict[str, tuple[str, str]] = {}
    for line in printed.splitlines():
        try:
            job = json.loads(line)
        except ValueError:
            continue
        if not isinstance(job, dict) or not isinstance(job.get("attrPath"), list) or len(job["attrPath"]) != 1:
            continue
        name, path, error = str(job["attrPath"][0]), job.get("drvPath"), job.get("error")
        if isinstance(error, str) and error:
            found[name] = ("", excerpt(plain(error)))
        elif isinstance(path, str):
            found[name] = (path, "")
    return found
