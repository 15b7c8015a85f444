"""Commands about rollouts: plan, start, follow, end."""

from __future__ import annotations

import sys
import time
from typing import Annotated, Any

import typer

from fleetd.cli import follow as following
from fleetd.cli import outcome
from fleetd.cli.app import On, Options, Reason, app, client, quoted, show
from fleetd.cli.client import DaemonLost, NoDaemon, Refused
from fleetd.cli.follow import follow
from fleetd.cli.render import host_line, plain, plan_lines, reason_lines, rollout_line, rollout_lines
from fleetd.errors import UsageError

Revision = Annotated[str | None, typer.Argument(help="A flake reference or commit; default: the configured flake.")]
Toplevels = Annotated[list[str] | None, typer.Option("--toplevel", metavar="HOST=PATH", help="A prebuilt toplevel.")]
Wait = Annotated[bool, typer.Option("--wait/--detach", help="Follow until the end.")]
Timeout = Annotated[float, typer.Option(min=0, help="Seconds to follow at most; the rollout goes on.")]
Policy = Annotated[str, typer.Option(help="A policy of the fleet file.")]
Goal = Annotated[str | None, typer.Option(help="switch, boot, test or dry-activate; default: the policy's.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask on a terminal.")]
DAY_S = 86400.0


def body_of(revision: str | None, toplevels: list[str] | None, on: str, policy: str, reason: str) -> dict[str, Any]:
    """Return the body of a rollout. Raises UsageError."""
    paths = {}
    for text in toplevels or []:
        host, equals, path = text.partition("=")
        if not equals:
            raise UsageError(f"--toplevel {text!r}: write HOST=PATH")
        if host in paths:
            raise UsageError(f"--toplevel: {host} is named twice")
        paths[host] = path
    return {"revision": revision, "toplevels": paths, "on": on, "policy": policy, "reason": reason}


@app.command()
def plan(
    revision: Revision = None, on: On = "", toplevel: Toplevels = None, policy: Policy = "default", goal: Goal = None
) -> None:
    """Show what a deploy would do: waves, and from what to what. Nothing is done."""
    document = client().post("/v1/plan", {**body_of(revision, toplevel, on, policy, ""), "goal": goal})
    show(document, plan_lines(document))
    if document["errors"]:
        raise typer.Exit(outcome.NOT_BUILT)


@app.command()
def deploy(
    revision: Revision = None,
    on: On = "",
    toplevel: Toplevels = None,
    policy: Policy = "default",
    goal: Goal = None,
    reason: Reason = "",
    force: Annotated[bool, typer.Option("--force", help="Also what does not contain the last commit.")] = False,
    supersede: Annotated[bool, typer.Option("--supersede", help="End earlier rollouts of these hosts.")] = False,
    wait: Wait = True,
    timeout: Timeout = DAY_S,
    yes: Yes = False,
) -> None:
    """Bring hosts to a revision, wave by wave."""
    body = {**body_of(revision, toplevel, on, policy, reason), "goal": goal}
    body |= {name: True for name, said in (("force", force), ("supersede", supersede)) if said}
    if not yes and sys.stdin.isatty() and sys.stdout.isatty() and not Options.as_json:
        _confirm(body)
    _start("/v1/rollouts", body, wait, timeout)


def _confirm(body: dict[str, Any]) -> None:
    """Show the plan, and ask: a person at a terminal sees which hosts before they are touched."""
    asked = {name: value for name, value in body.items() if name != "reason"}
    document = client().post("/v1/plan", asked)
    print("\n".join(plan_lines(document)))
    if not typer.confirm("go on?", default=False):
        raise typer.Exit(outcome.USAGE)


@app.command()
def rollback(
    on: On = "",
    to: Annotated[str | None, typer.Option(help="An earlier rollout: back to what it left.")] = None,
    reason: Reason = "",
    wait: Wait = True,
    timeout: Timeout = DAY_S,
) -> None:
    """Take hosts back to the system before."""
    _start("/v1/rollback", {"on": on, "to": to, "reason": reason}, wait, timeout)


@app.command()
def reboot(
    on: Annotated[str, typer.Option(help="Which hosts; all of them are '*'.")],
    policy: Policy = "default",
    when_needed: Annotated[bool, typer.Option("--when-needed", help="Only hosts that need it.")] = False,
    reason: Reason = "",
    wait: Wait = True,
    timeout: Timeout = DAY_S,
) -> None:
    """Reboot hosts into what they run, wave by wave: each is checked before the next one goes down."""
    body = {"on": on, "policy": policy, "when_needed": when_needed, "reason": reason}
    _start("/v1/reboots", body, wait, timeout)


@app.command()
def revert(rollout: str, reason: Reason = "", wait: Wait = True, timeout: Timeout = DAY_S) -> None:
    """End a running rollout and take every host of it back."""
    _refuse_to_leave(wait)
    document = client().post(f"/v1/rollouts/{quoted(rollout)}/rollback", {"reason": reason})
    _started(document, wait, timeout)


