"""Every way a request can go wrong, answered as problem+json; and the bounded reading of bodies."""

from __future__ import annotations

import asyncio
import json
import traceback
from collections.abc import Awaitable, Callable

import structlog
from aiohttp import web

from fleetd.errors import ConfigError, FleetdError, ForbiddenError, UnauthorizedError, UsageError
from fleetd.schema.http import problem
from fleetd.schema.problems import Table, read_table

BODY_LIMIT_BYTES = 1024 * 1024
BODY_TIMEOUT_S = 30.0
"""For a whole body. A sender that drips bytes must not hold a connection for ever."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_KINDS = {404: "not-found", 405: "method-not-allowed", 413: "too-large"}


class BadJson(UsageError):
    """The body is not JSON."""

    kind = "bad-json"


class RefNotAllowed(ForbiddenError):
    """This hook does not deploy that ref."""

    kind = "ref-not-allowed"


class TooLarge(UsageError):
    """The body is larger than any request of ours."""

    kind = "too-large"
    http_status = 413


class Gone(UsageError):
    """What is asked for is kept no more."""

    kind = "gone"
    http_status = 410


class TooSlow(UsageError):
    """The body did not arrive in time."""

    kind = "too-slow"
    http_status = 408


@web.middleware
async def errors_as_problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn whatever a handler raises into a problem document: the boundary at which every error ends."""
    try:
        return await handler(request)
    except FleetdError as error:
        return answer(error)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        wrong = UsageError(f"{request.method} {request.path}: {error.reason}")
        wrong.http_status = error.status
        wrong.kind = _KINDS.get(error.status, "http")
        return answer(wrong, {name: error.headers[name] for name in ("Allow",) if name in error.headers})
    except Exception:
        # The last line of defence: the caller is told nothing of the inside. The log gets the traceback as text, which
        # unlike a drawn one never shows local variables, where tokens and secrets are.
        text = traceback.format_exc()
        structlog.get_logger().error("request failed", method=request.method, path=request.path, traceback=text)
        return answer(FleetdError("an error inside fleetd; its log has the details"))


def answer(error: FleetdError, headers: dict[str, str] | None = None) -> web.Response:
    """Return the response that tells an error."""
    sent = dict(headers or {})
    if error.http_status == 503:
        sent["Retry-After"] = "1"
    if isinstance(error, UnauthorizedError):
        sent["WWW-Authenticate"] = 'Bearer realm="fleetd"'
    return web.json_response(
        problem(error), status=error.http_status, content_type="application/problem+json", headers=sent
    )


async def read_body(request: web.Request) -> bytes:
    """Return the raw body. Raises TooLarge, TooSlow, UsageError."""
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            return await request.read()
    except web.HTTPRequestEntityTooLarge as error:
        raise TooLarge(f"a body has at most {BODY_LIMIT_BYTES} bytes") from error
    except TimeoutError as error:
        raise TooSlow(f"the body did not arrive within {BODY_TIMEOUT_S:.0f} s") from error
    except (web.RequestPayloadError, ConnectionError) as error:
        # The sender's doing, and open to anybody at a hook: no line in the log.
        raise UsageError("the body cannot be read: it was cut, or is not encoded as its head says") from error


def parse_json(raw: bytes) -> object:
    """Return the document. Raises BadJson, also for bytes that are not UTF-8 and for nesting without end."""
    try:
        return json.loads(raw)
    except (ValueError, RecursionError) as error:
        text = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise BadJson(f"the body is not JSON: {text}") from error


async def read_model(request: web.Request, model: type[Table]) -> Table:
    """Return the checked body; no body at all is an empty object. Raises UsageError and its kinds."""
    raw = await read_body(request)
    table = parse_json(raw) if raw else {}
    if not isinstance(table, dict):
        raise UsageError("the body must be a JSON object")
    try:
        return read_table(model, table, "body")
    except ConfigError as error:
        raise UsageError(str(error)) from error
