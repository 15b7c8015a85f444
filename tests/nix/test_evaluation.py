"""Evaluation within its bounds: what is remembered, how many run at once, and many hosts in one run."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleetd.errors import SourceError
from fleetd.model.fleet import FileAttribute, Installable
from fleetd.model.store_path import StorePath
from fleetd.nix.builder import NixBuilder
from fleetd.nix.eval_jobs import read_jobs
from fleetd.nix.evaluation import EvalBudget, EvaluationCache, available_mib, eval_budget, is_locked
from fleetd.nix.evaluator import Evaluator
from fleetd.process import Seen
from tests.nix.private_store import PrivateStore, temporary_directory

STAND_IN = Path(__file__).parent / "eval_jobs_stand_in.py"
FLAKE = """
{
  outputs = _: rec {
    hosts = builtins.mapAttrs (name: _: derivation {
      name = "nixos-system-${name}-1"; system = "x86_64-linux"; builder = "/bin/sh"; args = [ "-c" "echo > $out" ];
    }) { web1 = 1; web2 = 2; web3 = 3; "10gw" = 4; "with" = 5; };
    packages.x86_64-linux.short = hosts.web1;
    bad.web4 = throw "web4 has no disk";
  };
}
"""
DERIVATION = StorePath("/nix/store/1b9p07z77phvv2hf6gm9f28syp39f1ag-nixos-system-web1-1.drv")
COMMIT = "8eeec934ae0dbeca3d7868c059568a65c08b2fc3"


class Rig:
    """A flake in a repository, and builders of it."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.nix = PrivateStore(place / "store")
        self.flake = place / "flake"
        self.flake.mkdir()
        (self.flake / "flake.nix").write_text(FLAKE)
        self.git("init", "-q")
        self.git("add", ".")
        self.git("commit", "-qm", "1")
        self.locked = f"git+file://{self.flake}?ref=main&rev={self.git('rev-parse', 'HEAD')}"
        self.log = place / "runs"

    def git(self, *words: str) -> str:
        config = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main")
        argv = ["git", *config, "-C", str(self.flake), *words]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()

    def builder(self, *, jobs: bool = False, fault: str = "", evaluators: int = 2) -> NixBuilder:
        env = {**self.nix.env, "STAND_IN_LOG": str(self.log), "STAND_IN_FAULT": fault}
        if jobs:
            programs = self.place / "bin"
            programs.mkdir(exist_ok=True)
            program = programs / "nix-eval-jobs"
            program.write_text(f'#!/bin/sh\nexec {sys.executable} {STAND_IN} "$@"\n')
            program.chmod(0o755)
            env["PATH"] = f"{programs}:{os.environ['PATH']}"
        budget = EvalBudget(evaluators, 1000)
        return NixBuilder(self.place / "roots", env, self.nix.root, budget=budget, cache=self.place / "evaluations")

    def runs(self) -> list[list[str]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()] if self.log.exists() else []

    async def evaluate(self, builder: NixBuilder, *names: str, timeout_s: float = 60) -> list[str | BaseException]:
        asked = (
            builder.evaluate(name, Installable(f"{self.locked}#{where}.{name}"), timeout_s=timeout_s)
            for name in names
            for where in ["bad" if name == "web4" else "hosts"]
        )
        return list(await asyncio.gather(*asked, return_exceptions=True))


@pytest.fixture
def rig() -> Iterator[Rig]:
    with temporary_directory() as place:
        yield Rig(place)


@pytest.mark.parametrize(
    ("flake", "expected"),
    [
        (f"git+file:///x?ref=main&rev={COMMIT}", True),
        (f"git+file:///x?rev={COMMIT}&ref=main", True),
        (f"github:NixOS/nixpkgs/{COMMIT}", True),
        (f"github:NixOS/nixpkgs/{COMMIT}?dir=x", True),
        ("path:/x?lastModified=1&narHash=sha256-lDebytrYdd47IBLwvNOD%2B6AGeoqZ78CIKlp70hzW280%3D", True),
        ("git+file:///x?ref=main", False),
        ("git+file:///x", False),
        ("git+file:///x?ref=main&rev=main", False),
        (f"git+file:///x?rev={COMMIT}x", False),
        (f"git+file:///rev={COMMIT}", False),
        ("github:NixOS/nixpkgs/nixos-26.05", False),
        (f"path:/x/{COMMIT}", False),
        ("path:/x", False),
    ],
)
def test_a_reference_is_locked_when_it_can_only_mean_one_thing(flake: str, expected: bool) -> None:
    assert is_locked(flake) is expected


@pytest.mark.parametrize(
    ("mib", "cpus", "expected"),
    [
        (16 * 1024, 4, EvalBudget(4, 4096)),
        (5000, 8, EvalBudget(2, 2500)),
        (100, 8, EvalBudget(1, 100)),
        (0, 1, EvalBudget(1, 1)),
    ],
)
def test_memory_is_divided_and_one_evaluator_there_always_is(mib: int, cpus: int, expected: EvalBudget) -> None:
    assert eval_budget(mib, cpus) == expected


