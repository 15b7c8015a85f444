"""Bodies of requests, and the problem documents that answer bad ones."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from fleetd.errors import FleetdError
from fleetd.schema.problems import Period, Strict

TEXT_LIMIT = 10_000
"""Longest selector or reason, in characters: the names of a thousand hosts. It is kept in the journal for ever."""

Text = Annotated[str, Field(max_length=TEXT_LIMIT)]


class RolloutBody(Strict):
    """What ``POST /v1/rollouts`` and ``/v1/plan`` take."""

    revision: Text | None = None
    toplevels: dict[str, str] = Field(default_factory=dict)
    on: Text = ""
    policy: Text = "default"
    goal: Literal["switch", "boot", "test", "dry-activate"] | None = None
    reason: Text = ""
    force: bool = False
    supersede: bool = False


class DiffBody(Strict):
    """What ``POST /v1/hosts/{name}/diff`` takes: a revision, or a prebuilt toplevel."""

    revision: Text | None = None
    toplevel: Text | None = None


class RollbackBody(Strict):
    """What ``POST /v1/rollback`` takes. An empty ``on`` is every host that has a system to go back to."""

    on: Text = ""
    to: Text | None = None
    reason: Text = ""


class HoldBody(Strict):
    """What a lock and a freeze take. ``expires_in`` is a duration such as ``4h``; without it somebody has to end it.

    ``owner`` is for whom it is; without it, who asks.
    """

    reason: Text = Field(min_length=1)
    owner: Text = ""
    expires_in: Period | None = None


class RebootBody(Strict):
    """What ``POST /v1/reboots`` takes. ``on`` must name hosts: nobody means a whole fleet by leaving it out."""

    on: Text = Field(min_length=1)
    policy: Text = "default"
    when_needed: bool = False
    reason: Text = ""


class ReasonBody(Strict):
    """What verbs on a rollout take."""

    reason: Text = ""


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
