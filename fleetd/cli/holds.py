"""Commands that hold hosts back whatever rollouts there are: locks and the freeze."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from fleetd.cli.app import Reason, app, client, quoted, show
from fleetd.cli.render import freeze_line, observed_line

Why = Annotated[str, typer.Option("--reason", help="Why; whoever waits is told.")]
Owner = Annotated[str, typer.Option("--owner", help="For whom; without it, for you.")]
For = Annotated[str | None, typer.Option("--for", metavar="DURATION", help="When it ends by itself: 4h, 2d.")]


def _body(reason: str, owner: str, period: str | None) -> dict[str, Any]:
    return {"reason": reason, "owner": owner, "expires_in": period}


@app.command()
def lock(name: str, reason: Why, owner: Owner = "", period: For = None) -> None:
    """Start nothing on a host: no deploy and no rollback by hand; one that is under way ends as it would."""
    document = client().put(f"/v1/hosts/{quoted(name)}/lock", _body(reason, owner, period))
    show(document, [observed_line(document)])


@app.command()
def unlock(name: str, reason: Reason = "") -> None:
    """Let a host be started again."""
    document = client().delete(f"/v1/hosts/{quoted(name)}/lock?reason={quoted(reason)}")
    show(document, [observed_line(document)])


@app.command()
def freeze(reason: Why, owner: Owner = "", period: For = None) -> None:
    """Let no deploy start anything on any host; what is under way ends as it would, and rollbacks go on."""
    document = client().put("/v1/freeze", _body(reason, owner, period))
    show(document, [freeze_line(document)])


@app.command()
def unfreeze(reason: Reason = "") -> None:
    """Let deploys start again."""
    document = client().delete(f"/v1/freeze?reason={quoted(reason)}")
    show(document, [freeze_line(document)])
