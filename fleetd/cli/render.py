"""Documents as text for people. Pure; colours are rich's, and only on a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

Document = Mapping[str, Any]

COLOURS = {
    "committed": "green",
    "current": "green",
    "rolled-back": "yellow",
    "reverted": "yellow",
    "failed": "red",
    "stranded": "bold red",
    "deferred": "magenta",
    "trial": "cyan",
    "switching": "cyan",
    "committing": "cyan",
}


def short(path: str | None) -> str:
    """Return a store path without directory and hash."""
    return "-" if not path else path.rsplit("/", 1)[-1][33:] or path


def plain(text: object, keep: str = "") -> str:
    """Return text without control characters: what hosts and builds say must not steer the terminal."""
    return "".join(
        c if c.isprintable() or c in keep else " " if c.isspace() else "\N{REPLACEMENT CHARACTER}" for c in str(text)
    )


def rollout_line(rollout: Document) -> str:
    """Return a rollout in one line."""
    counts = ", ".join(f"{count} {state}" for state, count in rollout["counts"].items())
    why = rollout.get("finish_reason") or "; ".join(block["text"] for block in rollout["blocked_by"])
    return f"{rollout['id']}  {rollout['phase']}  {counts}" + (f"  ({plain(why)})" if why else "")


def host_line(host: Document) -> str:
    """Return a host of a rollout in one line."""
    why = f"  ({plain(host['reason'])})" if host.get("reason") else ""
    lost = f"  {host['contact']}" if host.get("contact", "ok") != "ok" else ""
    return f"{host['name']}  {host['wave']}  {host['state']}  {short(host.get('to'))}{lost}{why}"


def observed_line(host: Document) -> str:
    """Return an observed host in one line."""
    marks = [word for word in ("drifted", "needs_reboot") if host.get(word)]
    contact = "" if host["contact"] == "ok" else f"  {plain(host['contact'])}"
    shown_marks = f"  {' '.join(marks)}" if marks else ""
    return f"{host['name']}  {host['state']}  {short(host['current'])}{shown_marks}{contact}"


def event_line(event: Document) -> str:
    """Return a record of the journal in one line."""
    about = "  ".join(word for word in (event["rollout"], event["host"]) if word)
    return f"{event['seq']}  {event['at']}  {event['kind']}" + (f"  {about}" if about else "")


def plan_lines(plan: Document) -> list[str]:
    """Return a plan as lines."""
    lines = [f"policy {plan['policy']}, at most {plan['max_parallel']} hosts unproven at once"]
    for wave in plan["waves"]:
        lines.append(f"wave {wave['name']} (soak {wave['soak']})")
        lines += [f"  {host['name']}  {short(host['from'])} -> {short(host['to'])}" for host in wave["hosts"]]
    if plan["unchanged"]:
        lines.append(f"nothing to do on: {', '.join(plan['unchanged'])}")
    lines += [f"{error['host']}: {plain(error['message'], keep=chr(10))}" for error in plan["errors"]]
    lines.append(f"network lost: {plan['times']['network_lost']}; bad health: {plan['times']['bad_health']}")
    return lines


def table(rollout: Document, hosts: Sequence[Document]) -> Table:
    """Return the live table of a rollout: hosts by wave and state."""
    from rich.table import Table
    from rich.text import Text

    shown = Table(title=Text(rollout_line(rollout)), title_justify="left")
    for column in ("host", "wave", "state", "system", "why"):
        shown.add_column(column)
    order = {wave["name"]: index for index, wave in enumerate(rollout["waves"])}
    for host in sorted(hosts, key=lambda host: (order.get(host["wave"], 99), host["name"])):
        state = Text(host["state"], style=COLOURS.get(host["state"], ""))
        # Text, not str: rich reads a str as markup, and a reason may hold brackets.
        cells = (host["name"], host["wave"], state, short(host.get("to")), plain(host.get("reason", ""))[:80])
        shown.add_row(*(cell if isinstance(cell, Text) else Text(cell) for cell in cells))
    return shown
