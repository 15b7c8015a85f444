"""What Nix says of a build while it runs (``--log-format internal-json``): how far it is, its log, why it failed.

Whatever comes is taken: a line that is none of Nix's own is a line of the log, and every list has a limit. Numbers of
activities and results are those of ``libutil/logging.hh``, the same from Nix 2.4 on.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fleetd.model.build import BuildNews, BuildProgress
from fleetd.process import excerpt, plain

FILE_TRANSFER, COPY_PATHS, BUILDS, BUILD, SUBSTITUTE = 101, 103, 104, 105, 108
"""Kinds of activities."""

LOG_LINE, PROGRESS, SET_EXPECTED, POST_BUILD_LINE = 101, 105, 106, 107
"""Kinds of results."""

MARK = b"@nix "
RAW_LINE_BYTES = 256 * 1024
"""A line of Nix's own that is longer cannot be read; what a compiler prints in one line is far less."""

LINE_CHARACTERS = 2000
"""Of a line that is shown or kept."""

ACTIVITIES = 20_000
"""At once; Nix copies and builds a few dozen at a time."""

RUNNING_SHOWN = 8
TAIL_LINES = 30
"""Of the log of one derivation that failed."""

TAILS = 64
"""Derivations whose last lines are remembered: many more than are built at a time."""

ERRORS = 20
ERRORS_CHARACTERS = 1500
TAIL_CHARACTERS = 1900
"""Together they fit what the outcome of a build keeps."""

LARGEST = 2**63 - 1
_DERIVATION = re.compile(r"/nix/store/[0-9a-z]{32}-([^'\"\s/]+?)(?:\.drv)?(?=['\"\s:]|$)")
_COUNTED = (FILE_TRANSFER, COPY_PATHS, BUILDS)


@dataclass(slots=True)
class _Activity:
    """Something that began and has not ended; counts as its own progress says."""

    kind: int
    name: str
    done: int = 0
    expected: int = 0
    failed: int = 0
    announced: dict[int, int] = field(default_factory=dict)
    """What it says is to be done by kinds of activities, where that is known before they begin."""


