"""Every way in which fleetd touches the world. Adapters implement these; the controller and executor know only these.

Each remote outcome is ok, failed, or unknown: a method returns (ok), raises an error that proves that nothing or
something definite happened (failed), or raises ``OutcomeUnknown``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from fleetd.model.build import Told, untold
from fleetd.model.check import Check, CheckResult
from fleetd.model.difference import SystemDiff
from fleetd.model.facts import HostFacts, HostStatus
from fleetd.model.fleet import Fleet, Host, ToplevelSource
from fleetd.model.order import Order
from fleetd.model.store_path import StorePath
from fleetd.rollout.roots import WantedRoots
from fleetd.rollout.stored import ReadModels as ReadModels  # noqa: PLC0414 - imported from here as well
from fleetd.rollout.stored import Record as Record  # noqa: PLC0414 - imported from here as well
from fleetd.rollout.stored import Span


class Clock(Protocol):
    """The only source of time. Instants are seconds since the epoch that never step back within a process."""

    def now(self) -> float:
        """Return wall clock at start plus boot-clock time since."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait; ends early only by cancellation."""
        ...


class ForwardClock(Clock, Protocol):
    """The clock of a whole process: whoever has read the journal tells it where time has got to."""

    def go_on_from(self, instant: float) -> None:
        """Be at ``instant`` now if it is later than now; it is said once, before anything waits."""
        ...


class ByteChannel(Protocol):
    """One command on a host, as bytes both ways."""

    async def read(self, most: int) -> bytes:
        """Return 1 to ``most`` bytes, or ``b""`` at the end of the stream. Raises OutcomeUnknown when the link dies."""
        ...

    def write(self, data: bytes) -> None:
        """Queue bytes; unbounded unless ``drain`` is awaited."""
        ...

    async def drain(self) -> None:
        """Wait until the queue is small again. Raises OutcomeUnknown when the link dies."""
        ...

    def write_eof(self) -> None:
        """End the input of the command."""
        ...

    def stderr_tail(self) -> str:
        """Return at most the last 64 KiB of what the command wrote to stderr so far."""
        ...

    async def wait(self, timeout_s: float) -> int:
        """Return the exit status. Raises OutcomeUnknown when the link died or the time is up before it was known."""
        ...

    async def close(self) -> None:
        """Let go of the channel; bounded, never raises."""
        ...


class HostLink(Protocol):
    """An authenticated connection to one host: what ``push`` and ``probes`` see of ssh."""

    def round_trip_s(self) -> float | None:
        """Return the shortest round trip to the host that was seen; None where that cannot be known."""
        ...

    async def open(self, argv: Sequence[str], *, privileged: bool = False) -> ByteChannel:
        """Start a command; ``privileged`` runs it through the host's privilege command."""
        ...

    async def open_tcp(self, address: str, port: int) -> ByteChannel:
        """Open a TCP connection *from the host* through the ssh connection. Raises HostError when refused."""
        ...


class HostPort(Protocol):
    """What can be asked of one host, by its name. Fleet data is read live on every call."""

    async def facts(self, host: Host, *, timeout_s: float) -> HostFacts:
        """Ask what the host is. No effect."""
        ...

    async def status(self, host: Host, *, timeout_s: float, fresh: bool = False) -> HostStatus:
        """Ask how its activation stands; ``fresh`` over a new connection, which replaces the old one. No effect."""
        ...

    async def order(self, host: Host, order: Order, *, timeout_s: float, fresh: bool = False) -> HostStatus:
        """Send an order once.

        Returns the host's status after it was taken up. Raises OrderRefused (nothing was done), Unreachable (nothing
        was sent), OutcomeUnknown.
        """
        ...

    async def link(self, host: Host, *, timeout_s: float, fresh: bool = False) -> HostLink:
        """Return the host's connection, opening it when there is none. Raises HostError."""
        ...

    def expect(self, host: Host) -> None:
        """The host is expected back now: the next question to it is put off no longer."""
        ...

    def let_go(self, host: Host) -> None:
        """Keep no connection to a host; what runs over it just now goes on to its end."""
        ...

    def reached_at(self, host: Host) -> str | None:
        """Return the address over which the host was reached last; None where it never was, or no longer has that."""
        ...

    async def close(self) -> None:
        """Close every connection; bounded."""
        ...


