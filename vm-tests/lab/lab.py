"""A lab: some hosts on a bridge of their own. Its state is on disk, so a crashed run can be cleaned by the next."""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

from lab.base import base_tree, require
from lab.errors import LabError
from lab.host import HostSpec, LabHost, Wiring
from lab.run import lines, quiet, run

STATE = Path("/run/fleetd-lab")
LARGEST_INDEX = 200
PARALLEL = 8
INOTIFY_INSTANCES = 8192
"""The default of 128 is machine-wide and fails at about the 20th host."""

Seed = Callable[[LabHost], None]


class Lab:
    """Hosts by name, a key to log in with, and the address at which they see the controller."""

    def __init__(self, name: str, index: int, specs: Sequence[HostSpec], base: Path) -> None:
        self.name = name
        self.index = index
        self.directory = STATE / name
        self.private_key = self.directory / "id_ed25519"
        self.known_hosts = self.directory / "known_hosts"
        self.bridge = f"flb{index}"
        self.controller_address = f"10.213.{index}.1"
        self.hosts = {spec.name: LabHost(spec, self._wiring(n, base)) for n, spec in enumerate(specs)}
        self._base = base

    def _wiring(self, number: int, base: Path) -> Wiring:
        return Wiring(
            directory=self.directory / f"host{number}",
            short=f"fl{self.index}h{number}",
            address=f"10.213.{self.index}.{10 + number}",
            gateway=self.controller_address,
            bridge=self.bridge,
            base=base,
            private_key=self.private_key,
            known_hosts=self.known_hosts,
        )

    @classmethod
    def up(cls, name: str, hosts: Sequence[HostSpec], *, suite: str = "trixie", seed: Seed | None = None) -> Lab:
        """Make a lab and boot its hosts; one of the same name that a crashed run left is removed first.

        Raises LabUnavailable when this machine cannot, LabError when something else fails.
        """
        base = base_tree(suite)
        remove(name)
        run("sysctl", "-q", "-w", f"fs.inotify.max_user_instances={INOTIFY_INSTANCES}")
        lab = cls(name, _take_index(name), list(hosts), base)
        lab.directory.mkdir(parents=True, exist_ok=True)
        lab._save()
        try:
            lab._make(seed)
        except BaseException:
            lab.down()
            raise
        return lab

    @classmethod
    def load(cls, name: str) -> Lab:
        """Return a lab that is up. Raises LabError when there is none of that name."""
        try:
            state = json.loads((STATE / name / "lab.json").read_text())
        except OSError as error:
            raise LabError(f"there is no lab {name!r} (see: python -m lab list)") from error
        specs = [HostSpec(host["name"], tuple(host["tags"]), host["domain"]) for host in state["hosts"]]
        return cls(name, state["index"], specs, Path(state["base"]))

    def _save(self) -> None:
        hosts = [{"name": host.name, "tags": list(host.tags), "domain": host.domain} for host in self.hosts.values()]
        state = {"index": self.index, "base": str(self._base), "hosts": hosts}
        (self.directory / "lab.json").write_text(json.dumps(state))

    def _make(self, seed: Seed | None) -> None:
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f", self.private_key)
        run("ip", "link", "add", self.bridge, "type", "bridge")
        run("ip", "addr", "add", f"{self.controller_address}/24", "dev", self.bridge)
        run("ip", "link", "set", self.bridge, "up")

        def make(host: LabHost) -> None:
            host.prepare(seed)
            host.boot()

        self.each(make)
        known = [f"{host.address},{host.name} {' '.join(host.host_key.split()[:2])}\n" for host in self.hosts.values()]
        self.known_hosts.write_text("".join(known))
        self.each(LabHost.wait_ready)

    def each(self, do: Callable[[LabHost], None], hosts: Sequence[LabHost] | None = None) -> None:
        """Do something to several hosts at once (default: all); the first error is raised when all have ended."""
        with ThreadPoolExecutor(PARALLEL) as pool:
            for future in [pool.submit(do, host) for host in (hosts or list(self.hosts.values()))]:
                future.result()

    def reset(self, hosts: Sequence[LabHost], seed: Seed | None) -> None:
        """Make hosts anew, in parallel, and wait until they are up."""

        def again(host: LabHost) -> None:
            host.reset(seed)
            host.wait_ready()

        if hosts:
            self.each(again, hosts)

    def down(self) -> None:
        """Take everything away that belongs to the lab."""
        self.each(LabHost.remove)
        quiet("ip", "link", "del", self.bridge)
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> Lab:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()


def names() -> list[str]:
    """Return the labs there are on disk, running or crashed."""
    return sorted(place.parent.name for place in STATE.glob("*/lab.json"))


def remove(name: str) -> None:
    """Remove a lab of that name if there is one."""
    if (STATE / name / "lab.json").exists():
        Lab.load(name).down()


def clean() -> list[str]:
    """Remove every lab, and links and namespaces of runs that crashed before they wrote anything down."""
    require()
    gone = names()
    for name in gone:
        remove(name)
    for line in lines(["ip", "-o", "link"]):
        device = line.split(": ")[1].split("@")[0] if ": " in line else ""
        if device.startswith(("flb", "v-fl")):
            quiet("ip", "link", "del", device)
    for line in lines(["ip", "netns"]):
        if line.startswith("fl"):
            quiet("ip", "netns", "del", line.split()[0])
    return gone


def _take_index(name: str) -> int:
    STATE.mkdir(parents=True, exist_ok=True)
    with (STATE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        used = {json.loads((STATE / other / "lab.json").read_text())["index"] for other in names() if other != name}
        index = next((number for number in range(1, LARGEST_INDEX) if number not in used), None)
        if index is None:
            raise LabError("too many labs at once; see: python -m lab list")
        (STATE / name).mkdir(exist_ok=True)
        (STATE / name / "lab.json").write_text(json.dumps({"index": index, "base": "/", "hosts": []}))
        return index