def test_what_is_free_is_read_from_the_kernel() -> None:
    assert available_mib("MemTotal:       2048 kB\nMemAvailable:   1048576 kB\n") == 1024
    assert available_mib("MemTotal:       2048 kB\n") == 0


def test_the_cache_outlives_the_process_and_a_line_that_was_cut(tmp_path: Path) -> None:
    file = tmp_path / "evaluations"
    cache = EvaluationCache(file)
    cache.put("a?rev=1#web1", DERIVATION)
    file.write_text(file.read_text() + f"a?rev=1#web2\t{DERIVATION[:40]}")
    again = EvaluationCache(file)
    assert again.get("a?rev=1#web1") == DERIVATION
    assert again.get("a?rev=1#web2") is None
    again.put("a?rev=1#web3", DERIVATION)
    assert EvaluationCache(file).get("a?rev=1#web3") == DERIVATION
    file.write_bytes(b"\xff\x00 no line of ours\n\tx\n")
    assert EvaluationCache(file).get("") is None


def test_the_cache_is_bounded_in_memory_and_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EvaluationCache, "LIMIT", 3)
    cache = EvaluationCache(tmp_path / "evaluations")
    for number in range(20):
        cache.put(f"a#{number}", DERIVATION)
    assert cache.get("a#16") is None
    assert cache.get("a#17") == DERIVATION
    assert len((tmp_path / "evaluations").read_text().splitlines()) <= 6


def test_a_cache_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    cache = EvaluationCache(tmp_path / "nowhere" / "evaluations")
    cache.put("a#1", DERIVATION)
    assert cache.get("a#1") == DERIVATION


@pytest.mark.asyncio
async def test_a_locked_revision_is_evaluated_once(rig: Rig) -> None:
    (first,) = await rig.evaluate(rig.builder(), "web1")
    # Without the repository and Nix's own copies nothing can be evaluated any longer, also by another process.
    rig.flake.rename(rig.place / "elsewhere")
    shutil.rmtree(rig.nix.root / "cache")
    assert await rig.evaluate(rig.builder(), "web1") == [first]
    assert isinstance((await rig.evaluate(rig.builder(), "web2"))[0], SourceError)
    # What was collected is no result.
    rig.nix.run("nix-store", "--delete", str(first))
    assert isinstance((await rig.evaluate(rig.builder(), "web1"))[0], SourceError)


@pytest.mark.asyncio
async def test_what_is_not_locked_is_evaluated_each_time(rig: Rig) -> None:
    builder = rig.builder()
    for source in (Installable(f"git+file://{rig.flake}#hosts.web1"), Installable(f"path:{rig.flake}#hosts.web1")):
        (rig.flake / "flake.nix").write_text(FLAKE)
        first = await builder.evaluate("web1", source, timeout_s=60)
        # Not committed: a dirty tree.
        (rig.flake / "flake.nix").write_text(FLAKE.replace("-1", "-2"))
        assert await builder.evaluate("web1", source, timeout_s=60) != first
    file = rig.place / "hosts.nix"
    for label in "12":
        file.write_text(FLAKE.replace("-1", f"-{label}").replace("outputs = _:", "outputs ="))
        path = await builder.evaluate("web1", FileAttribute(str(file), "outputs.hosts.web1"), timeout_s=60)
        assert path.endswith(f"-{label}.drv")


@pytest.mark.asyncio
async def test_no_more_evaluators_run_than_the_budget_holds() -> None:
    running, most = 0, 0

    async def nix(_argv: list[str], _what: str, _timeout_s: float, _seen: object = None) -> str:
        nonlocal running, most
        running += 1
        most = max(most, running)
        for _turn in range(5):
            await asyncio.sleep(0)
        running -= 1
        return DERIVATION

    evaluator = Evaluator(nix, EvalBudget(3, 100), EvaluationCache(None), path="/nowhere")
    assert evaluator.at_once == 3
    sources = [FileAttribute("x.nix", str(number)) for number in range(20)]
    await asyncio.gather(*(evaluator.derivation("h", s, timeout_s=60, fresh=False) for s in sources))
    assert most == 3


@pytest.mark.asyncio
async def test_who_waits_too_long_for_an_evaluator_is_told() -> None:
    async def nix(_argv: list[str], _what: str, _timeout_s: float, _seen: object = None) -> str:
        await asyncio.sleep(600)
        return ""

    evaluator = Evaluator(nix, EvalBudget(1, 100), EvaluationCache(None), path="/nowhere")
    holder = asyncio.create_task(evaluator.derivation("a", FileAttribute("x", "a"), timeout_s=60, fresh=False))
    await asyncio.sleep(0)
    with pytest.raises(SourceError, match=r"no evaluator came free in time \(see evaluation.memory\)"):
        await evaluator.derivation("b", FileAttribute("x", "b"), timeout_s=0.01, fresh=False)
    holder.cancel()
    await asyncio.gather(holder, return_exceptions=True)


