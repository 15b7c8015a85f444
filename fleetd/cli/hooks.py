"""Trying a webhook: a delivery made here as its sender would make it."""

from __future__ import annotations

import json
import secrets
import time
from typing import Annotated, Any

import typer

from fleetd.cli import outcome
from fleetd.cli.app import Config, app, client, quoted, show
from fleetd.cli.render import plain, rollout_line
from fleetd.errors import UsageError

hook_app = typer.Typer(no_args_is_help=True, help="Webhooks.", rich_markup_mode=None)
app.add_typer(hook_app, name="hook")

PUSH_EVENTS = {"github": "push", "gitea": "push", "forgejo": "push", "gitlab": "Push Hook"}
"""What a forge calls a push."""


@hook_app.command("list")
def hook_list(config: Config = None) -> None:
    """List the configured webhooks."""
    from fleetd.config import load

    hooks = load(config).hooks
    shown = [
        {"name": h.name, "provider": h.provider, "auth": h.auth, "refs": h.refs, "policy": h.policy, "on": h.on}
        for h in hooks
    ]
    lines = [
        f"{h.name}  {h.provider} ({h.auth})  {', '.join(h.refs) or 'any ref'}  policy {h.policy}  on {h.on or '*'}"
        for h in hooks
    ]
    show({"hooks": shown}, lines or ["no webhooks"])


@hook_app.command("send")
def hook_send(
    name: str,
    revision: Annotated[str, typer.Argument(help="A whole commit id.")],
    ref: Annotated[str, typer.Option(help="The ref that it was pushed to.")] = "refs/heads/main",
    delivery: Annotated[str, typer.Option(help="The delivery's id: the same one again is the same rollout.")] = "",
    config: Config = None,
) -> None:
    """Deliver a push to a webhook, signed with its first secret: it is a real one, and starts a real rollout."""
    from fleetd.config import load
    from fleetd.webhook.signatures import signed

    hook = next((hook for hook in load(config).hooks if hook.name == name), None)
    if hook is None:
        raise UsageError(f"no webhook {name!r} is configured (see fleetctl hook list)")
    event = PUSH_EVENTS.get(hook.provider)
    body: dict[str, Any] = {"ref": ref, "after": revision} if event else {"ref": ref, "revision": revision}
    raw = json.dumps(body).encode()
    key = delivery or secrets.token_hex(16)
    headers = signed(hook.provider, hook.auth, hook.secrets[0], raw, time.time(), key)
    if event:
        headers[f"x-{hook.provider}-event"] = event
    document = client().deliver(f"/v1/hooks/{quoted(name)}", raw, headers)
    if document.get("result") == "ignored":
        show(document, [f"ignored: {plain(document['reason'])}"])
        raise typer.Exit(outcome.USAGE)
    show(document, [rollout_line(document)])
