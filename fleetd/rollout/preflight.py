"""What a host's facts say before anything is done to it: what forbids it, and what its people should know. Pure.

Everything here is looked at again by the host itself before it does anything; said here, it costs no copy.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from fleetd.model.duration import format_duration
from fleetd.model.facts import HelperState, HostFacts
from fleetd.model.goal import Goal
from fleetd.model.policy import OnDrift
from fleetd.model.store_path import is_store_path
from fleetd.rollout.record import HostRecord
from fleetd.rollout.spec import Kind, RolloutSpec
from fleetd.rollout.task import Direction, Task
from fleetd.rollout.world import World

OLDEST_NIX = (2, 18, 0)
"""What the push, the helper and the lab are made and tried for; older ones are without maintainers."""

FIRST_LIX = (2, 90, 0)
"""Lix began here, and Nix is far from it: the number alone tells them apart."""

CLOCK_OFF_S = 60.0
"""A clock that is further off is told. Facts are as old as the slowest login, 25 s after a restart of dbus.

Nothing of fleetd reads a host's wall clock (orders and guards are on its boot clock), so nothing is refused for it;
what it breaks are certificates, timers and logs.
"""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something about a host that its people should know, and that forbids nothing."""

    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Advisory:
    """A published hole in Nix: since when, and the first good release of each branch that got one."""

    name: str
    since: tuple[int, int, int]
    fixed: tuple[tuple[int, int, int], ...]

    def holds_for(self, version: tuple[int, int, int]) -> bool:
        """Whether a release has it: one of a branch that never got a fix has it as well."""
        if version < self.since or version[:2] > self.fixed[0][:2]:
            return False
        good = next((fix for fix in self.fixed if fix[:2] == version[:2]), None)
        return good is None or version < good


NIX_ADVISORIES = (
    # Both: whoever may talk to the daemon may become root. Numbers as published with each (NVD, GHSA of NixOS/nix).
    Advisory(
        "CVE-2026-44028",
        (2, 24, 4),
        ((2, 34, 7), (2, 33, 6), (2, 32, 8), (2, 31, 5), (2, 30, 5), (2, 29, 4), (2, 28, 7)),
    ),
    Advisory(
        "CVE-2026-39860",
        (2, 21, 0),
        ((2, 34, 5), (2, 33, 4), (2, 32, 7), (2, 31, 4), (2, 30, 4), (2, 29, 3), (2, 28, 6)),
    ),
)
LIX_ADVISORIES = (Advisory("CVE-2026-44028", (2, 93, 0), ((2, 95, 2), (2, 94, 2), (2, 93, 4))),)

_NUMBERS = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?")


def nix_version(text: str) -> tuple[int, int, int] | None:
    """Return a version as numbers; None where it has none, or is of a kind that nobody here knows."""
    found = _NUMBERS.match(text)
    return None if found is None else (int(found[1]), int(found[2]), int(found[3] or 0))


def findings(facts: HostFacts, read_at: float) -> tuple[Finding, ...]:
    """Return what people should know of a host whose facts arrived at ``read_at``."""
    found = []
    off_s = facts.clock - read_at
    if abs(off_s) > CLOCK_OFF_S:
        side = "ahead of" if off_s > 0 else "behind"
        far, bound = format_duration(round(abs(off_s))), format_duration(CLOCK_OFF_S)
        text = f"its clock is {far} {side} the control node's; up to {bound} is not told"
        found.append(Finding("clock", text))
    version = nix_version(facts.nix_version)
    if version is not None:
        for advisory in LIX_ADVISORIES if version >= FIRST_LIX else NIX_ADVISORIES:
            if advisory.holds_for(version):
                fixed = ", ".join(_dotted(fix) for fix in advisory.fixed)
                text = f"its Nix {facts.nix_version} has {advisory.name}, unless it was patched; fixed in {fixed}"
                found.append(Finding("nix", text))
    if facts.other_actors:
        others = ", ".join(facts.other_actors)
        found.append(Finding("other-actor", f"{others} switches this host as well, and fleetd cannot hold it back"))
    return tuple(found)


def finding_documents(facts: HostFacts, read_at: float) -> list[Mapping[str, str]]:
    """Return the findings as the API shows them."""
    return [{"kind": finding.kind, "text": finding.text} for finding in findings(facts, read_at)]


def stages(goal: Goal, task: Task, facts: HostFacts) -> bool:
    """Whether only the next boot is moved: by goal, and on the way back while nothing else runs than what is wanted."""
    if task.direction is Direction.ROLLBACK and goal is Goal.BOOT:
        return facts.current == task.to
    return goal is Goal.BOOT


def newer_controller(facts: HostFacts, world: World) -> tuple[str, str] | None:
    """Return that a host obeys another controller, or a part of the journal that is lost; None where it does not."""
    if world.gave(facts.fence):
        return None
    return (
        "newer-controller",
        f"it holds fence {facts.fence}, which this journal never gave: another controller gives it orders, or this"
        " journal was restored from a backup (then stop fleetd, and run `fleetd recover`)",
    )


