"""Bodies of requests, and the problem documents that answer bad ones."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from fleetd.errors import FleetdError
from fleetd.schema.problems import Strict


class RolloutBody(Strict):
    """What ``POST /v1/rollouts`` and ``/v1/plan`` take."""

    revision: str | None = None
    toplevels: dict[str, str] = Field(default_factory=dict)
    on: str = ""
    policy: str = "default"
    goal: str = "switch"
    reason: str = ""


class RollbackBody(Strict):
    """What ``POST /v1/rollback`` takes."""

    on: str = ""
    to: str | None = None
    reason: str = ""


class ReasonBody(Strict):
    """What verbs on a rollout take."""

    reason: str = ""


def problem(error: FleetdError) -> dict[str, Any]:
    """Return the problem+json document of an error (RFC 9457), with its machine-readable kind."""
    return {
        "type": "about:blank",
        "title": (error.__doc__ or "").strip().splitlines()[0],
        "status": error.http_status,
        "detail": str(error),
        "kind": error.kind,
        "exit_code": error.exit_code,
    }
