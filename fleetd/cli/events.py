"""Commands about what happened."""

from __future__ import annotations

import json
import time
from typing import Annotated

import typer

from fleetd.cli.app import Options, app, client, quoted
from fleetd.cli.follow import POLL_S
from fleetd.cli.render import audit_line, event_line, is_audited


@app.command()
def events(
    after: Annotated[int, typer.Option(min=0, help="Only those after this number.")] = 0,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what happens from now on.")] = False,
    rollout: Annotated[str, typer.Option(help="Only those of this rollout.")] = "",
    host: Annotated[str, typer.Option(help="Only those of this host.")] = "",
) -> None:
    """Print what happened, a line each, oldest first."""
    query = f"&rollout={quoted(rollout)}&host={quoted(host)}"
    while True:
        page = client().get(f"/v1/events?after={after}{query}")
        for event in page["events"]:
            print(json.dumps(event) if Options.as_json else event_line(event), flush=True)
        if page["events"]:
            after = page["next"]
        elif follow:
            time.sleep(POLL_S)
        else:
            return


@app.command()
def audit() -> None:
    """Print who asked for what, oldest first."""
    # Of the whole journal: locks and freezes are of no rollout.
    after = 0
    while page := client().get(f"/v1/events?after={after}")["events"]:
        for event in page:
            if is_audited(event):
                print(json.dumps(event) if Options.as_json else audit_line(event))
        after = page[-1]["seq"]
