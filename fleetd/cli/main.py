"""The commands of ``fleetctl``."""

from __future__ import annotations

import json
import sys
import time
from typing import Annotated, Any

import typer

from fleetd.cli import outcome
from fleetd.cli.client import Client, DaemonLost, NoDaemon
from fleetd.cli.render import event_line, host_line, observed_line, plain, plan_lines, rollout_line
from fleetd.errors import FleetdError, UsageError

# Plain help: drawing it with rich would double the time that it takes to start.
app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
token_app = typer.Typer(no_args_is_help=True, help="API tokens.", rich_markup_mode=None)
app.add_typer(token_app, name="token")

POLL_S = 0.5
LOST_DAEMON_S = 30.0
"""A daemon that restarts is back within this; a rollout goes on without anybody who watches."""

On = Annotated[
    str, typer.Option("--on", help="Which hosts: names, globs, @tag, domain:x; , is or, & is and, ! is not.")
]
Revision = Annotated[str | None, typer.Argument(help="A flake reference or commit; default: the configured flake.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; kept with the rollout.")]
Toplevels = Annotated[list[str] | None, typer.Option("--toplevel", metavar="HOST=PATH", help="A prebuilt toplevel.")]


class Options:
    """The global options of this run."""

    server = "unix:/run/fleetd/fleetd.sock"
    token_file: str | None = None
    as_json = False


