"""Every route of version 1 as data: what the application serves and the OpenAPI document describes, in one table."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import BaseModel

from fleetd.schema import answers, planned
from fleetd.schema.http import DiffBody, HoldBody, ReasonBody, RebootBody, RollbackBody, RolloutBody

SEQ_PATTERN = "^[0-9]{1,18}$"
"""A sequence number. ``str.isdigit`` would also take digits of other scripts, and numbers that no database holds."""

KEY_PATTERN = "^[ -~]{1,200}$"
"""An idempotency key: 1 to 200 printable characters. An empty one would look like a promise that nobody keeps."""


@dataclass(frozen=True, slots=True)
class Query:
    """A parameter of the query."""

    name: str
    summary: str
    pattern: str | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """One route.

    ``handler`` is the name of the method of ``Api``. ``scope`` is what a caller needs; None: anybody, "hook": the
    hook's own secret. ``answer`` is the body of ``statuses`` (None: text); everything else is a problem. ``stream``:
    also as ``text/event-stream``.
    """

    method: str
    path: str
    scope: str | None
    handler: str
    summary: str
    answer: type[BaseModel] | None
    query: tuple[Query, ...] = ()
    body: type[BaseModel] | None = None
    statuses: tuple[int, ...] = (200,)
    takes_key: bool = False
    stream: bool = False

    @property
    def operation(self) -> str:
        """The operation's name in the OpenAPI document: the handler, or the verb where many share one."""
        return self.path.rpartition("/")[2] if self.handler == "verb" else self.handler


CURSOR = Query("cursor", "Where the last page ended: its `next`.")
ON = Query("on", "Which hosts: names, globs, @tag, domain:x; `,` is or, `&` is and, `!` is not.")
REASON = Query("reason", "Why; kept in the journal.")
STATE = Query("state", "Only hosts in this state.")
ACCEPTED = (202, 200)
"""202: it is on disk now. 200: it had been before, and nothing new was started."""


def _said(word: str, scope: str, summary: str) -> Route:
    """Return the route of a verb that is said to a running rollout."""
    path = f"/v1/rollouts/{{id}}/{word}"
    return Route("POST", path, scope, "verb", summary, answers.Rollout, body=ReasonBody, statuses=ACCEPTED)


def _said_of_host(word: str, summary: str) -> Route:
    path = f"/v1/rollouts/{{id}}/hosts/{{name}}/{word}"
    return Route("POST", path, "deploy", "verb", summary, answers.Rollout, body=ReasonBody, statuses=ACCEPTED)


