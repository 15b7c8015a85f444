"""A control node for the lab: a real fleetd process with its files in one directory, and fleetctl by its side."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fleetd.cli.client import Client
from fleetd.errors import FleetdError
from lab.errors import LabError
from lab.host import LabHost
from lab.lab import Lab

PROGRAMS = Path(sys.executable).parent
START_S = 60
"""A start takes a second or two; on a machine with ten times more to do than it can, ten times that."""
NIX_CONFIG = "build-users-group =\nsandbox = false\nsubstituters =\n"
"""On a plain machine: no build users, no network. Only for these processes."""

POLICY = """
[policies.default]
waves = [ { name = "canary", count = 1, soak = "2s" }, { percent = 50, soak = "2s" } ]
max_parallel = 2
max_domains = 3
switch_timeout = "20s"
min_healthy = "2s"
healthy_deadline = "15s"
contact_timeout = "20s"
commit_timeout = "20s"
revert_timeout = "30s"
restart_allowance = "6s"
progress_deadline = "5m"
failure_budget = { canary = 0, wave = 0, total = 0 }
"""
CHECKS = """
[[checks]]
name = "web answers"
http = { url = "http://{address}:8080/healthz", contains = "greeting" }
interval = "1s"
timeout = "2s"
successes = 2
soak_interval = "1s"
"""


def policy_with(**values: object) -> str:
    """Return the usual policy of the tests with other values, or more."""
    lines = [line for line in POLICY.splitlines() if line.partition(" = ")[0] not in values]
    return "\n".join([*lines, *(f"{key} = {_toml(value)}" for key, value in values.items())]) + "\n"


def _toml(value: object) -> str:
    """Return a value as TOML writes it on one line."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[ " + ", ".join(map(_toml, value)) + " ]"
    return json.dumps(value)


def _entry(host: LabHost, more: Mapping[str, object]) -> str:
    """Return a host's entry in the fleet file, with ``more`` keys."""
    keys = {"address": host.address, "host_key": host.host_key, "tags": host.tags, "domain": host.domain, **more}
    return f"[hosts.{host.name}]\n" + "".join(f"{key} = {_toml(value)}\n" for key, value in keys.items())


