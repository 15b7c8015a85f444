"""``fleetctl`` as a process, against a real server on a unix socket with a controller in memory behind it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import web

from fleetd.api import auth
from fleetd.api.app import Api
from fleetd.api.auth import Caller
from fleetd.api.hooks import HookSpec
from fleetd.api.tokens import Tokens
from tests.fakes.control import FakeBlobs, FakeControl, FakeHistory, host_document, rollout_document

FLEETCTL = str(Path(sys.executable).parent / "fleetctl")


@dataclass(slots=True)
class Daemon:
    """What answers, and how to run the program against it."""

    control: FakeControl
    history: FakeHistory
    blobs: FakeBlobs
    hooks: dict[str, HookSpec]
    runner: web.AppRunner
    socket: Path

    async def start(self, *words: str, prefix: tuple[str, ...] = ()) -> asyncio.subprocess.Process:
        """Start it, with pipes."""
        argv = (*prefix, FLEETCTL, "--server", f"unix:{self.socket}", *words)
        pipe = asyncio.subprocess.PIPE
        return await asyncio.create_subprocess_exec(*argv, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe)

    async def run(self, *words: str, prefix: tuple[str, ...] = ()) -> tuple[int, str, str]:
        """Run it to its end; returns its exit code and what it said."""
        process = await self.start(*words, prefix=prefix)
        out, err = await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode is not None
        return process.returncode, out.decode(), err.decode()


@pytest_asyncio.fixture
async def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Daemon]:
    """A daemon that knows one rollout."""
    for name in ("FLEETD_SERVER", "FLEETD_TOKEN_FILE", "FLEETD_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(auth, "peer_of", lambda _uid, _gid: Caller("kim", ("admin",)))
    control, history, blobs = FakeControl(), FakeHistory(), FakeBlobs()
    hooks: dict[str, HookSpec] = {}
    history.add(rollout_document("r-1"), host_document("web1"))
    runner = web.AppRunner(Api(control, history, Tokens(tmp_path), hooks, blobs).application(), access_log=None)
    await runner.setup()
    await web.UnixSite(runner, str(tmp_path / "s")).start()
    yield Daemon(control, history, blobs, hooks, runner, tmp_path / "s")
    await runner.cleanup()