@app.command()
def abort(rollout: str, reason: Reason = "") -> None:
    """End a rollout: trials go back, committed hosts stay."""
    document = client().post(f"/v1/rollouts/{quoted(rollout)}/abort", {"reason": reason})
    show(document, [rollout_line(document)])


@app.command()
def pause(rollout: str, reason: Reason = "") -> None:
    """Start nothing more for now; what is under way goes on to its end."""
    _say(rollout, "pause", reason)


@app.command()
def resume(rollout: str, reason: Reason = "") -> None:
    """Go on; failures until now count no more."""
    _say(rollout, "resume", reason)


@app.command()
def promote(rollout: str, reason: Reason = "") -> None:
    """End the soak of the present wave; nothing else is skipped."""
    _say(rollout, "promote", reason)


@app.command()
def approve(rollout: str, reason: Reason = "") -> None:
    """Let the wave start that waits for approval."""
    _say(rollout, "approve", reason)


@app.command()
def deny(rollout: str, reason: Reason = "") -> None:
    """Do not let it start: the rollout ends with what it has."""
    _say(rollout, "deny", reason)


@app.command()
def restore(name: str, reason: Reason = "", wait: Wait = True, timeout: Timeout = DAY_S) -> None:
    """Bring a host that has drifted back to what fleetd left there, by a trial with checks as any other."""
    _start(f"/v1/hosts/{quoted(name)}/restore", {"reason": reason}, wait, timeout)


@app.command()
def retry(rollout: str, host: str, reason: Reason = "") -> None:
    """Try a host of a running rollout once more that went back, failed, was deferred or skipped."""
    _say(rollout, f"hosts/{quoted(host)}/retry", reason)


@app.command()
def skip(rollout: str, host: str, reason: Reason = "") -> None:
    """Leave a host out of a running rollout on which nothing was done yet."""
    _say(rollout, f"hosts/{quoted(host)}/skip", reason)


def _say(rollout: str, words: str, reason: str) -> None:
    document = client().post(f"/v1/rollouts/{quoted(rollout)}/{words}", {"reason": reason})
    show(document, [rollout_line(document)])


@app.command()
def rollouts() -> None:
    """List rollouts, newest first."""
    found = list(client().pages("/v1/rollouts", "rollouts"))
    show({"rollouts": found}, [rollout_line(rollout) for rollout in found])


@app.command()
def rollout(name: str) -> None:
    """Show one rollout: its waves, its hosts, and what it waits for."""
    path = f"/v1/rollouts/{quoted(name)}"
    document, found = client().get(path), list(client().pages(f"{path}/hosts", "hosts"))
    lines = [line for host in found for line in (host_line(host), *reason_lines(host))]
    show({**document, "hosts": found}, [*rollout_lines(document), *lines])


@app.command()
def explain(name: str) -> None:
    """Say of a rollout and each of its hosts what it waits for, until when, and what to type."""
    text = client().text(f"/v1/rollouts/{quoted(name)}/explain")
    show({"id": name, "text": text}, [plain(text.rstrip(), keep="\n")])


@app.command()
def watch(name: str, timeout: Timeout = DAY_S) -> None:
    """Follow a rollout to its end."""
    raise typer.Exit(follow(name, timeout))


def _refuse_to_leave(wait: bool) -> None:
    if Options.is_local and not wait:
        raise UsageError("--local --detach: nothing would drive the rollout after this command; leave one of the two")


def _start(path: str, body: dict[str, Any], wait: bool, timeout_s: float) -> None:
    _refuse_to_leave(wait)
    _started(_submit(path, body), wait, timeout_s)


def _submit(path: str, body: dict[str, Any]) -> Any:
    """Ask for a rollout, and ask again under the same key when the daemon goes away before it answers.

    The key makes the repeat harmless. Raises NoDaemon (nothing was sent), DaemonLost (nobody knows), Refused.
    """
    import secrets

    key, lost, end = secrets.token_hex(16), None, time.monotonic() + following.LOST_DAEMON_S
    while True:
        try:
            return client().post(path, body, key)
        except DaemonLost as error:
            lost = error
        except NoDaemon:
            if lost is None:
                raise
        if time.monotonic() > end:
            raise DaemonLost(f"{lost}; it may have been accepted (see fleetctl rollouts)")
        time.sleep(following.POLL_S)


def _started(document: Any, wait: bool, timeout_s: float) -> None:
    if not wait:
        show(document, [rollout_line(document)])
        return
    code = follow(document["id"], timeout_s, accepted=True)
    if document["goal"] == "dry-activate":
        _show_words(document["id"])
    raise typer.Exit(code)


def _show_words(rollout: str) -> None:
    """Print what each host said of a dry activation: it is all that such a rollout is for."""
    path = f"/v1/rollouts/{quoted(rollout)}/hosts"
    for host in client().pages(path, "hosts"):
        if host["state"] in ("dry-activated", "failed"):
            try:
                text = client().text(f"{path}/{quoted(host['name'])}/log")
            except Refused:
                continue  # it failed before it was asked
            words = [f"{host['name']}: {plain(text.rstrip(), keep=chr(10))}"]
            show({"rollout": rollout, "host": host["name"], "log": text}, words)
