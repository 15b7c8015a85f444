"""A lab: some hosts on a bridge of their own. Its state is on disk, so that any process finds it, and can remove it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

from lab import net, state
from lab.base import base_tree, default_suite
from lab.errors import LabError
from lab.host import HostSpec, LabHost, Seed, Wiring
from lab.run import run, say
from lab.state import STATE

PARALLEL = 8
FIRST_ADDRESS = 10
LARGEST_LAB = 200
INOTIFY = Path("/proc/sys/fs/inotify/max_user_instances")
INOTIFY_INSTANCES = 8192
"""The default of 128 is for the whole machine, and fails at about the 20th host."""


class Lab:
    """Hosts by name, a key to log in with, and the address at which they see the controller.

    A lab belongs to the process that called ``up``: use it in a ``with`` block, at whose end it goes down. When that
    process is gone without ``down``, the hosts still run, but the next ``up`` of that name and ``clean`` remove them;
    ``keep`` says that they are meant to stay.
    """

    seed: Seed | None = None
    """Puts a first system on a host while it is off: at ``up``, and at each ``reset``."""

    def __init__(self, name: str, index: int, specs: Sequence[HostSpec], base: Path) -> None:
        self.name = name
        self.index = index
        self.directory = STATE / name
        self.private_key = self.directory / "id_ed25519"
        self.known_hosts = self.directory / "known_hosts"
        self.bridge = f"flb{index}"
        self.controller_address = f"10.213.{index}.1"
        self._base = base
        names = [f"{self.controller_address} controller\n"]
        names += [f"{self._address(number)} {spec.name}\n" for number, spec in enumerate(specs)]
        self.hosts = {spec.name: LabHost(spec, self._wiring(n, "".join(names))) for n, spec in enumerate(specs)}

    def _address(self, number: int) -> str:
        return f"10.213.{self.index}.{FIRST_ADDRESS + number}"

    def _wiring(self, number: int, neighbours: str) -> Wiring:
        return Wiring(
            directory=self.directory / f"host{number}",
            short=f"fl{self.index}h{number}",
            address=self._address(number),
            gateway=self.controller_address,
            bridge=self.bridge,
            base=self._base,
            private_key=self.private_key,
            known_hosts=self.known_hosts,
            neighbours=neighbours,
        )

    @classmethod
    def up(
        cls,
        name: str,
        hosts: Sequence[HostSpec | str],
        *,
        suite: str = "",
        seed: Seed | None = None,
        quiet: bool = False,
    ) -> Lab:
        """Make a lab, boot its hosts, and return when both users can log in to each.

        ``suite`` is the Debian they run (default: ``default_suite``). What a crashed run of the same name left is
        removed first. Raises LabUnavailable when this machine cannot run a lab, LabError when one of that name is up,
        or something else fails (then nothing is left).
        """
        specs = [HostSpec(host) if isinstance(host, str) else host for host in hosts]
        _check(specs)
        base = base_tree(suite or default_suite())
        lab = cls(name, state.take(name), specs, base)
        lab.seed = seed
        try:
            lab._make()
            if not quiet:
                say(f"{len(lab.hosts)} hosts are up in lab {name!r}")
        except BaseException:
            lab.down()
            raise
        return lab

    @classmethod
    def load(cls, name: str) -> Lab:
        """Return a lab that is up. Raises LabError when there is none of that name."""
        document = state.read(name)
        specs = [HostSpec(**{**host, "tags": tuple(host["tags"])}) for host in document["hosts"]]
        return cls(name, int(document["index"]), specs, Path(document["base"]))

    def _make(self) -> None:
        hosts = [
            {"name": spec.name, "tags": list(spec.tags), "domain": spec.domain, "disk_bytes": spec.disk_bytes}
            for spec in (host.spec for host in self.hosts.values())
        ]
        state.write(self.name, {**state.read(self.name), "base": str(self._base), "hosts": hosts})
        if int(INOTIFY.read_text()) < INOTIFY_INSTANCES:
            INOTIFY.write_text(str(INOTIFY_INSTANCES))
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f", self.private_key)
        net.make_bridge(self.bridge, self.controller_address)
        self.each(LabHost.make_key)
        known = [f"{host.address},{host.name} {host.host_key}\n" for host in self.hosts.values()]
        self.known_hosts.write_text("".join(known))

        def make(host: LabHost) -> None:
            net.wire(host.wiring.short, self.bridge)
            host.prepare(self.seed)
            host.boot()

        self.each(make)
        self.each(LabHost.wait_ready)

    def each(self, do: Callable[[LabHost], None], hosts: Sequence[LabHost] | None = None) -> None:
        """Do something to several hosts at once (default: all). When all have ended, the first error is raised."""
        chosen = list(self.hosts.values()) if hosts is None else list(hosts)
        with ThreadPoolExecutor(PARALLEL) as pool:
            futures = [pool.submit(do, host) for host in chosen]
        for future in futures:
            future.result()

    def reset(self, hosts: Sequence[LabHost] | None = None, seed: Seed | None = None) -> None:
        """Make hosts (default: all) anew, in parallel, and wait until they are up; see ``LabHost.reset``.

        ``seed`` is used instead of the lab's own.
        """

        def again(host: LabHost) -> None:
            host.reset(seed or self.seed)
            host.wait_ready()

        self.each(again, hosts)

    def keep(self) -> None:
        """Leave the lab up when this process ends, until somebody takes it down."""
        state.keep(self.name)

    def down(self) -> None:
        """Take away everything that belongs to the lab; safe to repeat."""
        state.remove(self.name, self.index)

    def __enter__(self) -> Lab:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()


def _check(specs: Sequence[HostSpec]) -> None:
    if not 0 < len(specs) <= LARGEST_LAB:
        raise LabError(f"a lab has 1 to {LARGEST_LAB} hosts, not {len(specs)}")
    for spec in specs:
        state.check_name(spec.name, "host")
    twice = {spec.name for spec in specs if [other.name for other in specs].count(spec.name) > 1}
    if twice:
        raise LabError(f"two hosts have the name {', '.join(sorted(twice))}")
