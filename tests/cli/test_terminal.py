"""``fleetctl`` on a terminal, a real one: the question before a deploy, the view that stays in place, and ^C."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import re
import struct
import termios
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from tests.cli.conftest import FLEETCTL, Daemon
from tests.fakes.control import host_document, rollout_document

PATIENCE_S = 30.0
COLUMNS, LINES = 100, 30
INTERRUPT = b"\x03"
"""What ^C types; it is the terminal that makes a signal of it."""

STEERING = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
CURSOR_UP = "\x1b[1A"


class Screen:
    """A program on a terminal of its own: what it has written, and what is typed."""

    def __init__(self, master: int, process: asyncio.subprocess.Process) -> None:
        self._master = master
        self._process = process
        self.raw = ""

    @property
    def text(self) -> str:
        """What it has written, without what steers the terminal."""
        return STEERING.sub("", self.raw)

    def type(self, keys: bytes) -> None:
        """Type, as a person does."""
        os.write(self._master, keys)

    def read(self) -> None:
        """Take what has been written since."""
        try:
            self.raw += os.read(self._master, 65536).decode()
        except BlockingIOError:
            return
        except OSError:  # Linux tells so that nobody has the other end open any more
            return

    async def until(self, true: Callable[[], bool]) -> None:
        """Wait until something is so."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not true():
                    self.read()
                    await asyncio.sleep(0.02)
        except TimeoutError:
            pytest.fail(f"it did not come to that: {self.raw!r}")

    async def end(self) -> int:
        """Wait for the end, and return the exit code."""
        await self.until(lambda: self._process.returncode is not None)
        self.read()
        assert self._process.returncode is not None
        return self._process.returncode


@asynccontextmanager
async def on_terminal(daemon: Daemon, *words: str) -> AsyncIterator[Screen]:
    """Run it with a terminal that controls it, so that ^C reaches it."""
    master, slave = pty.openpty()
    os.set_blocking(master, False)
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    argv = ("setsid", "--ctty", FLEETCTL, "--server", f"unix:{daemon.socket}", *words)
    env = {**os.environ, "TERM": "xterm-256color"}
    process = await asyncio.create_subprocess_exec(*argv, stdin=slave, stdout=slave, stderr=slave, env=env)
    os.close(slave)
    try:
        yield Screen(master, process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        os.close(master)


@pytest.mark.asyncio
async def test_a_plan_is_shown_and_a_yes_deploys(daemon: Daemon) -> None:
    daemon.history.add(rollout_document("r-1", "succeeded", counts={"committed": 1}), host_document("web1"))
    async with on_terminal(daemon, "deploy", "v2") as screen:
        await screen.until(lambda: "go on? [y/N]" in screen.text)
        assert "canary" in screen.text
        assert "web1" in screen.text
        assert daemon.control.commands == [], "nothing was asked for yet"
        screen.type(b"y\n")
        assert await screen.end() == 0
    assert len(daemon.control.commands) == 1
    assert daemon.control.plans[0].revision == "v2"


@pytest.mark.asyncio
@pytest.mark.parametrize(("keys", "code"), [(b"n\n", 1), (b"\n", 1), (INTERRUPT, 130)], ids=["n", "enter", "^C"])
async def test_anything_but_a_yes_deploys_nothing(daemon: Daemon, keys: bytes, code: int) -> None:
    async with on_terminal(daemon, "deploy", "v2") as screen:
        await screen.until(lambda: "go on? [y/N]" in screen.text)
        screen.type(keys)
        assert await screen.end() == code
    assert daemon.control.commands == []
    assert "Traceback" not in screen.text


@pytest.mark.asyncio
async def test_who_says_yes_beforehand_is_not_asked(daemon: Daemon) -> None:
    daemon.history.add(rollout_document("r-1", "succeeded", counts={"committed": 1}), host_document("web1"))
    async with on_terminal(daemon, "deploy", "v2", "--yes") as screen:
        assert await screen.end() == 0
    assert "go on?" not in screen.text
    assert (len(daemon.control.commands), daemon.control.plans) == (1, [])


@pytest.mark.asyncio
async def test_the_view_stays_in_place_and_ends_with_the_last_word(daemon: Daemon) -> None:
    daemon.history.add(rollout_document("r-1"), host_document("web1", "trial"))
    async with on_terminal(daemon, "watch", "r-1") as screen:
        await screen.until(lambda: "trial" in screen.text)
        begun = len(screen.raw)
        failed = host_document("web1", "reverted", reason="web answers: answered 500\nand more of it")
        daemon.history.add(rollout_document("r-1", "rolled-back", counts={"reverted": 1}), failed)
        assert await screen.end() == 2
        drawn = screen.raw[begun:]
    assert CURSOR_UP in drawn, "it is drawn over what was there"
    assert "rolled-back" in drawn
    assert "web answers: answered 500" in drawn
    assert "    and more of it" in drawn, "what has no room in a row is below"
    assert screen.raw.rindex("\x1b[?25h") > screen.raw.rindex("\x1b[?25l"), "the cursor is shown again"


@pytest.mark.asyncio
async def test_who_stops_watching_detaches_and_the_rollout_goes_on(daemon: Daemon) -> None:
    async with on_terminal(daemon, "watch", "r-1") as screen:
        await screen.until(lambda: "trial" in screen.text)
        screen.type(INTERRUPT)
        assert await screen.end() == 130
    assert "detached; r-1 goes on (fleetctl watch r-1, fleetctl abort r-1)" in screen.text
    assert "Traceback" not in screen.text
    assert screen.raw.rindex("\x1b[?25h") > screen.raw.rindex("\x1b[?25l")
    assert daemon.control.commands == []
