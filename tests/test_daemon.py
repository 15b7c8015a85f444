"""``fleetd`` as a process: how it starts, how it ends, and what it says when it cannot start."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

BIN = Path(sys.executable).parent
FLEETD, FLEETCTL = str(BIN / "fleetd"), str(BIN / "fleetctl")
PATIENCE_S = 60
"""What is waited for comes within seconds on an idle machine."""


class Rig:
    """A directory with a configuration that works, and the daemons started in it."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.state = place / "state"
        self.running: list[subprocess.Popen[str]] = []
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(place / "key")], check=True)
        self.fleet('[hosts.web1]\naddress = "127.0.0.1"\nport = 1\n')
        self.config()

    def fleet(self, text: str) -> None:
        (self.place / "fleet.toml").write_text(text)

    def config(self, more: str = "", listen: str = "", state: str = "state") -> None:
        places = listen or f"unix:{self.place}/s"
        (self.place / "config.toml").write_text(
            f'[server]\nlisten = ["{places}"]\n[state]\ndirectory = "{state}"\n[log]\nformat = "json"\n'
            f'[ssh]\nidentity = "key"\nconnect_timeout = "1s"\nlogin_timeout = "1s"\norder_timeout = "1s"\n{more}'
        )

    def start(self, **environment: str) -> subprocess.Popen[str]:
        env = {name: value for name, value in os.environ.items() if not name.startswith("FLEETD_")}
        process = subprocess.Popen(
            [FLEETD, "--config", str(self.place / "config.toml")],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**env, **environment},
        )
        self.running.append(process)
        return process

    def refused(self) -> str:
        """Start it, and return what it said when it ended with 1 by itself."""
        process = self.start()
        out, err = process.communicate(timeout=PATIENCE_S)
        assert (process.returncode, out) == (1, "")
        assert "Traceback" not in err
        return err

    def ready(self, process: subprocess.Popen[str]) -> None:
        end = time.monotonic() + PATIENCE_S
        while not (self.place / "s").exists() or self.ctl("rollouts").returncode != 0:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < end
            time.sleep(0.1)

    def ctl(self, *words: str) -> subprocess.CompletedProcess[str]:
        argv = [FLEETCTL, "--server", f"unix:{self.place}/s", *words]
        return subprocess.run(argv, capture_output=True, text=True, timeout=PATIENCE_S, check=False)

    def stop(self, process: subprocess.Popen[str], number: int = signal.SIGTERM) -> list[dict[str, Any]]:
        """End it and return its log."""
        process.send_signal(number)
        _out, err = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0, err
        return [json.loads(line) for line in err.splitlines()]


