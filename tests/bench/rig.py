"""Both sides of a benchmark: real lab hosts, ``nix copy`` and fleetd doing the same work, and what each took.

CPU of the hosts is what their control groups used: the machine may have other things to do.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from lab import Lab, LabHost, cgroup

from fleetd.model.store_path import StorePath
from fleetd.nix.commands import FEATURES
from tests.bench.closures import SHAPES, make
from tests.nix.private_store import PrivateStore

LIMIT_S = 900
ACCOUNTS = Path("/sys/fs/cgroup/cpuacct")


@dataclass(frozen=True)
class Taken:
    """What one run took: seconds of time, of the controller's CPU, of the hosts' CPU; peak MB of the controller."""

    wall_s: float
    cpu_s: float
    hosts_cpu_s: float
    peak_mb: float


class Rig:
    """A control node's store with the closures, and hosts that get them."""

    def __init__(self, lab: Lab, place: Path) -> None:
        self.lab = lab
        self.hosts = list(lab.hosts.values())
        self.control = PrivateStore(place / "control")
        self._made: dict[str, StorePath] = {}
        self._round = 0
        for host in self.hosts:
            _account(host)

    def toplevel(self, shape: str) -> StorePath:
        """Return the top of a closure, made on its first use."""
        if shape not in self._made:
            self._made[shape] = make(self.control, SHAPES[shape])
        return self._made[shape]

    def empty_store(self, hosts: Sequence[LabHost]) -> str:
        """Return a new and empty store on each host, on its tmpfs; the one before is gone."""
        self._round += 1
        place = f"/bench/{self._round}"
        script = f"chmod -R u+w /bench 2>/dev/null; rm -rf /bench; mkdir -p {place}/nix/store; sync"
        for host in hosts:
            host.inside("sh", "-c", script, timeout_s=LIMIT_S)
            # Its database is made before the clock runs, for both.
            host.inside("nix-store", "--store", f"local?root={place}", "--init", timeout_s=60)
        return place

    def nix_copy(
        self, scheme: str, shape: str, hosts: Sequence[LabHost], ports: Sequence[int] = (), store: str | None = None
    ) -> Taken:
        """Copy with a ``nix copy`` for each host, all at once."""
        place, toplevel = store or self.empty_store(hosts), self.toplevel(shape)
        before, hosts_before, begun = _children(), self._hosts_cpu(hosts), time.monotonic()
        running = []
        for host, (address, port) in zip(hosts, _ends(hosts, ports), strict=True):
            options = [word for word in host.ssh_words()[1:-1] if "KnownHosts" not in word and "HostKey" not in word]
            options += ["-oStrictHostKeyChecking=no", "-oUserKnownHostsFile=/dev/null", "-oLogLevel=ERROR", f"-p{port}"]
            env = {**os.environ, **self.control.env, "NIX_SSHOPTS": " ".join(options)}
            to = f"{scheme}://root@{address}?remote-store={quote(f'local?root={place}')}"
            argv = ["nix", *FEATURES, "copy", "--no-check-sigs", "--to", to, toplevel]
            running.append(subprocess.Popen(argv, env=env, stderr=subprocess.PIPE, text=True))
        said = [child.communicate(timeout=LIMIT_S)[1] for child in running]
        wall_s = time.monotonic() - begun
        if any(child.returncode for child in running):
            raise RuntimeError(f"nix copy failed: {said}")
        self._check(hosts, place, toplevel)
        peak_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e6
        return Taken(wall_s, _children() - before, self._hosts_cpu(hosts) - hosts_before, peak_mb)

    def push(
        self,
        shape: str,
        hosts: Sequence[LabHost],
        ports: Sequence[int] = (),
        *,
        warm: bool = False,
        store: str | None = None,
    ) -> Taken:
        """Copy with fleetd."""
        place, toplevel = store or self.empty_store(hosts), self.toplevel(shape)
        ends = _ends(hosts, ports)
        order = {
            "hosts": [(h.name, address, port, h.host_key) for h, (address, port) in zip(hosts, ends, strict=True)],
            "identity": str(self.lab.private_key),
            "toplevel": toplevel,
            "control": str(self.control.root),
            "env": self.control.env,
            "store": place,
            "warm": warm,
        }
        hosts_before = self._hosts_cpu(hosts)
        argv = [sys.executable, "-m", "tests.bench.push_once"]
        done = subprocess.run(
            argv, input=json.dumps(order), capture_output=True, text=True, timeout=LIMIT_S, check=False
        )
        if done.returncode != 0:
            raise RuntimeError(f"the push failed: {done.stderr[-3000:]}")
        self._check(hosts, place, toplevel)
        took = json.loads(done.stdout)
        if os.environ.get("FLEETD_BENCH_VERBOSE"):
            print(took, file=sys.stderr)
        return Taken(took["wall_s"], took["cpu_s"], self._hosts_cpu(hosts) - hosts_before, took["peak_mb"])

    def _check(self, hosts: Sequence[LabHost], place: str, toplevel: StorePath) -> None:
        for host in hosts:
            host.inside("nix-store", "--store", f"local?root={place}", "--check-validity", toplevel, timeout_s=60)

    def _hosts_cpu(self, hosts: Sequence[LabHost]) -> float:
        return sum(int((_account_of(host) / "cpuacct.usage").read_text()) for host in hosts) / 1e9

    @contextmanager
    def far(self, hosts: Sequence[LabHost], round_trip_ms: float) -> Iterator[list[int]]:
        """Put hosts far away; yields a local port for each."""
        argv = [sys.executable, "-m", "tests.bench.proxy", str(round_trip_ms), *(f"{h.address}:22" for h in hosts)]
        proxy = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        assert proxy.stdout is not None
        try:
            yield [int(proxy.stdout.readline()) for _ in hosts]
        finally:
            proxy.kill()
            proxy.wait()
            proxy.stdout.close()

    def close(self) -> None:
        """Take the accounts away, once nothing is in them."""
        for host in self.hosts:
            place = _account_of(host)
            for pid in (place / "cgroup.procs").read_text().split():
                with suppress(ProcessLookupError):
                    (ACCOUNTS / "cgroup.procs").write_text(pid)
            place.rmdir()


def _ends(hosts: Sequence[LabHost], ports: Sequence[int]) -> list[tuple[str, int]]:
    return [("127.0.0.1", port) for port in ports] or [(host.address, 22) for host in hosts]


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _account_of(host: LabHost) -> Path:
    return ACCOUNTS / host.wiring.short


def _account(host: LabHost) -> None:
    """Count what a host's processes use from here on, and all that they start."""
    place = _account_of(host)
    place.mkdir(exist_ok=True)
    for pid in cgroup.pids(host.wiring.short):
        try:
            (place / "cgroup.procs").write_text(str(pid))
        except OSError:
            continue  # It ended meanwhile.
