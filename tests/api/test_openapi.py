"""The OpenAPI document holds: requests made up from it, right ones and wrong ones, against a real server."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from aiohttp import web
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    ignored_auth,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from fleetd.api.app import Api
from fleetd.api.openapi import document
from fleetd.api.routes import ROUTES
from fleetd.api.tokens import Tokens
from tests.api.conftest import HOOKS
from tests.fakes.control import FakeBlobs, FakeControl, FakeHistory, host_document, record, rollout_document

CHECKS = [
    schemathesis.checks.not_a_server_error,
    content_type_conformance,
    ignored_auth,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
]
SCHEMA = schemathesis.openapi.from_dict(dict(document()))
"""Hooks are left to tests of their own: a delivery that is not signed is 401 whatever it holds."""

API = SCHEMA.exclude(path="/v1/hooks/{name}")


class Server:
    """The API in a thread of its own, so that plain blocking clients can ask it."""

    def __init__(self, directory: Path) -> None:
        tokens = Tokens(directory)
        self.token = tokens.create("test", ("admin",), None)
        history = FakeHistory()
        history.add(rollout_document("r-1"), host_document("web1"))
        history.records = [record(n) for n in range(1, 4)]
        self._application = Api(FakeControl(), history, tokens, HOOKS, FakeBlobs()).application()
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.port = 0
        self._thread.start()
        assert self._ready.wait(30)

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        runner = web.AppRunner(self._application, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.port = runner.addresses[0][1]
        self._ready.set()
        await self._stop.wait()
        await runner.cleanup()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(30)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("api"))
    yield made
    made.close()


@API.parametrize()
@settings(
    max_examples=int(os.environ.get("FLEETD_REQUESTS", "25")),
    # As with the helper's sequences: a change is judged by itself, and a number of your own explores.
    derandomize="FLEETD_REQUESTS" not in os.environ,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    database=None,
)
def test_the_api_is_as_described(case: Any, server: Server) -> None:
    headers = {"Authorization": f"Bearer {server.token}"}
    case.call_and_validate(base_url=f"http://127.0.0.1:{server.port}", headers=headers, checks=CHECKS)


def test_every_route_is_described() -> None:
    described = {(method.upper(), path) for path, item in document()["paths"].items() for method in item}
    assert described == {(route.method, route.path) for route in ROUTES}