def blocks(spec: RolloutSpec, host: str, record: HostRecord, facts: HostFacts, task: Task) -> tuple[str, str] | None:
    """Return why a host must not be touched, as (word for machines, sentence for people)."""
    to = task.to
    stranger = stranger_of(record, host, facts)
    if stranger is not None:
        return stranger
    if facts.state.is_moving or facts.state is HelperState.TRIAL:
        return "unsettled", f"activation {facts.id} of an earlier controller is still in state {facts.state}"
    old = facts.boots if stages(spec.goal, task, facts) else facts.goes_back_to(to)
    if not is_store_path(old):
        return "no-system", f"there is nothing to go back to: what it says it runs, {old!r}, is no store path"
    if f"-nixos-system-{host}-" not in old:
        return "wrong-host", f"it runs {old}, which is no system of {host}"
    too_old = task.direction is Direction.DEPLOY and (nix_version(facts.nix_version) or OLDEST_NIX) < OLDEST_NIX
    if too_old:
        return "nix-too-old", f"its Nix is {facts.nix_version}, and {_dotted(OLDEST_NIX)} is the oldest that will do"
    if spec.goal is Goal.DRY_ACTIVATE:
        return None
    drift = drift_of(record, facts) if facts.current != to else ""
    if drift and spec.policy.on_drift is OnDrift.BLOCK and spec.kind is not Kind.RESTORE:
        return "drifted", f"{drift}; fleetctl adopt {host} takes it as it is, fleetctl restore {host} brings that back"
    return _unsettled(record, facts, task, spec.goal)


def stranger_of(record: HostRecord, host: str, facts: HostFacts) -> tuple[str, str] | None:
    """Return why a host is not the one that fleetd knows, as (word, sentence); None where it is, or was never met."""
    if record.machine_id and facts.machine_id != record.machine_id:
        return (
            "wrong-host",
            f"its machine-id is {facts.machine_id}, and was {record.machine_id} when it was last deployed; "
            f"fleetctl adopt {host} accepts the machine that it is now",
        )
    if record.state_lost:
        return (
            "host-state-lost",
            "it knew nothing of an activation in the middle of it: it was installed anew, or its disk is an older "
            f"one; fleetctl adopt {host} accepts it",
        )
    if record.fence is not None and (facts.fence.term, facts.fence.seq) < (record.fence.term, record.fence.seq):
        return (
            "host-state-lost",
            f"it obeyed the order {record.fence}, and knows of none after {facts.fence}: it was installed anew, or its "
            f"disk is an older one; fleetctl adopt {host} accepts it",
        )
    return None


def drift_of(record: HostRecord, facts: HostFacts) -> str:
    """Return how a host is not as fleetd left it, for people; empty where it is, or nothing was ever left there."""
    if record.left is None or facts.current in (record.left, record.kept, record.staged):
        return ""
    return f"it runs {facts.current}, and fleetd last left {record.left} there"


def adoptable(record: HostRecord, host: str, facts: HostFacts) -> str:
    """Return why what a host runs cannot be taken for what fleetd left there, as it is; empty where it can."""
    if facts.state.is_moving or facts.state is HelperState.TRIAL:
        return f"activation {facts.id} is still in state {facts.state} there"
    if not is_store_path(facts.current) or f"-nixos-system-{host}-" not in facts.current:
        return f"it runs {facts.current}, which is no system of {host}"
    if record.stranded:
        return f"a person must look at it first: {record.stranded} (fleetctl clear {host})"
    if not facts.profile == facts.boots == facts.current:
        return (
            f"it runs {facts.current}, its profile is {facts.profile} and it would boot {facts.boots}: make it one of "
            "them first (nixos-rebuild boot, or a reboot)"
        )
    return ""


def _unsettled(record: HostRecord, facts: HostFacts, task: Task, goal: Goal) -> tuple[str, str] | None:
    """A reboot would not lead to what the way back leads to. The host looks again, before it does anything."""
    if stages(goal, task, facts):
        if facts.profile == facts.boots:
            return None
        return "unsettled", f"its profile is {facts.profile}, and it would boot {facts.boots}: nixos-rebuild boot"
    staged = record.staged == facts.boots == facts.profile
    if facts.is_settled or (facts.current == task.to and not staged):
        return None
    if staged:
        back = f"--goal boot --toplevel HOST={facts.current}"
        return "unsettled", f"it will boot {facts.boots}, which was staged: reboot it first, or take that back ({back})"
    return (
        "unsettled",
        f"it runs {facts.current}, its profile is {facts.profile} and it would boot {facts.boots}: nixos-rebuild boot",
    )


def _dotted(version: tuple[int, int, int]) -> str:
    return ".".join(str(number) for number in version)
