"""How the demo shows a rollout: a table that stays in place on a terminal, a line for each change in a pipe.

What a host runs, boots and serves is read from the host; fleetd only says in which wave and state it is.
"""

from __future__ import annotations

import http
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from lab import LabError, LabHost, look
from lab.control import Control
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

POLL_S = 0.4
LONGEST_S = 150
"""No scene takes half of this; a rollout that does not end is shown as it stands, and the scene has failed."""

LOOKS = {
    "pending": ("·", "dim"),
    "copying": ("↑", "blue"),
    "copied": ("↑", "blue"),
    "switching": ("◐", "cyan"),
    "trial": ("◑", "bold cyan"),
    "committing": ("◕", "cyan"),
    "committed": ("●", "green"),
    "current": ("●", "green"),
    "reverting": ("↺", "yellow"),
    "reverted": ("↺", "yellow"),
    "rolling-back": ("↺", "yellow"),
    "rolled-back": ("↺", "yellow"),
    "skipped": ("–", "dim"),
    "deferred": ("?", "magenta"),
    "failed": ("✘", "red"),
    "stranded": ("✘", "bold red"),
}
Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Seen:
    """What one host showed at one moment: labels of systems, and what its web server answered."""

    runs: str = "?"
    boots: str = "?"
    status: int = 0
    page: str = ""


def label(toplevel: str, name: str) -> str:
    """Return the label in the name of a host's toplevel, ``v2``."""
    return toplevel.partition(f"-nixos-system-{name}-")[2] or "?"


def see(host: LabHost) -> Seen:
    """Look at a host; one that boots shows nothing."""
    try:
        running, _profile, boots = look.runs(host)
        return Seen(label(running, host.name), label(boots, host.name), *look.answer(host))
    except LabError:
        return Seen()


class View:
    """Follows rollouts on one console."""

    def __init__(self, console: Console, control: Control, hosts: Mapping[str, LabHost]) -> None:
        self._console = console
        self._control = control
        self._hosts = hosts
        self._said: dict[str, str] = {}

    def follow(self, name: str, between: Callable[[Document], None] = lambda _document: None) -> Document:
        """Show a rollout until it is final and return it; ``between`` is called with each look at it."""
        end = time.monotonic() + LONGEST_S
        self._said.clear()
        with ExitStack() as stack:
            workers = stack.enter_context(ThreadPoolExecutor(len(self._hosts)))
            live = Live(console=self._console, auto_refresh=False) if self._console.is_terminal else None
            if live is not None:
                stack.enter_context(live)
            while True:
                document = self._control.rollout(name)
                shown = dict(zip(self._hosts, workers.map(see, self._hosts.values()), strict=True))
                if live is not None:
                    live.update(table(document, shown), refresh=True)
                else:
                    self._changes(document, shown)
                if document["finished_at"] is not None or time.monotonic() > end:
                    return document
                between(document)
                time.sleep(POLL_S)

    def _changes(self, document: Document, shown: Mapping[str, Seen]) -> None:
        """Print what is new, a line each."""
        for host in document["hosts"].values():
            seen = shown[host["name"]]
            line = f"  {host['name']}  {host['wave']:<7} {host['state']:<12} runs {seen.runs}, would boot {seen.boots}"
            if self._said.get(host["name"]) != line:
                self._said[host["name"]] = line
                self._console.print(line, highlight=False, markup=False)
        line = title(document)
        if self._said.get("") != document["phase"]:
            self._said[""] = document["phase"]
            self._console.print(f"  {line}", highlight=False, markup=False)


def title(document: Document) -> str:
    """Return a rollout in one line."""
    why = f": {document['finish_reason']}" if document["finish_reason"] else ""
    return f"{document['id']} is {document['phase']}{why}"


def table(document: Document, shown: Mapping[str, Seen]) -> Table:
    """Return the hosts of a rollout by wave and state, with what each shows."""
    made = Table(title=Text(title(document)), title_justify="left", title_style="bold")
    for column, width in (("wave", 8), ("host", 6), ("state", 16), ("runs", 10), ("would boot", 10), ("serves", 20)):
        made.add_column(column, min_width=width)
    for wave in document["waves"]:
        inside = [host for host in document["hosts"].values() if host["wave"] == wave["name"]]
        for position, host in enumerate(sorted(inside, key=lambda host: str(host["name"]))):
            sign, style = LOOKS.get(host["state"], (" ", ""))
            lost = "" if host["contact"] in ("", "ok") else "  no contact"
            seen = shown[host["name"]]
            is_well = seen.status == http.HTTPStatus.OK
            made.add_row(
                Text(wave["name"] if position == 0 else "", style="bold"),
                host["name"],
                Text(f"{sign} {host['state']}{lost}", style=style),
                Text(seen.runs, style="" if seen.runs == seen.boots else "bold cyan"),
                seen.boots,
                Text(f"{seen.status} {seen.page}" if seen.status else "no answer", style="" if is_well else "red"),
                end_section=position == len(inside) - 1,
            )
    return made
