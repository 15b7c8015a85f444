"""Events as a stream: live, without a gap, from where the last one broke, and ended when the daemon ends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from fleetd.api import stream
from fleetd.controller.commands import Figures
from fleetd.ports import Record
from tests.api.conftest import Served
from tests.fakes.control import record

STREAM = {"Accept": "text/event-stream"}
ENOUGH_S = 20


@asynccontextmanager
async def streaming(served: Served, query: str = "", **headers: str) -> AsyncIterator[aiohttp.ClientResponse]:
    sent = {**STREAM, "Authorization": f"Bearer {served.tokens['read']}", **headers}
    async with served.tcp.get(f"/v1/events{query}", headers=sent) as response:
        yield response


async def take(response: aiohttp.ClientResponse, count: int) -> list[dict[str, str]]:
    """Return the next events, as fields."""
    found: list[dict[str, str]] = []
    while len(found) < count:
        block = await asyncio.wait_for(response.content.readuntil(b"\n\n"), ENOUGH_S)
        fields = dict(line.split(": ", 1) for line in block.decode().splitlines() if line[:1] not in (":", ""))
        if "id" in fields:
            found.append(fields)
    return found


def add(served: Served, *records: Record) -> None:
    served.history.records.extend(records)
    served.control.seq = served.history.records[-1].seq


@pytest.mark.asyncio
async def test_what_happens_comes_at_once_and_in_order(served: Served) -> None:
    add(served, *(record(n) for n in range(1, 4)))
    async with streaming(served) as response:
        assert response.headers["Content-Type"] == "text/event-stream"
        for n in range(4, 8):
            add(served, record(n))
            (event,) = await take(response, 1)
            assert (event["id"], event["event"]) == (str(n), "trial-intended")
            assert json.loads(event["data"])["seq"] == n


@pytest.mark.asyncio
@pytest.mark.parametrize(("query", "headers"), [("?after=2", {}), ("", {"Last-Event-ID": "2"})])
async def test_a_stream_goes_on_where_the_last_one_broke(served: Served, query: str, headers: dict[str, str]) -> None:
    add(served, *(record(n) for n in range(1, 502)))
    async with streaming(served, query, **headers) as response:
        assert [int(event["id"]) for event in await take(response, 499)] == list(range(3, 502))
        add(served, record(502))
        assert [event["id"] for event in await take(response, 1)] == ["502"]


@pytest.mark.asyncio
async def test_a_filter_leaves_out_and_loses_nothing(served: Served) -> None:
    other = [Record(n, 1, 0.0, "r-2", "db1", "odd", 1, {}) for n in range(2, 500)]
    add(served, record(1), *other)
    async with streaming(served, "?after=0&host=web1") as response:
        assert [event["id"] for event in await take(response, 1)] == ["1"]
        add(served, Record(500, 1, 0.0, "r-2", "db1", "odd", 1, {}), record(501))
        assert [event["id"] for event in await take(response, 1)] == ["501"]
    _status, page, _headers = await served.ask("GET", "/v1/events?rollout=r-2&after=498")
    assert [event["seq"] for event in page["events"]] == [499, 500]


@pytest.mark.asyncio
async def test_what_is_kept_no_more_or_was_never_there_is_gone(served: Served) -> None:
    add(served, *(record(n) for n in range(100, 110)))
    for after, status in ((0, 200), (98, 410), (99, 200), (109, 200), (110, 410)):
        assert (await served.ask("GET", f"/v1/events?after={after}"))[0] == status
        async with streaming(served, **{"Last-Event-ID": str(after)}) as response:
            assert response.status == status
            if status == 410:
                assert (await response.json(content_type=None))["kind"] == "gone"
    async with streaming(served, **{"Last-Event-ID": "x"}) as response:
        assert response.status == 400


@pytest.mark.asyncio
async def test_silence_is_filled_and_streams_are_counted(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "HEARTBEAT_S", 0.1)
    monkeypatch.setattr(stream, "STREAMS_LIMIT", 1)
    async with streaming(served) as response:
        await asyncio.wait_for(response.content.readuntil(b": still here\n\n"), ENOUGH_S)
        async with streaming(served) as second:
            assert second.status == 503
    for _ in range(200):
        async with streaming(served) as again:
            if again.status == 200:
                break
        await asyncio.sleep(0.05)
    else:
        raise AssertionError("the place of a stream that ended is never free again")


@pytest.mark.asyncio
async def test_the_end_of_the_daemon_ends_its_streams(served: Served) -> None:
    async with streaming(served) as response:
        assert response.status == 200
        await served.application.shutdown()
        await asyncio.wait_for(response.content.read(), ENOUGH_S)


@pytest.mark.asyncio
async def test_figures_are_there_for_dashboards(served: Served) -> None:
    status, text, headers = await served.ask("GET", "/metrics")
    assert (status, headers["Content-Type"].split(";")[0]) == (200, "text/plain")
    lines = text.splitlines()
    assert 'fleetd_hosts{state="idle"} 2.0' in lines
    assert 'fleetd_rollouts{phase="rolling"} 1.0' in lines
    assert "fleetd_unproven_hosts 1.0" in lines
    # Each figure has its line: one that is added and not shown is a mistake.
    assert len([line for line in lines if line.startswith("# TYPE fleetd_")]) == len(Figures.__slots__) + 1
