"""A controller and its history in memory: what the API and the command line are tested against."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fleetd.controller.commands import (
    Accepted,
    Command,
    Document,
    Figures,
    FreezeFleet,
    LockHost,
    RebootHosts,
    RequestKey,
    RestoreHost,
    RollBackHosts,
    SubmitRollout,
    UnfreezeFleet,
    UnlockHost,
)
from fleetd.errors import FleetdError, GoneError, NotFoundError, SelectorError, UsageError
from fleetd.ports import Record


def rollout_document(name: str, phase: str = "rolling", **changes: object) -> dict[str, object]:
    """Return a rollout as the engine shows it."""
    return {
        "id": name,
        "kind": "deploy",
        "phase": phase,
        "paused": False,
        "revision": "prebuilt toplevels",
        "goal": "switch",
        "policy": "default",
        "on": "*",
        "reason": "",
        "requested_by": "test",
        "created_at": "2026-01-01T00:00:00.000Z",
        "finished_at": None,
        "finish_reason": "",
        "waves": [{"name": "canary", "state": "rolling", "counts": {"trial": 1}, "soak_s": 60.0}],
        "counts": {"trial": 1},
        "blocked_by": [],
        "error": None,
        "seq": 7,
        **changes,
    }


def host_document(name: str, state: str = "trial", **changes: object) -> dict[str, object]:
    """Return a host of a rollout as the engine shows it."""
    return {
        "name": name,
        "wave": "canary",
        "state": state,
        "contact": "ok",
        "from": f"/nix/store/{'0' * 32}-nixos-system-{name}-1",
        "to": f"/nix/store/{'1' * 32}-nixos-system-{name}-2",
        "kind": "",
        "reason": "",
        "changed": "",
        "attempts": 1,
        **changes,
    }


def observed_document(name: str, **changes: object) -> dict[str, object]:
    """Return a host as the engine observed it."""
    ours = ("wanted", "last_good", "good_before", "left", "kept", "staged")
    paths = ("current", "specialisation", "booted", "profile", "boot_default", *ours)
    return {
        "name": name,
        "domain": "default",
        "tags": [],
        "state": "idle",
        "contact": "ok",
        "drifted": False,
        "needs_reboot": False,
        "boot_proven": True,
        "oneshot": "yes",
        "observed_at": None,
        "seen": {"state": "unknown", "reason": "", "since": None, "counts": False, "at": None},
        "lock": None,
        "drained": None,
        "findings": [],
        "blocked_by": [],
        "machine_id": "",
        "owed": None,
        **dict.fromkeys(paths),
        **changes,
    }


def doing_document(name: str, *, step: str = "building", **changes: object) -> dict[str, object]:
    """Return how far a build or copy is, as the engine shows it."""
    counts = {"built": 3, "to_build": 12, "failed": 0, "copied": 5, "to_copy": 20}
    sizes = {"downloaded_bytes": 1024, "download_bytes": 4096}
    build = {**counts, **sizes, "running_count": 2, "running": ["linux-6.6"], **changes}
    if step == "copying":
        return {"name": name, "step": step, "build": None, "copy": {"sent_bytes": 5, "total_bytes": 9}, "line": ""}
    return {"name": name, "step": step, "build": build, "copy": None, "line": "linux> CC main.o"}


def held(command: LockHost | FreezeFleet) -> Document:
    """Return a lock or a freeze as the engine shows it."""
    until = None if command.for_s is None else "2026-01-01T04:00:00.000Z"
    owner = command.owner or command.requested_by
    return {"owner": owner, "reason": command.reason, "since": "2026-01-01T00:00:00.000Z", "until": until}


@dataclass(slots=True)
class FakeControl:
    """Accepts everything, or raises ``error``; keeps what it was asked."""

    error: BaseException | None = None
    not_ready: tuple[str, ...] = ()
    commands: list[Command] = field(default_factory=list)
    plans: list[SubmitRollout] = field(default_factory=list)
    keys: dict[str, tuple[str, str]] = field(default_factory=dict)
    seq: int = 0
    problem: str = ""
    known: tuple[str, ...] = ("web1", "web2", "db1")
    doing: list[dict[str, object]] = field(default_factory=list)
    """What is under way in every rollout."""
    locks: dict[str, Document] = field(default_factory=dict)
    frozen: Document | None = None

    async def submit(self, command: Command) -> Accepted:
        """Keep the command; the same key is the same rollout."""
        if self.error is not None:
            raise self.error
        key = command.key if isinstance(command, SubmitRollout | RollBackHosts | RebootHosts | RestoreHost) else None
        if key is not None and (repeated := await self.repeat(key)) is not None:
            return repeated
        self.commands.append(command)
        match command:
            case LockHost():
                self.locks[command.host] = held(command)
            case UnlockHost():
                self.locks.pop(command.host, None)
            case FreezeFleet():
                self.frozen = held(command)
            case UnfreezeFleet():
                self.frozen = None
            case _:
                pass
        name = f"r-{len(self.commands)}"
        if key is not None:
            self.keys[key.name] = (key.digest, name)
        goal = command.goal if isinstance(command, SubmitRollout) else None
        return Accepted(name, rollout_document(name, goal="switch" if goal is None else goal.value))

    async def repeat(self, key: RequestKey) -> Accepted | None:
        """Return the rollout of a key that was seen before."""
        if key.name not in self.keys:
            return None
        digest, name = self.keys[key.name]
        if digest != key.digest:
            raise UsageError(f"the key {key.name!r} belongs to {name}, which asked for something else")
        return Accepted(name, rollout_document(name), repeated=True)

    async def difference(self, request: SubmitRollout) -> Document:
        """Return a difference."""
        if self.error is not None:
            raise self.error
        self.plans.append(request)
        was, to = (f"/nix/store/{'1' * 32}-nixos-system-web1-{n}" for n in (1, 2))
        change = {"name": "openssl", "before": ["3.0.1"], "after": ["3.0.2"], "growth_bytes": -1024}
        units = {"units_added": ["a.service"], "units_removed": [], "units_changed": ["web.service"]}
        sizes = {"bytes_before": 5000, "bytes_after": 4000, "download_paths": 2, "download_bytes": 3_000_000}
        packages = {"added": [], "removed": [], "changed": [change], "rebuilt": ["bash-5.2"]}
        found = {**packages, **units, **sizes, "kernel": ["6.12.1", "6.12.2"], "needs_reboot": True}
        return {"host": request.on, "from": was, "to": to, "difference": found}

    async def plan(self, request: SubmitRollout) -> Document:
        """Return a plan."""
        if self.error is not None:
            raise self.error
        self.plans.append(request)
        to = f"/nix/store/{'1' * 32}-nixos-system-web1-2"
        host = {"name": "web1", "from": None, "to": to, "difference": None}
        return {
            "waves": [{"name": "canary", "soak": "1m", "hosts": [host]}],
            "policy": request.policy,
            "goal": "switch" if request.goal is None else request.goal.value,
            "max_parallel": 1,
            "unchanged": [],
            "findings": [],
            "errors": [],
            "hooks": [],
            "times": {"network_lost": "back within 3m", "bad_health": "back within 6m", "soak_rounds": "every 30s"},
        }

    async def fleet(self) -> Document:
        """Return the fleet."""
        same = {"port": 22, "user": "root", "jump": None, "tags": [], "domain": "default"}
        hosts = [{"name": name, "addresses": [name], **same} for name in self.known]
        return {"hosts": hosts, "policies": ["default"], "checks": [], "problem": self.problem}

    async def hosts(
        self, on: str, *, state: str | None = None, after: str | None = None, limit: int | None = None
    ) -> Sequence[Document]:
        """Return the hosts; ``*`` and nothing select all, as with real selectors."""
        names = sorted(name for name in self.known if on in ("", "*", name))
        if not names:
            raise SelectorError(f"selector {on!r}: no host matches")
        found = [observed_document(n, state="idle" if n != "db1" else "trial", lock=self.locks.get(n)) for n in names]
        return [h for h in found if state in (None, h["state"]) and (after is None or str(h["name"]) > after)][:limit]

    def freeze(self) -> Document:
        """Return the freeze."""
        return {"freeze": self.frozen}

    def missing(self, rollout: str) -> NotFoundError:
        """Return what the real one would raise."""
        gone = f"{rollout} is kept no more"
        return GoneError(gone) if rollout == "r-0" else NotFoundError(f"there is no rollout {rollout!r}")

    async def explain(self, rollout: str) -> str:
        """Return a text."""
        if rollout != "r-1":
            raise NotFoundError(f"there is no rollout {rollout!r}")
        return "r-1: rolling\n  waits (soak): a while\n"

    async def progress(self, rollout: str) -> Document:
        """Return what is under way."""
        del rollout
        return {"hosts": self.doing}

    async def changed(self, after: int, timeout_s: float) -> bool:
        """Wait until ``seq`` is larger."""
        for _ in range(int(timeout_s * 100)):
            if self.seq > after:
                return True
            await asyncio.sleep(0.01)
        return False

    def figures(self) -> Figures:
        """Count."""
        return Figures((("rolling", 1),), (("idle", 2), ("trial", 1)), 1, 0, 0, self.seq, 1, False)

    def problems(self) -> Sequence[str]:
        """Return why it is not ready."""
        return self.not_ready


@dataclass(slots=True)
class FakeHistory:
    """Read models in memory, with the paging of the real ones."""

    documents: dict[str, dict[str, object]] = field(default_factory=dict)
    members: dict[str, list[dict[str, object]]] = field(default_factory=dict)
    records: list[Record] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)
    """What the next questions for a rollout end in, each once."""

    def add(self, document: dict[str, object], *hosts: dict[str, object]) -> None:
        """Put a rollout in, or replace it."""
        self.documents[str(document["id"])] = document
        self.members[str(document["id"])] = sorted(hosts, key=lambda host: str(host["name"]))

    async def rollouts(self, *, before: str | None, limit: int) -> Sequence[Mapping[str, object]]:
        """Newest first."""
        names = list(reversed(self.documents))
        if before is not None:
            # As the database does it: nothing comes after what is not there.
            names = names[names.index(before) + 1 :] if before in names else []
        return [self.documents[name] for name in names[:limit]]

    async def rollout(self, rollout: str) -> Mapping[str, object] | None:
        """Return one."""
        if self.errors:
            raise self.errors.pop(0)
        return self.documents.get(rollout)

    async def rollout_hosts(
        self, rollout: str, *, state: str | None, wave: str | None, after: str | None, limit: int
    ) -> Sequence[Mapping[str, object]]:
        """Return hosts by name."""
        found = [host for host in self.members[rollout] if state is None or host["state"] == state]
        found = [host for host in found if wave is None or host["wave"] == wave]
        return [host for host in found if after is None or str(host["name"]) > after][:limit]

    async def hosts(self) -> Mapping[str, Mapping[str, object]]:
        """Return nothing: the API does not ask."""
        return {}

    async def request(self, key: str) -> Mapping[str, object] | None:
        """Return nothing: the API does not ask."""
        raise NotFoundError(key)

    async def events(self, *, after: int, limit: int, rollout: str = "", host: str = "") -> Sequence[Record]:
        """Return records after a number."""
        found = [record for record in self.records if record.seq > after]
        return [r for r in found if rollout in ("", r.rollout) and host in ("", r.host)][:limit]

    async def oldest(self) -> int:
        """Return the oldest number."""
        return self.records[0].seq if self.records else 1

    async def head(self) -> int:
        """Return the newest number."""
        return self.records[-1].seq if self.records else 0


@dataclass(slots=True)
class FakeBlobs:
    """Texts in memory."""

    texts: dict[tuple[str, str], str] = field(default_factory=dict)

    async def add(self, rollout: str, host: str, text: str) -> None:
        """Add a text."""
        self.texts[rollout, host] = self.texts.get((rollout, host), "") + text

    async def get(self, rollout: str, host: str) -> str | None:
        """Return it."""
        return self.texts.get((rollout, host))


def record(seq: int) -> Record:
    """Return a line of the journal."""
    return Record(seq, 1, 1767225600.0 + seq, "r-1", "web1", "trial-intended", 1, {"n": seq})


def refusals() -> Sequence[FleetdError]:
    """Return one error of every class a controller may answer with."""
    return [kind("why, and what would be right") for kind in FleetdError.__subclasses__() if kind.__init__ is _PLAIN]


_PLAIN = FleetdError.__init__
