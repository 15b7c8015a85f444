"""What the API answers to the question what a rollout would do."""

from __future__ import annotations

from pydantic import Field

from fleetd.schema.answers import Answer, Difference, HostFinding


class PlannedHost(Answer):
    """What would become of a host. ``difference`` is null where one of the systems is not in the store here."""

    name: str
    from_: str | None = Field(alias="from")
    to: str | None
    difference: Difference | None


class PlannedWave(Answer):
    """A wave that would be."""

    name: str
    soak: str
    hosts: list[PlannedHost]


class PlanError(Answer):
    """A host that does not evaluate, in Nix's words."""

    host: str
    message: str


class PlannedHook(Answer):
    """A hook that would run on some hosts. Of its command only the program is shown: its words may be secret."""

    name: str
    when: str
    where: str
    program: str
    timeout: str
    on_failure: str
    hosts: list[str]


class Times(Answer):
    """How soon hosts are back when something goes wrong."""

    network_lost: str
    bad_health: str
    soak_rounds: str
    """How often each host is checked in a soak: more rarely than its checks say where the hosts are many."""


class Plan(Answer):
    """What a rollout would do; nothing was done."""

    waves: list[PlannedWave]
    policy: str
    goal: str
    max_parallel: int
    unchanged: list[str]
    findings: list[HostFinding]
    errors: list[PlanError]
    hooks: list[PlannedHook]
    times: Times