ROUTES: tuple[Route, ...] = (
    Route("GET", "/v1/health", None, "health", "Whether the process answers.", answers.Health),
    Route("GET", "/v1/ready", None, "ready", "Whether requests are taken.", answers.Ready, statuses=(200, 503)),
    Route("GET", "/v1/openapi.json", None, "openapi", "This document.", answers.OpenApi),
    Route("GET", "/v1/fleet", "read", "fleet", "The fleet as it was read last.", answers.Fleet),
    Route(
        *("GET", "/v1/hosts", "read", "hosts", "Hosts as they are now, by name.", answers.Hosts),
        query=(ON, STATE, CURSOR),
    ),
    Route("GET", "/v1/hosts/{name}", "read", "host", "One host as it is now.", answers.Host),
    Route(
        *(
            "POST",
            "/v1/hosts/{name}/clear",
            "deploy",
            "clear",
            "Wait for it no longer.",
            answers.Host,
        ),
        body=ReasonBody,
        statuses=(202,),
    ),
    Route(
        *("POST", "/v1/hosts/{name}/adopt", "deploy", "adopt", "Take it as it is.", answers.Host),
        body=ReasonBody,
        statuses=(202,),
    ),
    Route(
        *("POST", "/v1/hosts/{name}/restore", "deploy", "restore", "Bring back what was left there.", answers.Rollout),
        body=ReasonBody,
        statuses=ACCEPTED,
        takes_key=True,
    ),
    Route(
        *("PUT", "/v1/hosts/{name}/lock", "deploy", "lock", "Start nothing on it.", answers.Host),
        body=HoldBody,
    ),
    Route(
        *("DELETE", "/v1/hosts/{name}/lock", "deploy", "unlock", "Let it be started again.", answers.Host),
        query=(REASON,),
    ),
    Route("GET", "/v1/freeze", "read", "freeze", "Whether the fleet is frozen.", answers.Freeze),
    Route(
        *("PUT", "/v1/freeze", "deploy", "put_freeze", "Let no deploy start anything.", answers.Freeze),
        body=HoldBody,
    ),
    Route(
        *("DELETE", "/v1/freeze", "deploy", "unfreeze", "Let deploys start again.", answers.Freeze),
        query=(REASON,),
    ),
    Route(
        *("POST", "/v1/hosts/{name}/diff", "deploy", "diff", "Build, and compare.", answers.HostDifference),
        body=DiffBody,
    ),
    Route(
        *("POST", "/v1/plan", "read", "plan", "What a rollout would do. A revision wants `deploy`.", planned.Plan),
        body=RolloutBody,
    ),
    Route(
        *("POST", "/v1/rollouts", "deploy", "submit", "Bring hosts to a revision.", answers.Rollout),
        body=RolloutBody,
        statuses=ACCEPTED,
        takes_key=True,
    ),
    Route(
        *("GET", "/v1/rollouts", "read", "rollouts", "Rollouts, newest first.", answers.Rollouts),
        query=(Query("cursor", CURSOR.summary, "^r-[0-9]{1,18}$"),),
    ),
    Route("GET", "/v1/rollouts/{id}", "read", "rollout", "One rollout.", answers.Rollout),
    Route(
        *("GET", "/v1/rollouts/{id}/hosts", "read", "rollout_hosts", "Its hosts, by name.", answers.RolloutHosts),
        query=(STATE, Query("wave", "Only hosts of this wave."), CURSOR),
    ),
    Route(
        *("GET", "/v1/rollouts/{id}/hosts/{name}/log", "read", "log", "What its switch, or its build, wrote.", None),
        query=(Query("of", "`switch` (the default) or `build`.", "^(switch|build)$"),),
    ),
    Route(
        *("GET", "/v1/rollouts/{id}/progress", "read", "progress", "How far builds and copies are.", answers.Progress),
    ),
    Route("GET", "/v1/rollouts/{id}/explain", "read", "explain", "What everything in it waits for, as text.", None),
    _said("pause", "deploy", "Start nothing more for now; what is under way goes on."),
    _said("resume", "deploy", "Go on; failures until now count no more."),
    _said("promote", "deploy", "End the soak of the present wave."),
    _said("approve", "approve", "Let the wave start that waits for approval."),
    _said("deny", "approve", "Do not let it start: the rollout ends with what it has."),
    _said_of_host("retry", "Try a host once more that went back, failed, was deferred or skipped."),
    _said_of_host("skip", "Leave a host out on which nothing was done yet."),
    Route(
        *("POST", "/v1/rollouts/{id}/abort", "deploy", "abort", "Start nothing more, revert trials.", answers.Rollout),
        body=ReasonBody,
        statuses=ACCEPTED,
    ),
    Route(
        *("POST", "/v1/rollouts/{id}/rollback", "deploy", "rollback_rollout", "Take it all back.", answers.Rollout),
        body=ReasonBody,
        statuses=ACCEPTED,
    ),
    Route(
        *("POST", "/v1/rollback", "deploy", "rollback", "Take hosts back to the system before.", answers.Rollout),
        body=RollbackBody,
        statuses=ACCEPTED,
        takes_key=True,
    ),
    Route(
        *("POST", "/v1/reboots", "deploy", "reboot", "Reboot hosts into what they run, in waves.", answers.Rollout),
        body=RebootBody,
        statuses=ACCEPTED,
        takes_key=True,
    ),
    Route(
        *("GET", "/v1/events", "read", "events", "What happened, oldest first.", answers.Events),
        query=(
            Query("after", "Only records with a larger number.", SEQ_PATTERN),
            Query("rollout", "Only those of this rollout."),
            Query("host", "Only those of this host."),
        ),
        stream=True,
    ),
    Route("GET", "/metrics", "read", "metrics", "Figures in Prometheus' text form.", None),
    Route(
        *("POST", "/v1/hooks/{name}", "hook", "hook", "A delivery of a webhook.", answers.Rollout),
        statuses=ACCEPTED,
    ),
)
