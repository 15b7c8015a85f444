"""Durations as people write them: ``30s``, ``1m30s``, ``2h``, ``90d``."""

from __future__ import annotations

import re

_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
LONGEST_S = 36500 * 86400.0
"""A hundred years. An instant that far off can still be written as a date; what is longer is a slip of the hand."""
_WHOLE = re.compile(rf"(?:{_PART.pattern})+")


def parse_duration(text: str) -> float:
    """Return seconds.

    Raises:
        ValueError: not a duration; the text says what one looks like.
    """
    if _WHOLE.fullmatch(text) is None:
        raise ValueError(f"{text!r} is not a duration (write 30s, 1m30s, 2h or 90d)")
    total_s = sum(float(number) * _UNITS_S[unit] for number, unit in _PART.findall(text))
    if total_s > LONGEST_S:
        raise ValueError(f"{text[:40]!r} is too long a duration (at most 36500d)")
    return total_s


def format_duration(seconds: float) -> str:
    """Return the shortest exact text for whole seconds, tenths otherwise."""
    if seconds < 0:
        return "-" + format_duration(-seconds)
    if seconds != int(seconds):
        return f"{seconds:.1f}s"
    rest, parts = int(seconds), []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"