@dataclass(frozen=True, slots=True)
class PathInfo:
    """What the store records about a path. ``nar_hash`` is 32 raw bytes (SHA-256)."""

    path: StorePath
    deriver: str
    nar_hash: bytes
    references: tuple[StorePath, ...]
    nar_size: int
    signatures: tuple[str, ...]
    ca: str


class Store(Protocol):
    """The control node's own Nix store."""

    async def closure(self, toplevel: StorePath) -> tuple[PathInfo, ...]:
        """Return the closure, references before referrers.

        Raises ToplevelError when the path is not in the store, SourceError when the store cannot say.
        """
        ...

    async def check_toplevel(self, toplevel: StorePath, host: Host) -> None:
        """Raise ToplevelError unless the path is in the store, is a toplevel, and is that host's (name, system).

        Raises SourceError when the store cannot say.
        """
        ...

    async def keep_only(self, wanted: Callable[[], WantedRoots]) -> None:
        """Keep alive what is wanted and in the store, and forget every other root; the same again changes nothing.

        ``wanted`` is asked once the present roots are known. Raises FleetdError; what was kept before still is.
        """
        ...


class Comparer(Protocol):
    """Says what is different between systems, from the control node's store alone."""

    async def built(self, target: str) -> StorePath | None:
        """Return the toplevel of a derivation, or the toplevel itself, where it is in the store; None: not built."""
        ...

    async def compare(self, old: StorePath, new: StorePath) -> SystemDiff:
        """Compare two toplevels that are in the store. Raises ToplevelError where one is not."""
        ...

    async def blame(self, old: StorePath, new: StorePath, failing: Sequence[str]) -> str:
        """Return in one line what differs between them, what ``failing`` units use first; empty: nothing does.

        Raises FleetdError where one of them is not in the store.
        """
        ...


class Builder(Protocol):
    """Evaluates and builds on the control node."""

    async def evaluate(self, name: str, source: ToplevelSource, *, timeout_s: float, root: str | None = None) -> str:
        """Return a derivation path, or the toplevel itself for a prebuilt one. Raises SourceError in Nix's words.

        With ``root`` the derivation is kept alive under that name until it is built.
        """
        ...

    async def build(self, derivation: str, root: str, *, timeout_s: float, told: Told = untold) -> StorePath:
        """Build (or take as it is) and keep it alive under the root name ``root``. Raises SourceError."""
        ...

    async def output(self, derivation: str, *, timeout_s: float) -> StorePath:
        """Return what a derivation will be built to, whether it is built or not. Raises SourceError."""
        ...

    async def lock(self, flake: str, *, timeout_s: float, root: str | None = None) -> str:
        """Return the flake reference locked to what it is now; with ``root`` keep its source. Raises SourceError."""
        ...


class Commits(Protocol):
    """Says whether a commit of the flake may be deployed."""

    async def check(self, locked: str, *, since: str, timeout_s: float) -> None:
        """Return when it may: it contains ``since`` (empty: need not), and is signed where that is asked for.

        Both are locked references. Raises RefusedError, or SourceError where nobody can say.
        """
        ...


class TargetBuilder(Protocol):
    """Builds on hosts."""

    async def build(
        self,
        host: Host,
        derivation: StorePath,
        toplevel: StorePath,
        *,
        root: str,
        timeout_s: float,
        told: Told = untold,
    ) -> None:
        """Build a derivation that the host has, and root the toplevel there under ``root``; harmless to repeat.

        Raises SourceError when it does not build, PushError, HostError.
        """
        ...


@dataclass(frozen=True, slots=True)
class PushReport:
    """What a push did: paths and bytes that were missing, and were sent."""

    paths: int
    bytes: int


class Pusher(Protocol):
    """Brings closures onto hosts."""

    async def push(
        self, host: Host, toplevel: StorePath, *, root: str, progress: Callable[[int, int], None], timeout_s: float
    ) -> PushReport:
        """Copy what is missing, root it on the host under ``root``, and verify it is valid there.

        What the control node no longer has, and the host does, is only rooted. ``progress`` is called with bytes sent
        and bytes in all. Raises PushError, HostError, ToplevelError.
        """
        ...


