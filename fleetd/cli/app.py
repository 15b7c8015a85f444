"""What every command shares: the program itself, its global options, and how it speaks to the daemon and to people."""

from __future__ import annotations

import json
from typing import Annotated, Any
from urllib.parse import quote

import typer

from fleetd.cli.client import Client

# Plain help: drawing it with rich would double the time that it takes to start.
app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)

On = Annotated[
    str, typer.Option("--on", help="Which hosts: names, globs, @tag, domain:x; , is or, & is and, ! is not.")
]
Reason = Annotated[str, typer.Option("--reason", help="Why; kept with the rollout.")]
Config = Annotated[str | None, typer.Option(help="The daemon's configuration file.")]


class Options:
    """The global options of this run."""

    server = "unix:/run/fleetd/fleetd.sock"
    token_file: str | None = None
    as_json = False
    is_local = False


Server = Annotated[str, typer.Option(envvar="FLEETD_SERVER", help="unix:/path or http://host:port.")]
TokenFile = Annotated[
    str | None, typer.Option(envvar="FLEETD_TOKEN_FILE", help="A file with a bearer token; the socket needs none.")
]
Json = Annotated[bool, typer.Option("--json", help="One JSON document, or JSON lines while following.")]
Local = Annotated[
    bool, typer.Option("--local", help="Without a daemon: the same engine in this process, with the same journal.")
]
LocalConfig = Annotated[str | None, typer.Option(envvar="FLEETD_CONFIG", help="With --local: the configuration file.")]


@app.callback()
def options(
    context: typer.Context,
    server: Server = Options.server,
    token_file: TokenFile = None,
    as_json: Json = False,
    local: Local = False,
    config: LocalConfig = None,
) -> None:
    """Deploys NixOS fleets in waves, and takes hosts back when something is wrong."""
    Options.server, Options.token_file, Options.as_json, Options.is_local = server, token_file, as_json, local
    if local and not context.resilient_parsing:
        from fleetd.cli.local import engine

        Options.server, Options.token_file = context.with_resource(engine(config)), None


def client() -> Client:
    """Return a client for the chosen daemon."""
    return Client(Options.server, Options.token_file)


def show(document: Any, lines: list[str]) -> None:
    """Print a document: as JSON, or as lines."""
    print(json.dumps(document) if Options.as_json else "\n".join(lines))


def quoted(text: str) -> str:
    """Return a text as one segment of a path."""
    return quote(text, safe="")