@pytest.fixture(scope="module")
def old_state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state directory with three starts in its journal."""
    made = Rig(tmp_path_factory.mktemp("old"))
    for _ in range(3):
        process = made.start()
        made.ready(process)
        made.stop(process)
    return made.state


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path)
    yield made
    for process in made.running:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=PATIENCE_S)


def test_it_starts_serves_and_ends(rig: Rig) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        process = rig.start()
        rig.ready(process)
        log = rig.stop(process, number)
        assert [line["event"] for line in log] == ["started", "stopping"]
    assert oct(rig.state.stat().st_mode & 0o777) == "0o700"


def test_it_tells_systemd_that_it_is_ready_alive_and_about_to_end(rig: Rig) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.bind(str(rig.place / "notify"))
        told.settimeout(PATIENCE_S)
        process = rig.start(NOTIFY_SOCKET=str(rig.place / "notify"), WATCHDOG_USEC="200000")
        while (word := told.recv(100)) != b"READY=1":
            assert word == b"WATCHDOG=1"
        assert rig.ctl("rollouts").returncode == 0, "ready is told only when it answers"
        assert [told.recv(100) for _ in range(2)] == [b"WATCHDOG=1"] * 2
        process.terminate()
        while (word := told.recv(100)) != b"STOPPING=1":
            assert word == b"WATCHDOG=1"
        assert process.wait(PATIENCE_S) == 0


def test_a_systemd_that_does_not_listen_holds_up_nothing(rig: Rig) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.bind(str(rig.place / "notify"))
        told.settimeout(PATIENCE_S)
        process = rig.start(NOTIFY_SOCKET=str(rig.place / "notify"), WATCHDOG_USEC="1000")
        rig.ready(process)
        time.sleep(2)  # thousands of words for a queue of some hundred at most
        assert rig.ctl("rollouts").returncode == 0
        process.terminate()
        assert process.wait(PATIENCE_S) == 0


def test_a_second_daemon_is_refused_and_the_first_goes_on(rig: Rig) -> None:
    first = rig.start()
    rig.ready(first)
    assert f"another fleetd (pid {first.pid}) owns {rig.state}" in rig.refused()
    rig.config(state="other")
    assert f"listens on {rig.place}/s already" in rig.refused()
    assert rig.ctl("rollouts").returncode == 0
    rig.stop(first)


def test_a_port_in_use_is_told(rig: Rig) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        rig.config(listen=f"127.0.0.1:{port}")
        expected = f"fleetd: server.listen: cannot listen on 127.0.0.1:{port}: Address already in use\n"
        assert rig.refused() == expected


def test_a_broken_fleet_stops_the_first_start_and_no_later_one(rig: Rig) -> None:
    good = (rig.place / "fleet.toml").read_text()
    rig.fleet(good + '[policies.default]\nhealthy_deadline = "10s"\n')
    said = rig.refused()
    assert (
        "fleet.toml: policies.default: min_healthy 1m + slowest check 0s + one contact 3s = 1m3s must be at most"
        in said
    )
    rig.fleet(good)
    started = rig.start()
    rig.ready(started)
    rig.stop(started)
    rig.fleet("[hosts.web1\n")
    process = rig.start()
    rig.ready(process)
    assert [host["name"] for host in json.loads(rig.ctl("--json", "hosts").stdout)["hosts"]] == ["web1"]
    deploy = rig.ctl("deploy", "--detach")
    assert (deploy.returncode, "line 1" in deploy.stderr) == (1, True)
    rig.fleet(good.replace("web1", "web2"))
    process.send_signal(signal.SIGHUP)
    end = time.monotonic() + PATIENCE_S
    while "web2" not in rig.ctl("hosts").stdout:
        assert time.monotonic() < end
        time.sleep(0.1)
    log = rig.stop(process)
    assert log[0]["level"] == "error"
    assert "the last good one serves" in log[0]["event"]
    assert "fleet.toml" in log[0]["problem"]
    assert "the fleet was read anew" in [line["event"] for line in log]


def damage(statement: str) -> Callable[[Rig], None]:
    def run(rig: Rig) -> None:
        with contextlib.closing(sqlite3.connect(rig.state / "journal.sqlite")) as disk:
            disk.execute(statement)
            disk.commit()

    return run


def overwrite(rig: Rig) -> None:
    (rig.state / "journal.sqlite").write_bytes(os.urandom(4096))


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (overwrite, "state/journal.sqlite: file is not a database"),
        (damage("update journal set data = '{' where seq = 2"), "record 2 (ControllerStarted) of the journal cannot"),
        (damage("update journal set kind = 'Odd' where seq = 2"), "record 2 (Odd) was written by a newer fleetd, or"),
        (damage("""update journal set data = '{"x":1}' where seq = 2"""), "unknown fields ['x'], missing fields"),
        (damage("delete from journal where seq = 2"), "record 2 is missing (the next one is 3)"),
        (damage("delete from journal where seq = 3"), "the head says 3, and the newest record is 2"),
        (damage("drop table journal_head"), "state/journal.sqlite"),
    ],
)
def test_a_damaged_journal_stops_the_start_with_the_place(
    rig: Rig, old_state: Path, spoil: Callable[[Rig], None], told: str
) -> None:
    shutil.copytree(old_state, rig.state)
    spoil(rig)
    said = rig.refused()
    assert told in said
    assert said.count("\n") == 1


def test_a_state_directory_that_cannot_be_written_is_told(rig: Rig) -> None:
    rig.state.write_text("")
    assert rig.refused() == f"fleetd: {rig.state}: File exists\n"
    rig.config(state="/proc/fleetd")
    assert rig.refused().startswith("fleetd: /proc/fleetd: ")


@pytest.mark.skipif(os.geteuid() != 0, reason="a read-only mount needs root; the other cases need none")
def test_a_read_only_state_directory_is_told(rig: Rig) -> None:
    rig.state.mkdir()
    script = (
        f"mount --bind {rig.state} {rig.state} && mount -o remount,ro,bind {rig.state}"
        f" && exec {FLEETD} --config {rig.place}/config.toml"
    )
    # In a mount namespace of its own: nothing is left to unmount.
    argv = ["unshare", "--mount", "sh", "-c", script]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert (done.returncode, done.stderr) == (1, f"fleetd: {rig.state}/lock: Read-only file system\n")


def test_a_key_that_opens_nothing_is_told(rig: Rig) -> None:
    key = rig.place / "key"
    key.unlink()
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", str(key)], check=True, input=b"y\n")
    assert "ssh.identity" in (said := rig.refused())
    assert "passphrase" in said.lower()
    key.write_text("no key\n")
    assert "is no usable private key" in rig.refused()


def test_usage_is_told(rig: Rig) -> None:
    for words, told in (
        (["--cofnig=x"], "unrecognized arguments"),
        (["--config", "/nowhere"], "cannot be read"),
        (["recover", "--config", "/nowhere"], "cannot be read"),
        (["--dry-run"], "--dry-run belongs to recover"),
    ):
        done = subprocess.run([FLEETD, *words], capture_output=True, text=True, timeout=PATIENCE_S, check=False)
        assert done.returncode in (1, 2)
        assert told in done.stderr


def local(rig: Rig, *words: str) -> subprocess.CompletedProcess[str]:
    argv = [FLEETCTL, "--local", "--config", str(rig.place / "config.toml"), *words]
    env = {**os.environ, "TMPDIR": str(rig.place)}
    return subprocess.run(argv, capture_output=True, text=True, timeout=PATIENCE_S, check=False, env=env)


def test_without_a_daemon_the_same_engine_works_on_the_same_journal(rig: Rig) -> None:
    done = local(rig, "rollouts")
    assert (done.returncode, done.stdout, done.stderr) == (0, "\n", "")
    deploy = local(rig, "deploy", "--toplevel", f"web1=/nix/store/{'0' * 32}-nixos-system-web1-2")
    assert (deploy.returncode, "is not in the store" in deploy.stderr) == (1, True)
    for words in (("deploy",), ("rollback",), ("revert", "r-1")):
        left = local(rig, *words, "--detach")
        assert (left.returncode, "--local --detach: nothing would drive" in left.stderr) == (1, True)
    process = rig.start()
    rig.ready(process)
    events = [json.loads(line)["kind"] for line in rig.ctl("--json", "events").stdout.splitlines()]
    assert events == ["ControllerStarted"] * 6
    refused = local(rig, "rollouts")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == f"fleetctl: another fleetd (pid {process.pid}) owns {rig.state}\n"
    rig.stop(process)
    assert list(rig.place.glob("fleetctl-*")) == []


def test_a_local_mistake_is_told_as_the_daemon_tells_it(rig: Rig) -> None:
    rig.fleet("[hosts.web1\n")
    done = local(rig, "rollouts")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"fleetctl: {rig.place}/fleet.toml: ")
    assert done.stderr.count("\n") == 1


LOSES_ITS_JOURNAL = """
import sqlite3, sys
from fleetd.cli import follow
from fleetd.cli.app import Options
from fleetd.cli.client import Client
from fleetd.cli.local import engine

