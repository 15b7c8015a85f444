"""The http check from the controller, against a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web

from fleetd.clock import SystemClock
from fleetd.host.connection import SshIdentity
from fleetd.host.port import SshHosts
from fleetd.model.check import Check, CheckOutcome, HttpCheck
from fleetd.model.fleet import Host
from fleetd.ports import ProbeRequest
from fleetd.probes.rounds import Probes

HOST = Host("web1", ("127.0.0.1",))


async def in_pieces(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    for piece in (b"<html>", b"all is ", b"well</html>"):
        await response.write(piece)
        await asyncio.sleep(0.05)
    return response


async def for_ever(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b"more and ")
        await asyncio.sleep(0.05)


async def elsewhere(_request: web.Request) -> web.StreamResponse:
    raise web.HTTPFound("/pieces")


@pytest_asyncio.fixture
async def port() -> AsyncIterator[int]:
    application = web.Application()
    application.router.add_get("/pieces", in_pieces)
    application.router.add_get("/ever", for_ever)
    application.router.add_get("/elsewhere", elsewhere)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield runner.addresses[0][1]
    await runner.cleanup()


NO_HOSTS = SshHosts(SshIdentity((), None), SystemClock(), lambda _name: None)
"""Nobody is logged in to."""


async def ask(port: int, path: str, **words: Any) -> tuple[CheckOutcome, str]:
    probes = Probes(NO_HOSTS)
    check = Check("web", "*", HttpCheck(f"http://{{address}}:{port}{path}", **words), timeout_s=1.0)
    try:
        (result,) = await probes.round(HOST, ProbeRequest((check,), (), None, None))
    finally:
        await probes.close()
    return result.outcome, result.text


@pytest.mark.asyncio
async def test_a_page_that_comes_in_pieces_is_read_to_its_end(port: int) -> None:
    assert (await ask(port, "/pieces", contains="well</html>"))[0] is CheckOutcome.PASS


@pytest.mark.asyncio
async def test_a_page_without_the_word_fails(port: int) -> None:
    outcome, text = await ask(port, "/pieces", contains="ill")
    assert outcome is CheckOutcome.FAIL
    assert "does not contain 'ill'" in text


@pytest.mark.asyncio
async def test_a_page_without_end_fails_in_time(port: int) -> None:
    assert await ask(port, "/ever") == (CheckOutcome.FAIL, "no answer within 1 s")


@pytest.mark.asyncio
async def test_a_redirection_is_an_answer_of_its_own(port: int) -> None:
    outcome, text = await ask(port, "/elsewhere")
    assert (outcome, text) == (CheckOutcome.FAIL, "answered 302, expected 200")


@pytest.mark.asyncio
async def test_nobody_there_is_a_failure(unused_tcp_port: int) -> None:
    assert (await ask(unused_tcp_port, "/"))[0] is CheckOutcome.FAIL


def looking(port: int, timeout_s: float = 10.0) -> ProbeRequest:
    """Return a round of one check."""
    return ProbeRequest(
        (Check("web", "*", HttpCheck(f"http://{{address}}:{port}/"), timeout_s=timeout_s),), (), None, None
    )


@asynccontextmanager
async def serving(*, answers: bool) -> AsyncIterator[asyncio.Server]:
    """Serve connections that stay open for the next question; without ``answers`` nobody learns anything there."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            if answers and line == b"\r\n":
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nwell")
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    try:
        yield server
    finally:
        server.close()


def port_of(server: asyncio.Server) -> int:
    return int(server.sockets[0].getsockname()[1])


@pytest_asyncio.fixture
async def probes() -> AsyncIterator[Probes]:
    made = Probes(NO_HOSTS)
    yield made
    await made.close()


@pytest.mark.asyncio
async def test_each_look_is_a_connection_of_its_own(probes: Probes) -> None:
    """What was connected before the switch may go on; whoever comes now is what counts."""
    async with serving(answers=True) as server:
        request = looking(port_of(server))
        assert [result.outcome for result in await probes.round(HOST, request)] == [CheckOutcome.PASS]
        server.close()
        assert [result.outcome for result in await probes.round(HOST, request)] == [CheckOutcome.FAIL]


@pytest.mark.asyncio
async def test_hosts_that_hang_do_not_keep_others_from_being_asked(probes: Probes) -> None:
    async with serving(answers=False) as silent, serving(answers=True) as good:
        hanging = [asyncio.create_task(probes.round(HOST, looking(port_of(silent), 60.0))) for _ in range(150)]
        await asyncio.sleep(0.5)
        (result,) = await probes.round(HOST, looking(port_of(good)))
        for task in hanging:
            task.cancel()
        await asyncio.gather(*hanging, return_exceptions=True)
    assert result.outcome is CheckOutcome.PASS