class Control:
    """One control node. ``directory`` holds everything; ``start`` and ``stop`` are the process.

    ``names`` are its hosts (default: all of the lab), ``keys`` more keys of single ones, ``fleet`` begins its fleet
    file, ``extra`` ends its configuration.
    """

    def __init__(
        self,
        lab: Lab,
        directory: Path,
        *,
        names: Sequence[str] = (),
        policy: str = POLICY,
        checks: str = CHECKS,
        fleet: str = "",
        extra: str = "",
        keys: Mapping[str, Mapping[str, object]] | None = None,
    ) -> None:
        self.directory = directory
        self.server = f"unix:{directory}/fleetd.sock"
        directory.mkdir(parents=True, exist_ok=True)
        chosen = [host for host in lab.hosts.values() if not names or host.name in names]
        hosts = "".join(_entry(host, (keys or {}).get(host.name, {})) for host in chosen)
        (directory / "fleet.toml").write_text(fleet + hosts + checks + policy)
        (directory / "config.toml").write_text(
            f'[fleet]\npath = "fleet.toml"\n[server]\nlisten = ["{self.server}"]\n[state]\ndirectory = "state"\n'
            f'[ssh]\nidentity = "{lab.private_key}"\n'
            'connect_timeout = "2s"\nlogin_timeout = "2s"\norder_timeout = "2s"\n' + extra
        )
        self.prefix: tuple[str, ...] = ()
        """Words before fleetd's own: what they start must become fleetd by exec, so that its process id stays."""
        self._client = Client(self.server, None)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id of the running fleetd. Raises LabError when none runs."""
        if self._process is None:
            raise LabError("fleetd does not run")
        return self._process.pid

    def speak_to(self, server: str) -> None:
        """Speak to a fleetd that somebody else has started, elsewhere."""
        self.server = server
        self._client = Client(server, None)

    def start(self) -> None:
        """Start fleetd and wait until it is ready."""
        log = (self.directory / "fleetd.log").open("ab")
        env = {**os.environ, "NIX_CONFIG": NIX_CONFIG}
        with log:
            self._process = subprocess.Popen(
                [*self.prefix, str(PROGRAMS / "fleetd"), "--config", str(self.directory / "config.toml")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=env,
            )
        end = time.monotonic() + START_S
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() > end:
                raise LabError(f"fleetd did not start: {self.log()[-2000:]}")
            time.sleep(0.2)

    def _is_ready(self) -> bool:
        try:
            self._client.get("/v1/ready")
        except FleetdError:
            return False
        return True

    def log(self) -> str:
        """Return what fleetd has written."""
        return (self.directory / "fleetd.log").read_text(errors="replace")

    def kill(self) -> None:
        """End fleetd as a crash does."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End fleetd in an orderly way."""
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)
            try:
                self._process.wait(40)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(10)
                raise
        self._process = None

    def ctl(self, *words: str, timeout_s: float = 240) -> subprocess.CompletedProcess[str]:
        """Run fleetctl."""
        argv = [str(PROGRAMS / "fleetctl"), "--server", self.server, *words]
        return subprocess.run(argv, capture_output=True, text=True, timeout=timeout_s, check=False)

    def fleetd(self, *words: str, timeout_s: float = 240) -> subprocess.CompletedProcess[str]:
        """Run a command of fleetd's own program that ends by itself."""
        argv = [str(PROGRAMS / "fleetd"), "--config", str(self.directory / "config.toml"), *words]
        env = {**os.environ, "NIX_CONFIG": NIX_CONFIG}
        return subprocess.run(argv, capture_output=True, text=True, timeout=timeout_s, check=False, env=env)

    def deploy(self, toplevels: Mapping[str, str], *words: str) -> subprocess.CompletedProcess[str]:
        """Deploy prebuilt toplevels and wait."""
        return self.ctl("deploy", *self.toplevel_words(toplevels), *words)

    def deploy_detached(self, toplevels: Mapping[str, str]) -> str:
        """Start a deploy and return the rollout's id."""
        done = self.ctl("--json", "deploy", "--detach", *self.toplevel_words(toplevels))
        return self.id_in(done)

    @staticmethod
    def id_in(done: subprocess.CompletedProcess[str]) -> str:
        """Return the id of the rollout that a detached command has begun. Raises LabError with why it has not."""
        if done.returncode != 0:
            raise LabError(done.stdout + done.stderr)
        return str(json.loads(done.stdout)["id"])

    @staticmethod
    def toplevel_words(toplevels: Mapping[str, str]) -> list[str]:
        """Return the options that name prebuilt toplevels."""
        return [word for host, path in toplevels.items() for word in ("--toplevel", f"{host}={path}")]

    def rollout(self, name: str) -> dict[str, Any]:
        """Return a rollout's document with its hosts by name."""
        # Over the API: tests look often, and a process for each look would keep a core busy.
        path = f"/v1/rollouts/{name}"
        document: dict[str, Any] = self._client.get(path)
        document["hosts"] = {host["name"]: host for host in self._client.pages(f"{path}/hosts", "hosts")}
        return document

    def host(self, name: str) -> dict[str, Any]:
        """Return what is known of a host."""
        found: dict[str, Any] = self._client.get(f"/v1/hosts/{name}")
        return found

    def events(self) -> list[dict[str, Any]]:
        """Return every record of the journal."""
        found: list[dict[str, Any]] = []
        while page := self._client.get(f"/v1/events?after={found[-1]['seq'] if found else 0}")["events"]:
            found += page
        return found

    def wait_for(self, name: str, host: str, *states: str, timeout_s: float = 120) -> dict[str, Any]:
        """Wait until a host of a rollout is in one of these states."""
        end = time.monotonic() + timeout_s
        while True:
            document = self.rollout(name)
            if document["hosts"][host]["state"] in states:
                return document
            if time.monotonic() > end:
                raise LabError(f"{host} is {document['hosts'][host]}, not {states}; {self.log()[-1500:]}")
            time.sleep(0.1)

    def wait_final(self, name: str, timeout_s: float = 180) -> dict[str, Any]:
        """Wait until a rollout is final."""
        end = time.monotonic() + timeout_s
        while True:
            document = self.rollout(name)
            if document["finished_at"] is not None:
                return document
            if time.monotonic() > end:
                raise LabError(f"{name} does not end: {document}; {self.log()[-1500:]}")
            time.sleep(0.3)