follow.LOST_DAEMON_S = 1.0
with engine(sys.argv[1]) as server:
    Options.server, Options.is_local = server, True
    name = Client(server, None).post("/v1/rollouts", {})["id"]
    with sqlite3.connect(sys.argv[2]) as disk:
        disk.execute("update journal_head set term = term + 1")
    sys.exit(follow.follow(name, 60.0, accepted=True))
"""


def test_a_local_engine_that_ends_by_itself_says_why_and_that_nothing_goes_on(rig: Rig) -> None:
    rig.fleet('[hosts.web1]\naddress = "127.0.0.1"\nport = 1\nfile = "web1.nix"\nattr = "web1"\n')
    argv = [sys.executable, "-c", LOSES_ITS_JOURNAL, str(rig.place / "config.toml"), str(rig.state / "journal.sqlite")]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 6
    assert "fleetctl: the engine has ended: " in done.stderr
    assert "another controller wrote here" in done.stderr
    assert "the daemon does not answer; nothing drives r-1 now" in done.stderr


def test_a_stream_is_served_and_holds_up_no_end(rig: Rig) -> None:
    process = rig.start()
    rig.ready(process)
    with socket.socket(socket.AF_UNIX) as reader:
        reader.settimeout(PATIENCE_S)
        reader.connect(str(rig.place / "s"))
        reader.sendall(b"GET /v1/events?after=0 HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n")
        said = b""
        while b"event: ControllerStarted" not in said:
            piece = reader.recv(4096)
            assert piece, said
            said += piece
        # Without an end of its own, the stream would hold the daemon up for the whole of PATIENCE_S and more.
        rig.stop(process)
        while reader.recv(4096):
            pass


def test_plain_http_beyond_this_machine_is_warned_of(rig: Rig) -> None:
    with socket.create_server(("0.0.0.0", 0)) as free:
        port = free.getsockname()[1]
    rig.config(listen=f'unix:{rig.place}/s", "127.0.0.1:0", "localhost:0", "[::1]:0", "0.0.0.0:{port}')
    process = rig.start()
    rig.ready(process)
    warned = [line for line in rig.stop(process) if line["level"] == "warning"]
    assert [line["listen"] for line in warned] == [f"0.0.0.0:{port}"]
    assert "TLS" in warned[0]["event"]
