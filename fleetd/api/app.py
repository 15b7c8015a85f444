"""The routes of version 1."""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

from aiohttp import web

from fleetd.api.auth import Tokens, caller_of
from fleetd.controller.commands import (
    AbortRollout,
    Accepted,
    Command,
    Control,
    RollBackHosts,
    RollBackRollout,
    SubmitRollout,
)
from fleetd.errors import FleetdError, ForbiddenError, NotFoundError, UnauthorizedError, UsageError
from fleetd.model.goal import Goal
from fleetd.ports import History, Record
from fleetd.rollout.documents import instant
from fleetd.schema.http import ReasonBody, RollbackBody, RolloutBody, problem
from fleetd.schema.problems import Table, read_table
from fleetd.webhook.payloads import Ignore, delivery_key, read
from fleetd.webhook.signatures import is_genuine

BODY_LIMIT_BYTES = 1024 * 1024
PAGE = 200
OPEN_ROUTES = ("/v1/health", "/v1/ready")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


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


class HookSpec:
    """One configured webhook."""

    def __init__(
        self, provider: str, auth: str, secrets: Sequence[bytes], refs: Sequence[str], policy: str, on: str
    ) -> None:
        self.provider = provider
        self.auth = auth
        self.secrets = tuple(secrets)
        self.refs = tuple(refs)
        self.policy = policy
        self.on = on