@dataclass(frozen=True, slots=True)
class ProbeRequest:
    """One round of checks on one host. ``builtin`` names the built-in checks to make as well.

    ``expect`` is the toplevel that must be running, ``boot_default`` the one that must be the boot default (None:
    not asked).
    """

    checks: tuple[Check, ...]
    builtin: tuple[str, ...]
    expect: StorePath | None
    boot_default: StorePath | None


class Probe(Protocol):
    """Asks hosts how they are. No effect on a host."""

    async def round(self, host: Host, request: ProbeRequest) -> tuple[CheckResult, ...]:
        """Make every check of the request, concurrently and bounded; never raises for what a host does."""
        ...


class FleetSource(Protocol):
    """Where the fleet is described: a file, a flake."""

    async def load(self) -> Fleet:
        """Read it anew. Raises ConfigError with every mistake and its place, SourceError when it does not evaluate."""
        ...

    async def last_good(self) -> Fleet | None:
        """Return the last fleet that was good, for a start with a broken one; None when none is kept."""
        ...


class Blobs(Protocol):
    """Long texts for people, by rollout and host. Nothing is decided by them."""

    async def add(self, rollout: str, host: str, text: str) -> None:
        """Add a text at the end; bounded by leaving out the oldest. Never raises for what a disk does."""
        ...

    async def get(self, rollout: str, host: str) -> str | None:
        """Return what was added; None when there is nothing."""
        ...


def build_log_of(host: str) -> str:
    """Return the name under which what a host's build said is kept: no host has a name with a dot."""
    return f"{host}.build"


class Journal(Protocol):
    """The durable list of facts. One owner, one writer."""

    async def open(self, *, only_look: bool = False) -> int:
        """Take ownership, raise the term durably, return it. Raises JournalError when another process owns it.

        ``only_look``: the term stays as it is, and nothing is to be appended.
        """
        ...

    async def raise_term(self, least: int) -> int:
        """Raise the term of the owner to ``least`` durably, if it is lower; returns it. Raises JournalError."""
        ...

    async def replay(self) -> Sequence[Record]:
        """Return every record, oldest first. Raises JournalError naming a record that cannot be read."""
        ...

    async def read(self, *, after: int, limit: int) -> Sequence[Record]:
        """Return committed records with a larger seq, oldest first."""
        ...

    async def spans(self) -> Sequence[Span]:
        """Return where the records of each rollout lie, by their first one."""
        ...

    async def shorten(self, baseline: Record, gone: Sequence[str]) -> None:
        """One transaction: put a baseline in the place of all records up to its seq, and forget these rollouts.

        Raises JournalError where a later record is of one of them, or the journal is another's by now.
        """
        ...

    async def append(self, records: Sequence[Record], models: ReadModels) -> None:
        """One transaction: compare-and-set of the head, records, read models. Any failure is JournalError: exit."""
        ...

    async def close(self) -> None:
        """Let go of the ownership."""
        ...


class History(Protocol):
    """Committed read models; nothing undurable is ever seen here."""

    async def rollouts(self, *, before: str | None, limit: int) -> Sequence[Mapping[str, object]]:
        """Newest first; ``before`` is the id at which the last page ended."""
        ...

    async def rollout(self, rollout: str) -> Mapping[str, object] | None:
        """Return the rollout's document, with the ``seq`` it stands at."""
        ...

    async def rollout_hosts(
        self, rollout: str, *, state: str | None, wave: str | None, after: str | None, limit: int
    ) -> Sequence[Mapping[str, object]]:
        """Hosts of a rollout by name; ``after`` is the name at which the last page ended."""
        ...

    async def hosts(self) -> Mapping[str, Mapping[str, object]]:
        """What is recorded of each host: wanted, last_good and what was last left there."""
        ...

    async def request(self, key: str) -> Mapping[str, object] | None:
        """Return what a request with this idempotency key was answered."""
        ...

    async def events(self, *, after: int, limit: int, rollout: str = "", host: str = "") -> Sequence[Record]:
        """Records with a larger seq, oldest first; of one rollout, of one host, where they are named."""
        ...

    async def oldest(self) -> int:
        """Return the seq of the oldest record that is kept; 1 when there is none yet."""
        ...

    async def head(self) -> int:
        """Return the newest seq."""
        ...
