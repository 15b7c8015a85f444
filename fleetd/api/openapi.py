"""The OpenAPI document, made from the table of routes: it cannot say what the application does not do."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from fleetd import __version__
from fleetd.api.routes import KEY_PATTERN, ROUTES, Route
from fleetd.schema.answers import Ignored, Problem

_REFERENCES = "#/components/schemas/{model}"
_PROBLEM = {
    "description": "What went wrong; `kind` says it for programs.",
    "content": {"application/problem+json": {"schema": {"$ref": _REFERENCES.format(model="Problem")}}},
}


@cache
def document() -> Mapping[str, Any]:
    """Return the document."""
    models = {Problem, Ignored} | {m for route in ROUTES for m in (route.answer, route.body) if m is not None}
    wanted = [(model, "validation") for model in sorted(models, key=lambda model: model.__name__)]
    _map, definitions = models_json_schema(wanted, ref_template=_REFERENCES)  # type: ignore[arg-type]
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {"title": "fleetd", "version": __version__, "license": {"name": "MIT", "identifier": "MIT"}},
        "paths": paths,
        "components": {
            "schemas": definitions["$defs"],
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "From `fleetctl token create`. Root and the group fleetd need none at the socket.",
                }
            },
        },
    }


def _operation(route: Route) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.operation,
        "summary": route.summary,
        "parameters": _parameters(route),
        "responses": {str(status): _answer(route, status) for status in route.statuses} | {"default": _PROBLEM},
    }
    if route.scope == "hook":
        operation["description"] = "Signed as its configuration demands; no token is looked at."
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": {}}}}
    elif route.scope is not None:
        operation["security"] = [{"token": []}]
        operation["description"] = f"Needs the scope `{route.scope}`."
        operation["responses"]["401"] = operation["responses"]["403"] = _PROBLEM
    if route.body is not None:
        needed = any(field.is_required() for field in route.body.model_fields.values())
        operation["requestBody"] = {"required": needed, "content": {"application/json": {"schema": _ref(route.body)}}}
    return operation


def _parameters(route: Route) -> list[dict[str, Any]]:
    words = [word[1:-1] for word in route.path.split("/") if word.startswith("{")]
    found: list[dict[str, Any]] = [
        {"name": word, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}} for word in words
    ]
    for query in route.query:
        schema = {"type": "string", **({"pattern": query.pattern} if query.pattern else {})}
        found.append({"name": query.name, "in": "query", "description": query.summary, "schema": schema})
    if route.takes_key:
        text = "The same key and request give the same rollout; another request is refused."
        schema = {"type": "string", "pattern": KEY_PATTERN}
        found.append({"name": "Idempotency-Key", "in": "header", "description": text, "schema": schema})
    return found


def _answer(route: Route, status: int) -> dict[str, Any]:
    schema: dict[str, Any] = dict(_ref(route.answer)) if route.answer is not None else {}
    if route.scope == "hook" and status == 200:
        schema = {"anyOf": [schema, _ref(Ignored)]}
    text = {202: "It is on disk.", 200: "So it is.", 503: "Not yet."}[status]
    content: dict[str, Any] = {"application/json": {"schema": schema}}
    if route.answer is None:
        content = {"text/plain": {"schema": {"type": "string"}}}
    if route.stream:
        content["text/event-stream"] = {"schema": {"type": "string"}}
    return {"description": text, "content": content}


def _ref(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": _REFERENCES.format(model=model.__name__)}