class Api:
    """Handlers, with what they need."""

    def __init__(self, control: Control, history: History, tokens: Tokens, hooks: Mapping[str, HookSpec]) -> None:
        self._control = control
        self._history = history
        self._tokens = tokens
        self._hooks = hooks

    def application(self) -> web.Application:
        """Return the application with every route."""
        app = web.Application(client_max_size=BODY_LIMIT_BYTES, middlewares=[self._errors])
        app.router.add_get("/v1/health", self._health)
        app.router.add_get("/v1/ready", self._ready)
        for method, path, scope, handler in (
            ("GET", "/v1/fleet", "read", self._fleet),
            ("GET", "/v1/hosts", "read", self._hosts),
            ("GET", "/v1/hosts/{name}", "read", self._host),
            ("POST", "/v1/plan", "read", self._plan),
            ("POST", "/v1/rollouts", "deploy", self._submit),
            ("GET", "/v1/rollouts", "read", self._rollouts),
            ("GET", "/v1/rollouts/{id}", "read", self._rollout),
            ("GET", "/v1/rollouts/{id}/hosts", "read", self._rollout_hosts),
            ("POST", "/v1/rollouts/{id}/abort", "deploy", self._abort),
            ("POST", "/v1/rollouts/{id}/rollback", "deploy", self._rollback_rollout),
            ("POST", "/v1/rollback", "deploy", self._rollback),
            ("GET", "/v1/events", "read", self._events),
        ):
            app.router.add_route(method, path, self._guarded(scope, handler))
        app.router.add_post("/v1/hooks/{name}", self._hook)
        return app

    def _guarded(self, scope: str, handler: Handler) -> Handler:
        async def guarded(request: web.Request) -> web.StreamResponse:
            caller = caller_of(request, self._tokens)
            caller.require(scope)
            request["caller"] = caller.name
            return await handler(request)

        return guarded

    @staticmethod
    @web.middleware
    async def _errors(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except FleetdError as error:
            return _problem(error)
        except web.HTTPRequestEntityTooLarge:
            return _problem(TooLarge(f"at most {BODY_LIMIT_BYTES} bytes"))
        except web.HTTPException as error:
            if error.status < 400:
                raise
            wrong = UsageError(f"{request.method} {request.path}: {error.reason}")
            wrong.http_status = error.status
            wrong.kind = {404: "not-found", 405: "method-not-allowed"}.get(error.status, "http")
            return _problem(wrong)

    # -- reading --------------------------------------------------------------------------------------------------

    async def _health(self, _request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def _ready(self, _request: web.Request) -> web.Response:
        problems = list(self._control.problems())
        return web.json_response({"ready": not problems, "problems": problems}, status=503 if problems else 200)

    async def _fleet(self, _request: web.Request) -> web.Response:
        return web.json_response(await self._control.fleet())

    async def _hosts(self, request: web.Request) -> web.Response:
        found = await self._control.hosts(request.query.get("on", ""))
        state = request.query.get("state")
        shown = [host for host in found if state is None or host["state"] == state]
        return web.json_response({"hosts": shown, "next": None})

    async def _host(self, request: web.Request) -> web.Response:
        found = await self._control.hosts(request.match_info["name"])
        return web.json_response(found[0])

    async def _rollouts(self, request: web.Request) -> web.Response:
        found = await self._history.rollouts(before=request.query.get("cursor"), limit=PAGE)
        return web.json_response({"rollouts": list(found), "next": found[-1]["id"] if len(found) == PAGE else None})

    async def _rollout(self, request: web.Request) -> web.Response:
        return web.json_response(await self._known(request))

    async def _known(self, request: web.Request) -> Mapping[str, object]:
        found = await self._history.rollout(request.match_info["id"])
        if found is None:
            raise NotFoundError(f"there is no rollout {request.match_info['id']!r}")
        return found

    async def _rollout_hosts(self, request: web.Request) -> web.Response:
        await self._known(request)
        query = request.query
        found = await self._history.rollout_hosts(
            request.match_info["id"],
            state=query.get("state"),
            wave=query.get("wave"),
            after=query.get("cursor"),
            limit=PAGE,
        )
        return web.json_response({"hosts": list(found), "next": found[-1]["name"] if len(found) == PAGE else None})

    async def _events(self, request: web.Request) -> web.Response:
        after = request.query.get("after", "0")
        if not after.isdigit():
            raise UsageError(f"after={after!r} is no sequence number")
        found = await self._history.events(after=int(after), limit=PAGE)
        return web.json_response({"events": [_event(r) for r in found], "next": found[-1].seq if found else int(after)})

    # -- asking ---------------------------------------------------------------------------------------------------

    async def _plan(self, request: web.Request) -> web.Response:
        return web.json_response(await self._control.plan(_submit_of(await _body(request, RolloutBody), request)))

    async def _submit(self, request: web.Request) -> web.Response:
        return await self._accept(_submit_of(await _body(request, RolloutBody), request))

    async def _abort(self, request: web.Request) -> web.Response:
        body = await _body(request, ReasonBody)
        return await self._accept(AbortRollout(request.match_info["id"], request["caller"], body.reason))

    async def _rollback_rollout(self, request: web.Request) -> web.Response:
        body = await _body(request, ReasonBody)
        return await self._accept(RollBackRollout(request.match_info["id"], request["caller"], body.reason))

    async def _rollback(self, request: web.Request) -> web.Response:
        body = await _body(request, RollbackBody)
        key = request.headers.get("Idempotency-Key")
        return await self._accept(RollBackHosts(request["caller"], key, body.on, body.to, body.reason))

    async def _accept(self, command: Command) -> web.Response:
        return _accepted(await self._control.submit(command))

    async def _hook(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        hook = self._hooks.get(name)
        if hook is None:
            raise NotFoundError("there is no such hook")
        body = await request.read()
        headers = {key.lower(): value for key, value in request.headers.items()}
        if not is_genuine(hook.provider, hook.auth, hook.secrets, headers, body, time.time()):
            raise UnauthorizedError("the delivery is not signed as this hook demands")
        try:
            asked = read(hook.provider, headers, json.loads(body))
        except json.JSONDecodeError as error:
            raise BadJson(f"the body is not JSON: {error}") from error
        except ValueError as error:
            raise UsageError(str(error)) from error
        if isinstance(asked, Ignore):
            return web.json_response({"result": "ignored", "reason": asked.reason})
        if hook.refs and asked.ref not in hook.refs:
            raise RefNotAllowed(f"{asked.ref or 'no ref'} is not one of {', '.join(hook.refs)}")
        command = SubmitRollout(
            requested_by=f"hook {name}",
            key=delivery_key(name, headers, body),
            revision=asked.revision,
            toplevels=asked.toplevels,
            on=asked.on or hook.on,
            policy=hook.policy,
            reason=asked.reason,
        )
        return _accepted(await self._control.submit(command))


def _accepted(accepted: Accepted) -> web.Response:
    place = {"Location": f"/v1/rollouts/{accepted.rollout}"}
    return web.json_response(accepted.document, status=200 if accepted.repeated else 202, headers=place)


def _submit_of(body: RolloutBody, request: web.Request) -> SubmitRollout:
    try:
        goal = Goal(body.goal)
    except ValueError as error:
        raise UsageError(f"no goal {body.goal!r} (there are: {', '.join(Goal)})") from error
    key = request.headers.get("Idempotency-Key")
    return SubmitRollout(request["caller"], key, body.revision, body.toplevels, body.on, body.policy, goal, body.reason)


async def _body(request: web.Request, model: type[Table]) -> Table:
    raw = await request.read()
    try:
        table = json.loads(raw) if raw.strip() else {}
    except ValueError as error:
        raise BadJson(f"the body is not JSON: {error}") from error
    if not isinstance(table, dict):
        raise UsageError("the body must be a JSON object")
    return read_table(model, table, "body")


def _event(record: Record) -> Mapping[str, object]:
    return {
        "seq": record.seq,
        "at": instant(record.at),
        "rollout": record.rollout,
        "host": record.host,
        "kind": record.kind,
        "data": record.data,
    }


def _problem(error: FleetdError) -> web.Response:
    document = problem(error)
    headers = {"Retry-After": "1"} if error.http_status == 503 else {}
    return web.json_response(
        document, status=error.http_status, content_type="application/problem+json", headers=headers
    )
