"""An application on loopback TCP and on a unix socket, in front of a controller in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest_asyncio
from aiohttp import web

from fleetd.api.app import Api, HookSpec
from fleetd.api.tokens import SCOPES, Tokens
from tests.fakes.control import FakeBlobs, FakeControl, FakeHistory

SECRET = b"It's a Secret to Everybody"
STANDARD = b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
MAIN = ("refs/heads/main",)
HOOKS = {
    "hub": HookSpec("github", "signature", (b"the newer one", SECRET), MAIN, "default", ""),
    "tea": HookSpec("gitea", "signature", (SECRET,), MAIN, "default", ""),
    "forge": HookSpec("forgejo", "signature", (SECRET,), MAIN, "default", ""),
    "lab-token": HookSpec("gitlab", "token", (SECRET,), MAIN, "default", ""),
    "lab": HookSpec("gitlab", "signature", (STANDARD,), MAIN, "default", ""),
    "ci": HookSpec("bearer", "token", (SECRET,), (), "careful", "@staging"),
    "std": HookSpec("standard", "signature", (STANDARD,), (), "default", ""),
    "any-ref": HookSpec("github", "signature", (SECRET,), (), "default", ""),
}


@dataclass(slots=True)
class Served:
    """A running API and how to ask it."""

    control: FakeControl
    history: FakeHistory
    blobs: FakeBlobs
    application: web.Application
    tokens: Mapping[str, str]
    tcp: aiohttp.ClientSession
    unix: aiohttp.ClientSession
    port: int

    async def ask(
        self, method: str, path: str, *, scope: str | None = "admin", **more: Any
    ) -> tuple[int, Any, Mapping[str, str]]:
        """Ask over TCP with a token of that scope; returns status, document, headers."""
        headers = {**more.pop("headers", {})}
        if scope is not None:
            headers["Authorization"] = f"Bearer {self.tokens.get(scope, scope)}"
        async with self.tcp.request(method, path, headers=headers, **more) as response:
            is_json = "json" in response.headers.get("Content-Type", "")
            return response.status, await (response.json() if is_json else response.text()), response.headers


@pytest_asyncio.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    tokens = Tokens(tmp_path)
    made = {scope: tokens.create(f"the {scope} one", (scope,), 3600) for scope in SCOPES}
    made["expired"] = tokens.create("old", ("admin",), -1)
    control, history, blobs = FakeControl(), FakeHistory(), FakeBlobs()
    application = Api(control, history, tokens, HOOKS, blobs).application()
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    await web.UnixSite(runner, str(tmp_path / "s")).start()
    port = next(address[1] for address in runner.addresses if isinstance(address, tuple))
    timeout = aiohttp.ClientTimeout(total=20)
    connector = aiohttp.UnixConnector(str(tmp_path / "s"))
    async with (
        aiohttp.ClientSession(f"http://127.0.0.1:{port}", timeout=timeout) as tcp,
        aiohttp.ClientSession("http://fleetd", connector=connector, timeout=timeout) as unix,
    ):
        yield Served(control, history, blobs, application, made, tcp, unix, port)
    await runner.cleanup()
