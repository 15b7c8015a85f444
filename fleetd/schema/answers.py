"""What the API answers, as its OpenAPI document says. Documents are made by the core; here is their shape alone.

A release may add fields, so clients ignore what they do not know; what is named here is always there.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Answer(BaseModel):
    """A JSON object; further fields may be added."""

    model_config = ConfigDict(extra="allow")


class Problem(Answer):
    """What went wrong (RFC 9457). ``kind`` is for programs, ``detail`` for people."""

    type: str
    title: str
    status: int
    detail: str
    kind: str
    exit_code: int


class Health(Answer):
    """The process answers."""

    status: Literal["ok"]


class Ready(Answer):
    """Whether requests are taken, and if not, why."""

    ready: bool
    problems: list[str]


class BlockedBy(Answer):
    """What is waited for: until when, and what to type."""

    reason: str
    text: str
    until: str | None
    type: str
    hosts: list[str]
    count: int


class FleetHost(Answer):
    """A host as the fleet describes it."""

    name: str
    addresses: list[str]
    port: int
    user: str
    jump: str | None
    tags: list[str]
    domain: str


class FleetCheck(Answer):
    """A check and whom it is for."""

    name: str
    on: str


class Fleet(Answer):
    """The fleet as read last; ``problem`` says what is wrong with it now, and is empty when nothing is."""

    hosts: list[FleetHost]
    policies: list[str]
    checks: list[FleetCheck]
    problem: str


class Hold(Answer):
    """A lock or a freeze: for whom, why, since when, and until when; null: until somebody ends it."""

    owner: str
    reason: str
    since: str
    until: str | None


class Freeze(Answer):
    """Whether the fleet is frozen; null: it is not."""

    freeze: Hold | None


class Seen(Answer):
    """How a host was that is in no rollout when it was looked at (``at``): what is wrong with it, and since when.

    ``state`` is ``well``, ``unreachable``, ``unhealthy``, ``drifted``, or ``unknown`` before the first look. What
    ``counts`` is of those that the brake counts.
    """

    state: Literal["well", "unknown", "unreachable", "unhealthy", "drifted"]
    reason: str
    since: str | None
    counts: bool
    at: str | None


class Owed(Answer):
    """A system that a host is to have when it can: which rollout passed it over, and how often it was tried since.

    ``given_up``: it is tried no more, and ``reason`` says why.
    """

    to: str
    rollout: str
    policy: str
    since: str
    tries: int
    retry_at: str | None
    reason: str
    given_up: bool


class Finding(Answer):
    """Something about a host that its people should know, and that forbids nothing."""

    kind: str
    text: str


class HostFinding(Finding):
    """The same, in a plan."""

    host: str


class Drained(Answer):
    """By which rollout's hooks a host is drained, and since when. ``stuck``: why it may not come back by itself."""

    rollout: str
    since: str
    stuck: str


class Host(Answer):
    """What is known of a host: what was observed and when, and what is owed.

    ``boot_proven``: it has booted the kernel, initrd, modules, parameters and init interface of what it runs.
    ``oneshot``: ``yes`` where a trial can be a reboot, else why it cannot.
    ``kept`` is what a test left running, ``staged`` what was made to boot next.
    """

    name: str
    domain: str
    tags: list[str]
    current: str | None
    specialisation: str | None
    booted: str | None
    profile: str | None
    boot_default: str | None
    wanted: str | None
    last_good: str | None
    kept: str | None
    staged: str | None
    owed: Owed | None
    state: str
    contact: str
    drifted: bool
    needs_reboot: bool | None
    boot_proven: bool | None
    oneshot: str | None
    observed_at: str | None
    seen: Seen
    lock: Hold | None
    drained: Drained | None
    findings: list[Finding]
    blocked_by: list[BlockedBy]


class Hosts(Answer):
    """A page of hosts, by name."""

    hosts: list[Host]
    next: str | None


class Wave(Answer):
    """A wave, and how many of its hosts are in which state."""

    name: str
    state: str
    counts: dict[str, int]
    soak_s: float


class RolloutError(Answer):
    """What went wrong with a rollout."""

    kind: str
    detail: str


class Rollout(Answer):
    """A rollout without its hosts. ``seq`` is the number in the journal at which it stands so."""

    id: str
    kind: str
    phase: str
    paused: bool
    revision: str
    goal: str
    policy: str
    on: str
    reason: str
    requested_by: str
    created_at: str
    finished_at: str | None
    finish_reason: str
    waves: list[Wave]
    counts: dict[str, int]
    blocked_by: list[BlockedBy]
    error: RolloutError | None
    seq: int


class Rollouts(Answer):
    """A page of rollouts, newest first."""

    rollouts: list[Rollout]
    next: str | None


class RolloutHost(Answer):
    """A host in a rollout. ``changed``: where it failed, what differs from the system before."""

    name: str
    wave: str
    state: str
    contact: str
    from_: str | None = Field(alias="from")
    to: str | None
    kind: str
    reason: str
    changed: str
    attempts: int


class RolloutHosts(Answer):
    """A page of a rollout's hosts, by name."""

    hosts: list[RolloutHost]
    next: str | None


class BuildProgress(Answer):
    """How far a build is; what is to be done grows while Nix finds out what is needed."""

    built: int
    to_build: int
    failed: int
    copied: int
    to_copy: int
    downloaded_bytes: int
    download_bytes: int
    running_count: int
    running: list[str]


class CopyProgress(Answer):
    """How far a copy to a host is."""

    sent_bytes: int
    total_bytes: int


class ProgressHost(Answer):
    """A host on which something is under way. ``line`` is what its build said last."""

    name: str
    step: Literal["building", "copying"]
    build: BuildProgress | None
    copy_: CopyProgress | None = Field(alias="copy")
    line: str


class Progress(Answer):
    """What is under way in a rollout just now, by host."""

    hosts: list[ProgressHost]


class PackageDifference(Answer):
    """A package that is added, removed or changed: versions before and after, and how much larger it became."""

    name: str
    before: list[str]
    after: list[str]
    growth_bytes: int


class Difference(Answer):
    """What is different between two systems. ``rebuilt``: the same version, with other contents or references.

    ``kernel`` are its versions before and after, where they differ; ``download_bytes`` is what a host that has just
    the old system would be sent.
    """

    added: list[PackageDifference]
    removed: list[PackageDifference]
    changed: list[PackageDifference]
    rebuilt: list[str]
    units_added: list[str]
    units_removed: list[str]
    units_changed: list[str]
    kernel: list[str] | None
    needs_reboot: bool
    bytes_before: int
    bytes_after: int
    download_paths: int
    download_bytes: int


class HostDifference(Answer):
    """What a deploy would change on a host."""

    host: str
    from_: str = Field(alias="from")
    to: str
    difference: Difference


class Event(Answer):
    """A record of the journal."""

    seq: int
    at: str
    rollout: str
    host: str
    kind: str
    data: dict[str, object]


class Events(Answer):
    """Records, oldest first; ``next`` is the number to ask on after."""

    events: list[Event]
    next: int


class Ignored(Answer):
    """A genuine delivery that asks for nothing."""

    result: Literal["ignored"]
    reason: str


class OpenApi(Answer):
    """This document."""

    openapi: str
