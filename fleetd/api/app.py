"""The routes of version 1."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from aiohttp import web
from pydantic import BaseModel

from fleetd.api.auth import Tokens, caller_of
from fleetd.api.hooks import HookSpec, delivery_of
from fleetd.api.metrics import CONTENT_TYPE, text_of
from fleetd.api.openapi import document
from fleetd.api.problems import BODY_LIMIT_BYTES, Handler, errors_as_problems, read_model
from fleetd.api.routes import KEY_PATTERN, ROUTES, Route
from fleetd.api.stream import Events
from fleetd.controller.commands import (
    AbortRollout,
    Accepted,
    AdoptHost,
    ApproveWave,
    ClearHost,
    Command,
    Control,
    DenyWave,
    Document,
    FreezeFleet,
    LockHost,
    PauseRollout,
    PromoteRollout,
    RebootHosts,
    RequestKey,
    RestoreHost,
    ResumeRollout,
    RetryHost,
    RollBackHosts,
    RollBackRollout,
    SkipHost,
    SubmitRollout,
    UnfreezeFleet,
    UnlockHost,
    digest_of,
)
from fleetd.errors import NotFoundError, SelectorError, UsageError
from fleetd.model.goal import Goal
from fleetd.ports import Blobs, History, build_log_of
from fleetd.schema.http import DiffBody, HoldBody, ReasonBody, RebootBody, RollbackBody, RolloutBody
from fleetd.schema.problems import seconds
from fleetd.webhook.payloads import Ignore

__all__ = ["Api", "HookSpec"]

CALLER = web.RequestKey("caller", str)
"""Who the request comes from; set once it is known."""

PAGE = 200


ROLLOUT_VERBS: Mapping[str, Callable[[str, str, str], Command]] = {
    "pause": PauseRollout,
    "resume": ResumeRollout,
    "promote": PromoteRollout,
    "approve": ApproveWave,
    "deny": DenyWave,
}
HOST_VERBS: Mapping[str, Callable[[str, str, str, str], Command]] = {"retry": RetryHost, "skip": SkipHost}


class Api:
    """Handlers, with what they need."""

    def __init__(
        self, control: Control, history: History, tokens: Tokens, hooks: Mapping[str, HookSpec], blobs: Blobs
    ) -> None:
        self._blobs = blobs
        self._control = control
        self._history = history
        self._tokens = tokens
        self._hooks = hooks
        self._stream = Events(control, history)

    def application(self) -> web.Application:
        """Return the application with every route."""
        app = web.Application(client_max_size=BODY_LIMIT_BYTES, middlewares=[errors_as_problems])
        app.on_shutdown.append(self._stream.close)
        for route in ROUTES:
            handler: Handler = getattr(self, f"_{route.handler}")
            app.router.add_route(route.method, route.path, self._guarded(route, handler))
        return app

    def _guarded(self, route: Route, handler: Handler) -> Handler:
        """Return the handler behind the checks that every request of the route has to pass."""
        known = {query.name: query.pattern for query in route.query}

        async def guarded(request: web.Request) -> web.StreamResponse:
            if route.scope is not None and route.scope != "hook":
                caller = caller_of(request, self._tokens)
                caller.require(route.scope)
                request[CALLER] = caller.name
            if route.scope != "hook":
                _check_query(request, known)
            return await handler(request)

        return guarded

    # -- reading --------------------------------------------------------------------------------------------------

    async def _health(self, _request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def _ready(self, _request: web.Request) -> web.Response:
        problems = list(self._control.problems())
        return web.json_response({"ready": not problems, "problems": problems}, status=503 if problems else 200)

    async def _openapi(self, _request: web.Request) -> web.Response:
        return web.json_response(document())

    async def _fleet(self, _request: web.Request) -> web.Response:
        return web.json_response(await self._control.fleet())

    async def _hosts(self, request: web.Request) -> web.Response:
        query = request.query
        found = await self._control.hosts(
            query.get("on", ""), state=query.get("state"), after=query.get("cursor"), limit=PAGE
        )
        return web.json_response({"hosts": list(found), "next": found[-1]["name"] if len(found) == PAGE else None})

    async def _host(self, request: web.Request) -> web.Response:
        return web.json_response(await self._named(request.match_info["name"]))

    async def _named(self, name: str) -> Document:
        """Return the host of this name. Raises NotFoundError."""
        try:
            found = await self._control.hosts(name)
        except SelectorError as error:
            raise NotFoundError(f"there is no host {name!r}") from error
        # The name goes through a selector, in which ``*`` or ``@web`` mean others.
        for host in found:
            if host["name"] == name:
                return host
        raise NotFoundError(f"there is no host {name!r}")

    async def _rollouts(self, request: web.Request) -> web.Response:
        found = await self._history.rollouts(before=request.query.get("cursor"), limit=PAGE)
        return web.json_response({"rollouts": list(found), "next": found[-1]["id"] if len(found) == PAGE else None})

    async def _rollout(self, request: web.Request) -> web.Response:
        return web.json_response(await self._known(request))

    async def _known(self, request: web.Request) -> Mapping[str, object]:
        found = await self._history.rollout(request.match_info["id"])
        if found is None:
            raise self._control.missing(request.match_info["id"])
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

    async def _explain(self, request: web.Request) -> web.Response:
        return web.Response(text=await self._control.explain(request.match_info["id"]))

    async def _log(self, request: web.Request) -> web.Response:
        rollout, host = request.match_info["id"], request.match_info["name"]
        await self._known(request)
        is_build = request.query.get("of") == "build"
        # A name with a dot is no host's: it is one of another kind of log.
        kept = build_log_of(host) if is_build else host
        text = await self._blobs.get(rollout, kept) if "." not in host else None
        if text is None:
            why = "nothing was built for it" if is_build else "it was not switched there"
            raise NotFoundError(f"{rollout} has no log of {host!r}: {why}, or its log is kept no more")
        return web.Response(text=text)

    async def _progress(self, request: web.Request) -> web.Response:
        await self._known(request)
        return web.json_response(await self._control.progress(request.match_info["id"]))

    async def _events(self, request: web.Request) -> web.StreamResponse:
        return await self._stream.serve(request)

    async def _metrics(self, _request: web.Request) -> web.Response:
        return web.Response(body=text_of(self._control.figures()), headers={"Content-Type": CONTENT_TYPE})

    # -- asking ---------------------------------------------------------------------------------------------------

    async def _plan(self, request: web.Request) -> web.Response:
        body = await read_model(request, RolloutBody)
        if body.revision is not None:
            # What it names is fetched into the store here and evaluated: more than looking.
            caller_of(request, self._tokens).require("deploy")
        return web.json_response(await self._control.plan(_submit_of(body, request)))

    async def _diff(self, request: web.Request) -> web.Response:
        name, body = request.match_info["name"], await read_model(request, DiffBody)
        await self._named(name)
        toplevels = {name: body.toplevel} if body.toplevel is not None else {}
        asked = SubmitRollout(request[CALLER], revision=body.revision, toplevels=toplevels, on=name)
        return web.json_response(await self._control.difference(asked))

    async def _submit(self, request: web.Request) -> web.Response:
        return await self._accept(_submit_of(await read_model(request, RolloutBody), request))

    async def _abort(self, request: web.Request) -> web.Response:
        body = await read_model(request, ReasonBody)
        return await self._accept(AbortRollout(request.match_info["id"], request[CALLER], body.reason))

    async def _rollback_rollout(self, request: web.Request) -> web.Response:
        body = await read_model(request, ReasonBody)
        return await self._accept(RollBackRollout(request.match_info["id"], request[CALLER], body.reason))

    async def _verb(self, request: web.Request) -> web.Response:
        """A verb that is said to a running rollout, or to a host of it; its word is the last of the path."""
        body, about = await read_model(request, ReasonBody), request.match_info
        word, who = request.path.rpartition("/")[2], request[CALLER]
        if word in HOST_VERBS:
            return await self._accept(HOST_VERBS[word](about["id"], about["name"], who, body.reason))
        return await self._accept(ROLLOUT_VERBS[word](about["id"], who, body.reason))

    async def _clear(self, request: web.Request) -> web.Response:
        name, body = request.match_info["name"], await read_model(request, ReasonBody)
        await self._named(name)
        await self._control.submit(ClearHost(name, request[CALLER], body.reason))
        return web.json_response(await self._named(name), status=202)

    async def _adopt(self, request: web.Request) -> web.Response:
        name, body = request.match_info["name"], await read_model(request, ReasonBody)
        await self._named(name)
        await self._control.submit(AdoptHost(name, request[CALLER], body.reason))
        return web.json_response(await self._named(name), status=202)

    async def _restore(self, request: web.Request) -> web.Response:
        name, body = request.match_info["name"], await read_model(request, ReasonBody)
        await self._named(name)
        return await self._accept(RestoreHost(name, request[CALLER], _key(request, body), body.reason))

    async def _lock(self, request: web.Request) -> web.Response:
        name, body = request.match_info["name"], await read_model(request, HoldBody)
        await self._control.submit(LockHost(name, request[CALLER], body.reason, body.owner, _period(body)))
        return web.json_response(await self._named(name))

    async def _unlock(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        await self._control.submit(UnlockHost(name, request[CALLER], request.query.get("reason", "")))
        return web.json_response(await self._named(name))

    async def _freeze(self, _request: web.Request) -> web.Response:
        return web.json_response(self._control.freeze())

    async def _put_freeze(self, request: web.Request) -> web.Response:
        body = await read_model(request, HoldBody)
        await self._control.submit(FreezeFleet(request[CALLER], body.reason, body.owner, _period(body)))
        return web.json_response(self._control.freeze())

    async def _unfreeze(self, request: web.Request) -> web.Response:
        await self._control.submit(UnfreezeFleet(request[CALLER], request.query.get("reason", "")))
        return web.json_response(self._control.freeze())

    async def _rollback(self, request: web.Request) -> web.Response:
        body = await read_model(request, RollbackBody)
        key = _key(request, body)
        return await self._accept(RollBackHosts(request[CALLER], key, body.on, body.to, body.reason))

    async def _reboot(self, request: web.Request) -> web.Response:
        body = await read_model(request, RebootBody)
        key, caller = _key(request, body), request[CALLER]
        return await self._accept(RebootHosts(caller, key, body.on, body.policy, body.when_needed, body.reason))

    async def _accept(self, command: Command) -> web.Response:
        return _accepted(await self._control.submit(command))

    async def _hook(self, request: web.Request) -> web.Response:
        delivery = await delivery_of(request, self._hooks)
        if isinstance(delivery, Ignore):
            return web.json_response({"result": "ignored", "reason": delivery.reason})
        # A repeat is answered also when its hook allows less by now: it starts nothing.
        repeated = await self._control.repeat(delivery.key)
        return _accepted(repeated) if repeated is not None else await self._accept(delivery.command())


def _check_query(request: web.Request, known: Mapping[str, str | None]) -> None:
    """Raise UsageError. Passed over, a filter with a typo would show everything as if it were what was asked for."""
    for name, value in request.query.items():
        if name not in known:
            raise UsageError(f"unknown parameter {name!r:.80} (there are: {', '.join(known) or 'none'})")
        pattern = known[name]
        if pattern is not None and re.fullmatch(pattern, value) is None:
            raise UsageError(f"{name}={value!r:.80} does not match {pattern}")


def _period(body: HoldBody) -> float | None:
    return None if body.expires_in is None else seconds(body.expires_in)


def _accepted(accepted: Accepted) -> web.Response:
    place = {"Location": f"/v1/rollouts/{accepted.rollout}"}
    return web.json_response(accepted.document, status=200 if accepted.repeated else 202, headers=place)


def _submit_of(body: RolloutBody, request: web.Request) -> SubmitRollout:
    caller, key, goal = request[CALLER], _key(request, body), Goal(body.goal) if body.goal else None
    asked = (body.revision, body.toplevels, body.on, body.policy, goal, body.reason, body.force, body.supersede)
    return SubmitRollout(caller, key, *asked)


def _key(request: web.Request, body: BaseModel) -> RequestKey | None:
    """Return the idempotency key, apart from those of hooks: no caller of the API can stand in a delivery's way."""
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return None
    if re.fullmatch(KEY_PATTERN, key) is None:
        raise UsageError("an Idempotency-Key is 1 to 200 printable ASCII characters")
    # Without the defaults: a later release may know more of them, and the request is still the same.
    return RequestKey(f"api:{key}", digest_of(request.path, body.model_dump(exclude_defaults=True)))
