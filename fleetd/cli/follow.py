"""Following a rollout to its end: a table that stays in place on a terminal, lines in a pipe."""

from __future__ import annotations

import json
import shutil
import sys
import time
from typing import Any

from fleetd.cli import outcome
from fleetd.cli.app import Options, client, quoted
from fleetd.cli.client import NoDaemon, Refused
from fleetd.cli.render import host_line, plain, progress_line, reason_lines, rollout_line
from fleetd.errors import NotFoundError, OverloadedError

POLL_S = 0.5
PROGRESS_S = 5.0
"""How often a pipe is told how far something is that goes on: a log must not grow with every percent."""

MOVING = ("evaluating", "building", "rolling", "soaking", "awaiting-approval")
"""Phases in which something may be built or copied."""

LOST_DAEMON_S = 30.0
"""A daemon that restarts is back within this; a rollout goes on without anybody who watches."""


def follow(name: str, timeout_s: float, *, accepted: bool = False) -> int:
    """Show a rollout until it is final; returns the exit code.

    ``accepted``: it is known to be on disk. From then on no error of looking may end with a code that says that nothing
    was started. Raises Refused for a rollout that was never seen.
    """
    path = f"/v1/rollouts/{quoted(name)}"
    end, last_word, seen = time.monotonic() + timeout_s, time.monotonic(), dict[str, str]()
    live = _Live() if sys.stdout.isatty() and not Options.as_json else None
    said = _Said()
    try:
        while True:
            try:
                document, found = client().get(path), list(client().pages(f"{path}/hosts", "hosts"))
                doing = _progress(path) if document["phase"] in MOVING else []
                last_word, accepted = time.monotonic(), True
            except (NoDaemon, Refused) as error:
                busy = isinstance(error, NoDaemon) or error.kind == OverloadedError.kind
                if not busy and not accepted:
                    raise
                if not busy or time.monotonic() - last_word > LOST_DAEMON_S or time.monotonic() > end:
                    why = "the daemon does not answer" if busy else plain(error)
                    sys.stderr.write(f"fleetctl: {why}; {_goes_on(name)}\n")
                    return outcome.UNKNOWN
                time.sleep(POLL_S)
                continue
            over = outcome.is_over(document)
            if live is not None:
                live.update(document, found, doing)
            else:
                _changes(document, found, seen)
                said.tell(doing)
            if over:
                return outcome.exit_code(document)
            if time.monotonic() > end:
                sys.stderr.write(f"fleetctl: {name} is not at its end yet; {_goes_on(name)}\n")
                return outcome.UNKNOWN
            time.sleep(POLL_S)
    except KeyboardInterrupt:
        sys.stderr.write(f"fleetctl: detached; {_goes_on(name)}\n")
        return outcome.DETACHED
    finally:
        if live is not None:
            live.close()


def _progress(path: str) -> list[Any]:
    """Return how far builds and copies are; a daemon of before this was known shows none."""
    try:
        shown: list[Any] = client().get(f"{path}/progress")["hosts"]
    except Refused as error:
        if error.kind != NotFoundError.kind:
            raise
        return []
    return shown


class _Said:
    """How far things were when it was told last."""

    def __init__(self) -> None:
        self._at = 0.0
        self._lines: dict[str, str] = {}

    def tell(self, doing: list[Any]) -> None:
        """Print a line for each host that came further, not too often; one that is new at once."""
        is_time, now = time.monotonic() - self._at >= PROGRESS_S, {}
        for host in doing:
            name = host["name"]
            line = json.dumps({"progress": host}) if Options.as_json else progress_line(host)
            now[name] = self._lines.get(name, "")
            if line != now[name] and (is_time or not now[name]):
                now[name] = line
                print(line, flush=True)
        self._lines = now
        if is_time:
            self._at = time.monotonic()


def _goes_on(name: str) -> str:
    if Options.is_local:
        return (
            f"nothing drives {name} now, and hosts in trial go back by themselves: start fleetd, or "
            f"fleetctl --local watch {name}"
        )
    return f"{name} goes on (fleetctl watch {name}, fleetctl abort {name})"


def _changes(document: Any, found: list[Any], seen: dict[str, str]) -> None:
    """Print what is new since the last look, a line each."""
    for host in found:
        line = json.dumps(host) if Options.as_json else host_line(host)
        if seen.get(host["name"]) != line:
            seen[host["name"]] = line
            print(line, flush=True)
            if not Options.as_json:
                print("".join(f"{more}\n" for more in reason_lines(host)), end="", flush=True)
    line = json.dumps(document) if Options.as_json else rollout_line(document)
    # Counting seconds of a soak is no news.
    news = f"{document['phase']} {document['counts']} {document.get('paused')}"
    if seen.get("") != news:
        seen[""] = news
        print(line, flush=True)


class _Live:
    """A view that stays in place on a terminal."""

    def __init__(self) -> None:
        from rich.live import Live

        self._found: list[Any] = []
        self._live = Live(refresh_per_second=4, vertical_overflow="crop")
        self._live.start()

    def update(self, document: Any, found: list[Any], doing: list[Any]) -> None:
        """Show what is so now."""
        from fleetd.cli.render import live_view

        self._found = found
        self._live.update(live_view(document, found, shutil.get_terminal_size().lines, doing))

    def close(self) -> None:
        """Leave the last view on the screen, and below it what has no room in a row."""
        self._live.stop()
        for host in self._found:
            for line in reason_lines(host, head=True):
                print(line)
