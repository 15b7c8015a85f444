"""``GET /v1/events``: the journal by number, as pages or as a stream that goes on from where the last one broke."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping, Sequence

from aiohttp import web

from fleetd.api.problems import Gone
from fleetd.api.routes import SEQ_PATTERN
from fleetd.controller.commands import Control
from fleetd.errors import OverloadedError, UsageError
from fleetd.ports import History, Record
from fleetd.rollout.documents import instant
from fleetd.rollout.stored import BASELINE

PAGE = 200
STREAMS_LIMIT = 50
"""Streams at once: each asks the database whenever something happens."""

HEARTBEAT_S = 15.0
"""A line of nothing, so that proxies keep the stream open and a reader that is gone is noticed."""

WRITE_TIMEOUT_S = 30.0
"""A reader that takes nothing for this long is let go; it comes back with ``Last-Event-ID``."""

RETRY_MS = 2000


class Events:
    """Serves records of the journal; ``close`` ends the streams that are open."""

    def __init__(self, control: Control, history: History) -> None:
        self._control = control
        self._history = history
        self._open = 0
        self._closing = asyncio.Event()

    async def close(self, _application: web.Application) -> None:
        """End every stream, so that stopping waits for none."""
        self._closing.set()

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Answer with a page, or with a stream where that is what the caller accepts. Raises Gone, UsageError."""
        if "text/event-stream" in request.headers.get("Accept", ""):
            return await self._stream(request)
        after = int(request.query.get("after", "0"))
        await self._check(after)
        found = await self._page(request, after)
        events = [event_document(record) for record in found]
        return web.json_response({"events": events, "next": found[-1].seq if found else after})

    async def _page(self, request: web.Request, after: int) -> Sequence[Record]:
        query = request.query
        return await self._history.events(
            after=after, limit=PAGE, rollout=query.get("rollout", ""), host=query.get("host", "")
        )

    async def _check(self, after: int) -> None:
        oldest = await self._history.oldest()
        if after + 1 < oldest and after > 0:
            raise Gone(f"events up to {oldest - 1} are kept no more; read the present state, and go on after that")
        head = await self._history.head()
        if after > head:
            raise Gone(f"the newest event is {head}: {after} is of another journal, or of one before it was restored")

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        after = await self._start(request)
        if self._open >= STREAMS_LIMIT:
            raise OverloadedError(f"{STREAMS_LIMIT} streams are open already; try again later, or poll")
        headers = {"Content-Type": "text/event-stream", "Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        response = web.StreamResponse(headers=headers)
        self._open += 1
        try:
            await response.prepare(request)
            await _write(response, f"retry: {RETRY_MS}\n\n")
            await self._follow(request, response, after)
        except (TimeoutError, ConnectionError):
            # The reader is gone or stuck; what it has not seen it can ask for again.
            response.force_close()
        finally:
            self._open -= 1
        return response

    async def _start(self, request: web.Request) -> int:
        """Return after which number a stream begins: what the reader saw last, or now. Raises Gone, UsageError."""
        seen = request.headers.get("Last-Event-ID") or request.query.get("after")
        if seen is None:
            return await self._history.head()
        if re.fullmatch(SEQ_PATTERN, seen) is None:
            raise UsageError(f"Last-Event-ID {seen!r:.80} is no sequence number")
        await self._check(int(seen))
        return int(seen)

    async def _follow(self, request: web.Request, response: web.StreamResponse, after: int) -> None:
        closing = asyncio.create_task(self._closing.wait(), name="stream closing")
        try:
            while not closing.done():
                # Asked before the page is read: up to here the page leaves nothing out.
                head = await self._history.head()
                page = await self._page(request, after)
                for record in page:
                    await _write(response, _event_text(record))
                if len(page) == PAGE:
                    after = page[-1].seq
                    continue
                after = max(after, head, page[-1].seq if page else 0)
                changed = asyncio.create_task(self._control.changed(after, HEARTBEAT_S), name="stream waiting")
                await asyncio.wait({changed, closing}, return_when=asyncio.FIRST_COMPLETED)
                if not changed.done():
                    changed.cancel()
                elif not changed.result():
                    await _write(response, ": still here\n\n")
        finally:
            closing.cancel()


def event_document(record: Record) -> Mapping[str, object]:
    """Return a record as the API shows it."""
    return {
        "seq": record.seq,
        "at": instant(record.at),
        "rollout": record.rollout,
        "host": record.host,
        "kind": record.kind,
        # A baseline is the journal's own: as large as the fleet, and told by other documents.
        "data": {} if record.kind == BASELINE else record.data,
    }


def _event_text(record: Record) -> str:
    # JSON has no line break outside of its texts, and none inside of them.
    return f"id: {record.seq}\nevent: {record.kind}\ndata: {json.dumps(event_document(record))}\n\n"


async def _write(response: web.StreamResponse, text: str) -> None:
    async with asyncio.timeout(WRITE_TIMEOUT_S):
        await response.write(text.encode())
