"""Hooks as they are run, on this machine and over ssh; what is left of an earlier run is ended."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from pathlib import Path

import asyncssh
import pytest

from fleetd.clock import SystemClock
from fleetd.errors import OutcomeUnknown
from fleetd.host.hooks import HookCommands
from fleetd.host.port import SshHosts
from fleetd.model.fleet import Host
from fleetd.model.hook import Hook, OnHookFailure, When, Where
from fleetd.model.program import ProgramEnd
from fleetd.process import MARK, end_marked
from tests.fakes.ssh_server import Process, SshServer

HOST = Host("web1", ("10.0.0.11",), port=2222)
ABOUT = {"FLEETD_HOST": "web1", "FLEETD_STATE": "copied; touch /tmp/owned"}
CONTACT_S = 20.0


def hook(*command: str, timeout_s: float = 30.0) -> Hook:
    return Hook("drain", "*", When.BEFORE, Where.CONTROLLER, command, timeout_s, OnHookFailure.FAIL)


def hosts_of(server: SshServer) -> SshHosts:
    return SshHosts(server.identity(), SystemClock(), lambda _name: None)


async def here(*command: str, owner: str = "state", timeout_s: float = 30.0) -> ProgramEnd:
    nobody = hosts_of  # no host is asked
    runner = HookCommands(nobody, owner)  # type: ignore[arg-type]
    return await runner.on_controller(hook(*command, timeout_s=timeout_s), HOST, ABOUT, alone="r-1/web1")


class ShellServer(SshServer):
    """A host that really runs what it is told, as sshd does."""

    async def _process(self, process: Process) -> None:
        self.commands.append(process.command or "")
        child = await asyncio.create_subprocess_shell(
            process.command or "",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        out, problem = await child.communicate()
        try:
            process.stdout.write(out)
            process.stderr.write(problem)
            process.exit(child.returncode or 0)
        except (asyncssh.Error, OSError):
            return


async def there(server: SshServer, *command: str, timeout_s: float = 30.0, contact_s: float = CONTACT_S) -> ProgramEnd:
    hosts = hosts_of(server)
    try:
        runner = HookCommands(hosts, str(server.directory))
        run = hook(*command, timeout_s=timeout_s)
        return await runner.on_host(run, server.host(), ABOUT, alone="r-1/web1", contact_s=contact_s)
    finally:
        await hosts.close()


def left_running(mark: str, *argv: str) -> subprocess.Popen[bytes]:
    """Start what a controller that was killed left behind, in a session of its own."""
    return subprocess.Popen(argv, env={**os.environ, MARK: mark}, start_new_session=True)


@pytest.mark.asyncio
async def test_a_hook_gets_its_host_in_its_words_and_in_its_environment_and_no_shell_reads_either() -> None:
    end = await here("sh", "-c", 'echo "$1 $FLEETD_HOST $FLEETD_STATE"', "sh", "{name} {address} {port}; id")
    assert end == ProgramEnd(True, "sh ended with 0", "web1 10.0.0.11 2222; id web1 copied; touch /tmp/owned")


@pytest.mark.asyncio
async def test_one_that_fails_or_hangs_or_is_not_there_is_told(tmp_path: Path) -> None:
    assert (await here("sh", "-c", "echo no; exit 3")) == ProgramEnd(False, "sh ended with 3", "no")
    assert (await here("sleep", "60", timeout_s=0.5)).said == "sleep did not end within 0.5s"
    assert (await here(str(tmp_path / "drain"))).said == "drain cannot be started: No such file or directory"


@pytest.mark.asyncio
async def test_what_is_left_of_an_earlier_run_is_ended_before_the_next_one_begins() -> None:
    mine = left_running("one#r-1/web1", "sleep", "600")
    others = [left_running(mark, "sleep", "600") for mark in ("one#r-1/web11", "two#r-1/web1")]
    try:
        assert (await here("true", owner="one")).well
        assert mine.wait(20) == -signal.SIGKILL
        assert [other.poll() for other in others] == [None, None]
    finally:
        for other in (mine, *others):
            other.kill()
            other.wait()


def test_nothing_is_ended_where_nothing_is_marked() -> None:
    assert end_marked(f"none#{time.time()}") == 0


@pytest.mark.asyncio
async def test_on_a_host_it_runs_as_written_and_its_words_are_its_own(tmp_path: Path) -> None:
    async with ShellServer(tmp_path) as server:
        end = await there(server, "sh", "-c", 'echo "$0 $1 $FLEETD_HOST $FLEETD_STATE"', "a b", "$(id) {name}")
        assert end == ProgramEnd(True, "sh ended with 0", "a b $(id) web1 web1 copied; touch /tmp/owned")
        assert (await there(server, "sh", "-c", "echo no >&2; exit 3")) == ProgramEnd(False, "sh ended with 3", "no")


@pytest.mark.asyncio
async def test_on_a_host_its_time_is_kept_there(tmp_path: Path) -> None:
    async with ShellServer(tmp_path) as server:
        end = await there(server, "sleep", "600", timeout_s=1.0)
        assert (end.well, end.said) == (False, "sleep did not end within 1s")


@pytest.mark.asyncio
async def test_on_a_host_too_what_is_left_of_an_earlier_run_is_ended(tmp_path: Path) -> None:
    async with ShellServer(tmp_path) as server:
        mine, other = (left_running(f"{tmp_path}#r-1/{host}", "sleep", "600") for host in ("web1", "web11"))
        try:
            assert (await there(server, "true")).well
            assert mine.wait(20) == -signal.SIGKILL
            assert other.poll() is None
        finally:
            for one in (mine, other):
                one.kill()
                one.wait()


@pytest.mark.asyncio
async def test_a_link_that_is_lost_leaves_it_unknown(tmp_path: Path) -> None:
    class Cut(SshServer):
        async def _process(self, process: Process) -> None:
            process.get_extra_info("connection").abort()

    async with Cut(tmp_path) as server:
        with pytest.raises(OutcomeUnknown):
            await there(server, "drain")