@app.callback()
def options(
    server: Annotated[str, typer.Option(envvar="FLEETD_SERVER")] = Options.server,
    token_file: Annotated[str | None, typer.Option(envvar="FLEETD_TOKEN_FILE")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document, or JSON lines while following.")] = False,
) -> None:
    """Deploys NixOS fleets in waves, and takes hosts back when something is wrong."""
    Options.server, Options.token_file, Options.as_json = server, token_file, as_json


def client() -> Client:
    """Return a client for the chosen daemon."""
    return Client(Options.server, Options.token_file)


def show(document: Any, lines: list[str]) -> None:
    """Print a document: as JSON, or as lines."""
    print(json.dumps(document) if Options.as_json else "\n".join(lines))


def body_of(revision: str | None, toplevels: list[str] | None, on: str, policy: str, reason: str) -> dict[str, Any]:
    """Return the body of a rollout. Raises UsageError."""
    paths = {}
    for text in toplevels or []:
        host, equals, path = text.partition("=")
        if not equals:
            raise UsageError(f"--toplevel {text!r}: write HOST=PATH")
        paths[host] = path
    return {"revision": revision, "toplevels": paths, "on": on, "policy": policy, "reason": reason}


@app.command()
def plan(revision: Revision = None, on: On = "", toplevel: Toplevels = None, policy: str = "default") -> None:
    """Show what a deploy would do: waves, and from what to what. Nothing is done."""
    document = client().post("/v1/plan", body_of(revision, toplevel, on, policy, ""))
    show(document, plan_lines(document))
    if document["errors"]:
        raise typer.Exit(outcome.NOT_BUILT)


@app.command()
def deploy(
    revision: Revision = None,
    on: On = "",
    toplevel: Toplevels = None,
    policy: str = "default",
    goal: str = "switch",
    reason: Reason = "",
    wait: Annotated[bool, typer.Option("--wait/--detach", help="Follow until the end.")] = True,
    timeout: Annotated[float, typer.Option(help="Seconds to follow at most; the rollout goes on.")] = 86400.0,
    yes: Annotated[bool, typer.Option("--yes", help="For symmetry with other tools; nothing is asked.")] = False,
) -> None:
    """Bring hosts to a revision, wave by wave."""
    del yes
    body = {**body_of(revision, toplevel, on, policy, reason), "goal": goal}
    _started(_submit("/v1/rollouts", body), wait, timeout)


@app.command()
def rollback(
    on: On = "",
    to: Annotated[str | None, typer.Option(help="An earlier rollout: back to what it left.")] = None,
    reason: Reason = "",
    wait: Annotated[bool, typer.Option("--wait/--detach")] = True,
    timeout: float = 86400.0,
) -> None:
    """Take hosts back to the system before."""
    _started(_submit("/v1/rollback", {"on": on, "to": to, "reason": reason}), wait, timeout)


@app.command()
def abort(rollout: str, reason: Reason = "") -> None:
    """End a rollout: trials go back, committed hosts stay."""
    document = client().post(f"/v1/rollouts/{_quoted(rollout)}/abort", {"reason": reason})
    show(document, [rollout_line(document)])


@app.command()
def status() -> None:
    """Show the newest rollouts and every host in trouble."""
    rollouts = client().get("/v1/rollouts")["rollouts"][:5]
    hosts = list(client().pages("/v1/hosts", "hosts"))
    trouble = [host for host in hosts if host["contact"] != "ok" or host["drifted"]]
    lines = [rollout_line(rollout) for rollout in rollouts] or ["no rollouts yet"]
    lines.append(f"{len(hosts)} hosts, {len(trouble)} need a look")
    show({"rollouts": rollouts, "hosts": hosts}, lines + [observed_line(host) for host in trouble])


@app.command()
def hosts(on: On = "") -> None:
    """Show hosts as they are now."""
    found = list(client().pages(f"/v1/hosts?on={_quoted(on)}", "hosts"))
    show({"hosts": found}, [observed_line(host) for host in found])


@app.command()
def rollouts() -> None:
    """List rollouts, newest first."""
    found = list(client().pages("/v1/rollouts", "rollouts"))
    show({"rollouts": found}, [rollout_line(rollout) for rollout in found])


@app.command()
def rollout(name: str) -> None:
    """Show one rollout with its hosts."""
    path = f"/v1/rollouts/{_quoted(name)}"
    document, found = client().get(path), list(client().pages(f"{path}/hosts", "hosts"))
    show({**document, "hosts": found}, [rollout_line(document), *(host_line(host) for host in found)])


@app.command()
def watch(name: str, timeout: float = 86400.0) -> None:
    """Follow a rollout to its end."""
    raise typer.Exit(_follow(name, timeout))


@app.command()
def events(after: Annotated[int, typer.Option(min=0, help="Only those after this number.")] = 0) -> None:
    """Print what happened, a line each, oldest first."""
    while True:
        page = client().get(f"/v1/events?after={after}")
        for event in page["events"]:
            print(json.dumps(event) if Options.as_json else event_line(event))
        if not page["events"]:
            return
        after = page["next"]


@app.command()
def check(config: Annotated[str | None, typer.Option(help="The daemon's configuration file.")] = None) -> None:
    """Read the configuration and the fleet file, without a daemon, and tell every mistake."""
    import asyncio

    from fleetd.config import load
    from fleetd.daemon import fleet_source
    from fleetd.nix.builder import NixBuilder

    settings = load(config)
    source = fleet_source(settings, NixBuilder(settings.state), keep=False)
    fleet = asyncio.run(source.load())
    show({"hosts": len(fleet.hosts)}, [f"{len(fleet.hosts)} hosts, {len(fleet.checks)} checks: all good"])


@token_app.command("create")
def token_create(
    name: str,
    scope: Annotated[list[str], typer.Option("--scope", help="read, deploy, approve, admin.")],
    state_directory: str = "/var/lib/fleetd",
    expires: Annotated[str, typer.Option(help="A duration such as 90d.")] = "90d",
) -> None:
    """Make a token; it is printed this once."""
    from pathlib import Path

    from fleetd.api.tokens import SCOPES, Tokens
    from fleetd.model.duration import parse_duration

    wrong = sorted(set(scope) - set(SCOPES))
    if wrong:
        raise UsageError(f"no scope {wrong[0]!r} (there are: {', '.join(SCOPES)})")
    try:
        seconds = parse_duration(expires)
    except ValueError as error:
        raise UsageError(f"--expires: {error}") from error
    print(Tokens(Path(state_directory)).create(name, tuple(scope), seconds))


def _quoted(text: str) -> str:
    from urllib.parse import quote

    return quote(text, safe="")


def _submit(path: str, body: dict[str, Any]) -> Any:
    """Ask for a rollout, and ask again under the same key when the daemon goes away before it answers.

    The key makes the repeat harmless. Raises NoDaemon (nothing was sent), DaemonLost (nobody knows), Refused.
    """
    import secrets

    key, lost, end = secrets.token_hex(16), None, time.monotonic() + LOST_DAEMON_S
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
        time.sleep(POLL_S)


def _started(document: Any, wait: bool, timeout_s: float) -> None:
    if not wait:
        show(document, [rollout_line(document)])
        return
    raise typer.Exit(_follow(document["id"], timeout_s))


def _follow(name: str, timeout_s: float) -> int:
    """Show a rollout until it is final; returns the exit code."""
    path = f"/v1/rollouts/{_quoted(name)}"
    end, last_word, seen = time.monotonic() + timeout_s, time.monotonic(), dict[str, str]()
    live = _Live() if sys.stdout.isatty() and not Options.as_json else None
    try:
        while True:
            try:
                document, found = client().get(path), list(client().pages(f"{path}/hosts", "hosts"))
                last_word = time.monotonic()
            except NoDaemon:
                if time.monotonic() - last_word > LOST_DAEMON_S or time.monotonic() > end:
                    sys.stderr.write(f"fleetctl: the daemon does not answer; {name} goes on without it\n")
                    return outcome.UNKNOWN
                time.sleep(POLL_S)
                continue
            over = outcome.is_over(document)
            if live is not None:
                live.update(document, found)
            else:
                _changes(document, found, seen)
            if over:
                return outcome.exit_code(document)
            if time.monotonic() > end:
                sys.stderr.write(f"fleetctl: {name} is not at its end yet; it goes on (fleetctl watch {name})\n")
                return outcome.UNKNOWN
            time.sleep(POLL_S)
    except KeyboardInterrupt:
        sys.stderr.write(f"fleetctl: detached; {name} goes on (fleetctl watch {name}, fleetctl abort {name})\n")
        return outcome.DETACHED
    finally:
        if live is not None:
            live.close()


def _changes(document: Any, found: list[Any], seen: dict[str, str]) -> None:
    """Print what is new since the last look, a line each."""
    for host in found:
        line = json.dumps(host) if Options.as_json else host_line(host)
        if seen.get(host["name"]) != line:
            seen[host["name"]] = line
            print(line, flush=True)
    line = json.dumps(document) if Options.as_json else rollout_line(document)
    # Counting seconds of a soak is no news.
    news = f"{document['phase']} {document['counts']}"
    if seen.get("") != news:
        seen[""] = news
        print(line, flush=True)


class _Live:
    """A table that stays in place on a terminal."""

    def __init__(self) -> None:
        from rich.live import Live

        self._live = Live(refresh_per_second=4)
        self._live.start()

    def update(self, document: Any, found: list[Any]) -> None:
        from fleetd.cli.render import table

        self._live.update(table(document, found))

    def close(self) -> None:
        self._live.stop()


def main() -> None:
    """Run, with usage errors told as 1: typer's own 2 would mean that hosts were taken back."""
    try:
        code = app(standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except typer.Exit as error:
        sys.exit(error.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        sys.exit(outcome.DETACHED)
    except typer.TyperException as error:
        show_error = getattr(error, "show", None)
        if callable(show_error):
            show_error()
        sys.exit(outcome.USAGE)
    except FleetdError as error:
        sys.stderr.write(f"fleetctl: {plain(error, keep=chr(10))}\n")
        sys.exit(error.exit_code)
    except OSError as error:
        sys.stderr.write(f"fleetctl: {error}\n")
        sys.exit(outcome.USAGE)