class BuildWatch:
    """Takes stderr of one build piece by piece; ``told`` gets the news of each piece that has any."""

    def __init__(self, told: Callable[[BuildNews], None] = lambda _news: None) -> None:
        self._told = told
        self._rest = b""
        self._skips = False
        self._lines: list[str] = []
        self._activities: dict[int, _Activity] = {}
        self._ended: dict[int, tuple[int, int]] = {}
        """Done and failed of activities that are over, by kind."""
        self._errors: deque[str] = deque(maxlen=ERRORS)
        self._said: deque[str] = deque(maxlen=TAIL_LINES)
        self._tails: dict[str, deque[str]] = {}
        self._before = BuildProgress()

    def feed(self, piece: bytes) -> None:
        """Take what came; never raises for what is in it."""
        *whole, rest = (self._rest + piece).split(b"\n")
        for line in whole:
            if self._skips:
                self._skips = False
            else:
                self._take(line)
        if self._skips:
            rest = b""
        elif len(rest) > RAW_LINE_BYTES:
            self._say(f"(a line of more than {RAW_LINE_BYTES} bytes was left out)")
            rest, self._skips = b"", True
        self._rest = rest
        self._tell()

    def close(self) -> None:
        """Take what is left of a last line that did not end."""
        if self._rest:
            self._take(self._rest)
            self._rest = b""
        self._tell()

    def progress(self) -> BuildProgress:
        """Return how far the build is."""
        built, to_build, failed = self._counts(BUILDS)
        copied, to_copy, _failed = self._counts(COPY_PATHS)
        downloaded, to_download, _failed = self._counts(FILE_TRANSFER)
        running = [activity.name for activity in self._activities.values() if activity.kind == BUILD]
        return BuildProgress(
            built=built,
            to_build=to_build,
            failed=failed,
            copied=copied,
            to_copy=to_copy,
            downloaded_bytes=downloaded,
            download_bytes=to_download,
            running_count=len(running),
            running=tuple(running[:RUNNING_SHOWN]),
        )

    def message(self) -> str:
        """Return why a build failed: Nix's errors, and the end of the log of what they name."""
        errors = "\n".join(self._errors)
        named = [name for name in dict.fromkeys(_DERIVATION.findall(errors)) if name in self._tails]
        tails = [line for name in named for line in self._tails[name]] if named else list(self._said)
        parts = [excerpt(errors, ERRORS_CHARACTERS)] if errors else []
        if tails:
            text = "\n".join(tails)
            cut = f"…{text[-TAIL_CHARACTERS:]}" if len(text) > TAIL_CHARACTERS else text
            parts.append(f"the end of its log:\n{cut}" if errors else cut)
        return "\n".join(parts)

    # -- lines ----------------------------------------------------------------------------------------------------

    def _take(self, raw: bytes) -> None:
        said = _object(raw) if raw.startswith(MARK) else None
        if said is None:
            # A builder of an old Nix, ssh to a remote one, a warning before the format was set.
            self._say_all(raw.decode("utf-8", errors="replace"))
            return
        match said.get("action"):
            case "start":
                self._start(said)
            case "stop":
                self._stop(said)
            case "result":
                self._result(said)
            case "msg":
                self._message(said)
            case _:
                # Of a newer Nix; there is nothing to count in it.
                pass

    def _start(self, said: Mapping[str, Any]) -> None:
        kind, fields = _number(said.get("type")), _fields(said)
        name = _name_of(fields[0]) if fields and isinstance(fields[0], str) else ""
        if kind == BUILD:
            machine = plain(fields[1]) if len(fields) > 1 and isinstance(fields[1], str) else ""
            self._say(f"building {name}" + (f" on {machine}" if machine else ""))
        elif kind == SUBSTITUTE:
            # Without where from: the address of a cache may hold a secret.
            self._say(f"fetching {name}")
        if len(self._activities) < ACTIVITIES:
            self._activities[_number(said.get("id"))] = _Activity(kind, name)

    def _stop(self, said: Mapping[str, Any]) -> None:
        ended = self._activities.pop(_number(said.get("id")), None)
        if ended is not None and ended.kind in _COUNTED:
            done, failed = self._ended.get(ended.kind, (0, 0))
            self._ended[ended.kind] = (done + ended.done, failed + ended.failed)

    def _result(self, said: Mapping[str, Any]) -> None:
        activity, fields = self._activities.get(_number(said.get("id"))), _fields(said)
        kind, about = _number(said.get("type")), _number(fields[0]) if fields else 0
        if kind in (LOG_LINE, POST_BUILD_LINE) and fields:
            self._log(activity.name if activity is not None else "", str(fields[0]))
        elif kind == PROGRESS and activity is not None and len(fields) >= 4:
            activity.done, activity.expected, activity.failed = about, _number(fields[1]), _number(fields[3])
        elif kind == SET_EXPECTED and activity is not None and len(fields) >= 2 and about in _COUNTED:
            activity.announced[about] = _number(fields[1])

    def _message(self, said: Mapping[str, Any]) -> None:
        text = plain(str(said.get("msg", "")))
        if _number(said.get("level"), 3) == 0 and text.strip():
            self._errors.append(text.strip()[:LINE_CHARACTERS])
        self._say_all(text)

    def _log(self, name: str, text: str) -> None:
        for line in plain(text).splitlines() or [""]:
            shown = f"{name}> {line}" if name else line
            self._say(shown)
            tail = self._tails.pop(name, None) or deque(maxlen=TAIL_LINES)
            tail.append(shown[:LINE_CHARACTERS])
            self._tails[name] = tail
        while len(self._tails) > TAILS:
            del self._tails[next(iter(self._tails))]

    def _say_all(self, text: str) -> None:
        for line in plain(text).splitlines():
            self._say(line)

    def _say(self, line: str) -> None:
        shown = line[:LINE_CHARACTERS]
        self._lines.append(shown)
        if shown.strip():
            self._said.append(shown)

    # -- counts ---------------------------------------------------------------------------------------------------

    def _counts(self, kind: int) -> tuple[int, int, int]:
        """Return done, expected and failed of a kind of activity."""
        done, failed = self._ended.get(kind, (0, 0))
        expected, announced = done, 0
        for activity in self._activities.values():
            announced += activity.announced.get(kind, 0)
            if activity.kind == kind:
                done, expected = done + activity.done, expected + activity.expected
                failed += activity.failed
        return done, max(done, expected, announced), failed

    def _tell(self) -> None:
        progress, lines = self.progress(), tuple(self._lines)
        self._lines.clear()
        if lines or progress != self._before:
            self._before = progress
            self._told(BuildNews(progress, lines))


def _object(raw: bytes) -> Mapping[str, Any] | None:
    try:
        said = json.loads(raw[len(MARK) :])
    except (ValueError, RecursionError):
        return None
    return said if isinstance(said, dict) else None


def _fields(said: Mapping[str, Any]) -> list[Any]:
    fields = said.get("fields")
    return fields if isinstance(fields, list) else []


def _number(value: object, default: int = 0) -> int:
    """Return a count; what is none is ``default``. A sum of what is held here stays small."""
    if not isinstance(value, int) or isinstance(value, bool):
        return default
    return min(max(value, 0), LARGEST)


def _name_of(path: str) -> str:
    """Return the name of a derivation or path, as it is shown."""
    base = plain(path).rsplit("/", 1)[-1].removesuffix(".drv")
    return base[33:] if len(base) > 33 and base[32] == "-" else base[:LINE_CHARACTERS]
