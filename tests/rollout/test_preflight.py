"""What facts forbid before anything is copied, and what of them is only told."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fleetd.model.facts import UNREADABLE
from fleetd.model.goal import Goal
from fleetd.rollout.preflight import CLOCK_OFF_S, blocks, findings, nix_version
from fleetd.rollout.task import Direction, Task
from fleetd.rollout.world import HostRecord
from tests.rollout.worlds import facts_of, spec_of, system

OLD, NEW, OTHER = system("web1", 1), system("web1", 2), system("web1", 3)
SPEC = spec_of(("web1",))


def blocked(goal: Goal = Goal.SWITCH, task: Task | None = None, record: HostRecord | None = None, **facts: Any) -> str:
    found = blocks(
        replace(SPEC, goal=goal),
        "web1",
        record or HostRecord(),
        replace(facts_of("web1", OLD), **facts),
        task or Task(NEW),
    )
    return "" if found is None else ": ".join(found)


def test_a_settled_host_may_be_touched() -> None:
    for goal in Goal:
        assert blocked(goal) == ""
    assert blocked(boot_default=UNREADABLE) == ""


@pytest.mark.parametrize("version", ["2.3.16", "2.17.1"])
def test_a_nix_that_is_too_old_is_refused_with_both_numbers(version: str) -> None:
    assert blocked(nix_version=version) == f"nix-too-old: its Nix is {version}, and 2.18.0 is the oldest that will do"
    back = Task(NEW, Direction.ROLLBACK)
    assert blocked(nix_version=version, task=back) == "", "what is there already can be gone back to"


@pytest.mark.parametrize("version", ["2.18", "2.34.7", "2.93.3", "", "pre-release"])
def test_a_nix_that_is_new_enough_or_tells_nothing_is_no_reason(version: str) -> None:
    assert blocked(nix_version=version) == ""


def test_the_system_of_another_host_is_refused() -> None:
    assert blocked(current=system("web2", 1), profile=system("web2", 1), boot_default=system("web2", 1)).startswith(
        "wrong-host: it runs /nix/store/"
    )


def test_a_host_that_would_boot_something_else_is_unsettled() -> None:
    assert blocked(boot_default=OTHER).startswith("unsettled: it runs")
    assert blocked(profile=OTHER, boot_default=OTHER).endswith("nixos-rebuild boot")
    staged = blocked(profile=OTHER, boot_default=OTHER, record=HostRecord(staged=OTHER))
    assert staged.startswith(f"unsettled: it will boot {OTHER}, which was staged: reboot it first")
    runs = Task(OLD)
    assert blocked(task=runs, boot_default=OTHER) == "", "only its boot default is missing"
    assert blocked(task=runs, profile=OTHER, boot_default=OTHER, record=HostRecord(staged=OTHER)) == staged
    assert blocked(Goal.BOOT, profile=OTHER, boot_default=OTHER) == ""
    assert blocked(Goal.BOOT, boot_default=OTHER).startswith("unsettled: its profile is")
    assert blocked(Goal.DRY_ACTIVATE, boot_default=OTHER) == ""


def test_what_a_test_or_a_boot_left_is_no_drift() -> None:
    record = HostRecord(left=OLD, kept=OTHER, staged=NEW)
    kept: dict[str, Any] = {"current": OTHER, "kept": OTHER, "record": record}
    assert blocked(**kept, task=Task(system("web1", 4))) == ""
    booted: dict[str, Any] = {"current": NEW, "profile": NEW, "boot_default": NEW, "record": record}
    assert blocked(**booted, task=Task(system("web1", 4))) == ""
    assert blocked(current=OTHER, record=HostRecord(left=OLD), profile=OTHER, boot_default=OTHER).startswith("drifted")


@pytest.mark.parametrize(
    ("version", "told"),
    [
        ("2.34.7", []),
        ("2.35.0", []),
        ("2.34.6", ["CVE-2026-44028"]),
        ("2.31.4", ["CVE-2026-44028"]),
        ("2.26.3", ["CVE-2026-44028", "CVE-2026-39860"]),
        ("2.24.3", ["CVE-2026-39860"]),
        ("2.18.9", []),
        ("2.95.2", []),
        ("2.93.3", ["CVE-2026-44028"]),
        ("2.91.0", []),
        ("unknown", []),
    ],
)
def test_known_holes_of_nix_and_lix_are_told_by_version(version: str, told: list[str]) -> None:
    found = findings(replace(facts_of("web1", OLD), nix_version=version, clock=5.0), 5.0)
    assert [next(word for word in text.text.split() if word.startswith("CVE")).rstrip(",") for text in found] == told
    assert all(finding.kind == "nix" for finding in found)


def test_a_clock_and_other_actors_are_told() -> None:
    facts = replace(facts_of("web1", OLD), nix_version="2.34.7", clock=1000.0)
    assert findings(facts, 1000.0 + CLOCK_OFF_S) == ()
    (late,) = findings(facts, 1000.0 + 7200.0)
    assert (late.kind, late.text) == ("clock", "its clock is 2h behind the control node's; up to 1m is not told")
    (other,) = findings(replace(facts, other_actors=("comin.service", "nixos-upgrade.timer")), 1000.0)
    assert other.kind == "other-actor"
    assert other.text.startswith("comin.service, nixos-upgrade.timer switches this host as well")


def test_a_version_is_read_as_numbers() -> None:
    assert nix_version("2.18") == (2, 18, 0)
    assert nix_version("2.31.2pre20250101") == (2, 31, 2)
    assert nix_version("Lix") is None