@pytest.mark.asyncio
async def test_many_hosts_of_a_flake_are_one_run_and_an_error_stays_with_its_host(rig: Rig) -> None:
    alone = await rig.evaluate(rig.builder(), "web1", "web2", "web3")
    (rig.place / "evaluations").unlink()
    *good, bad = await rig.evaluate(rig.builder(jobs=True), "web1", "web2", "web3", "web4")
    assert good == alone
    assert isinstance(bad, SourceError)
    assert "web4: " in str(bad)
    assert "web4 has no disk" in str(bad)
    (run,) = rig.runs()
    assert run[run.index("--workers") + 1] == "2"
    assert run[run.index("--max-memory-size") + 1] == "1000"
    assert "pure-eval" in run


@pytest.mark.asyncio
@pytest.mark.parametrize("fault", ["dies", "silent"])
async def test_who_gets_no_answer_from_a_run_is_evaluated_alone(rig: Rig, fault: str) -> None:
    found = await rig.evaluate(rig.builder(jobs=True, fault=fault), "web1", "web2", "web3")
    assert [str(path).partition("-")[2] for path in found] == [f"nixos-system-web{n}-1.drv" for n in (1, 2, 3)]
    assert len(rig.runs()) == 1


@pytest.mark.asyncio
async def test_a_host_whose_name_is_no_name_of_the_language_costs_nobody_the_run(rig: Rig) -> None:
    """As when it would be evaluated alone, with every host that shares the run."""
    asked: list[str] = []
    builder = rig.builder(jobs=True)
    alone = builder._nix

    async def counted(argv: list[str], what: str, timeout_s: float, seen: Seen | None = None) -> str:
        asked.append(argv[0])
        return await alone(argv, what, timeout_s, seen)

    builder._evaluator._nix = counted
    found = await rig.evaluate(builder, "web1", "10gw", "with")
    assert [str(path).partition("-")[2] for path in found] == [
        f"nixos-system-{n}-1.drv" for n in ("web1", "10gw", "with")
    ]
    assert asked == ["nix-eval-jobs"]


@pytest.mark.asyncio
async def test_a_host_whose_evaluation_never_ends_takes_nobody_with_it(rig: Rig) -> None:
    *good, stuck = await rig.evaluate(rig.builder(jobs=True, fault="stuck"), "web1", "web2", "web3", timeout_s=6)
    assert [str(path).partition("-")[2] for path in good] == [f"nixos-system-web{n}-1.drv" for n in (1, 2)]
    assert isinstance(stuck, SourceError)
    assert "within 6 s" in str(stuck)


@pytest.mark.asyncio
async def test_what_nix_finds_elsewhere_in_a_flake_is_found_with_a_shared_run_too(rig: Rig) -> None:
    """``nix eval FLAKE#short`` looks among the packages first; an expression has only what the flake has itself."""
    source = Installable(f"{rig.locked}#short")
    alone = await rig.builder().evaluate("web1", source, timeout_s=60)
    (rig.place / "evaluations").unlink()
    assert await rig.builder(jobs=True).evaluate("web1", source, timeout_s=60) == alone


@pytest.mark.asyncio
async def test_a_run_that_never_ends_is_ended(rig: Rig) -> None:
    builder = rig.builder(jobs=True, fault="hangs")
    (problem,) = await rig.evaluate(builder, "web1", timeout_s=2)
    assert isinstance(problem, SourceError)
    assert "within 2 s" in str(problem)
    for task in [task for task in asyncio.all_tasks() if task.get_name().startswith("nix-eval-jobs")]:
        await asyncio.gather(task, return_exceptions=True)
    # Its turn is free for the next.
    assert isinstance((await rig.evaluate(builder, "web2", timeout_s=2))[0], SourceError)
    assert len(rig.runs()) == 2


@pytest.mark.asyncio
async def test_a_name_that_is_more_than_a_name_never_comes_into_an_expression(rig: Rig) -> None:
    odd = f'{rig.locked}#hosts."web1"'
    path = await rig.builder(jobs=True).evaluate("web1", Installable(odd), timeout_s=60)
    assert path.endswith("-nixos-system-web1-1.drv")
    assert rig.runs() == []


def test_lines_as_they_were_recorded() -> None:
    lines = [
        '{"attr":"a","attrPath":["a"],"drvPath":"/nix/store/x.drv","name":"x","outputs":{"out":"/nix/store/x"},"system":"x"}',
        '{"attr":"b","attrPath":["b"],"error":"error: \\u001b[31mno disk\\u001b[0m\\n at /x.nix:3:7"}',
        '{"attr":"c.d","attrPath":["c","d"],"drvPath":"/nix/store/y.drv"}',
        '{"attr":"","attrPath":[],"error":"of the whole"}',
        "evaluating…",
        "[]",
        '{"attr":"e","attrPath":["e"]}',
    ]
    assert read_jobs("\n".join(lines)) == {
        "a": ("/nix/store/x.drv", ""),
        "b": ("", "error: no disk\n at /x.nix:3:7"),
    }
