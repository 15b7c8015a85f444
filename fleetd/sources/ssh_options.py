"""Options of ``ssh`` that other tools' fleets carry: what of them fleetd can follow. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_SHORT = {"-p": "port", "-J": "proxyjump"}


@dataclass(frozen=True, slots=True)
class SshOptions:
    """The last port and jump that were named, and every option that is neither."""

    port: int | None
    jump: str | None
    others: tuple[str, ...]


def read_ssh_options(words: Sequence[str]) -> SshOptions:
    """Return what options mean; nothing is dropped, what fleetd cannot follow is in ``others``.

    An option may be one word or two, and several may stand in one text (``"-p 2222"``), as users write them.
    """
    left = [part for word in words for part in word.split()]
    port: int | None = None
    jump: str | None = None
    others: list[str] = []
    while left:
        shown, key, value = _next(left)
        if key == "port" and value.isdecimal() and 1 <= int(value) <= 65535:
            # The first that is named counts, as for ssh.
            port = port or int(value)
        elif key == "proxyjump" and value and not set(value) & set("@:,"):
            jump = jump or value
        else:
            others.append(shown)
    return SshOptions(port, jump, tuple(others))


def _next(left: list[str]) -> tuple[str, str, str]:
    """Take one option off: how it was written, its key in lower case, its value."""
    word = left.pop(0)
    flag, rest = word[:2], word[2:]
    if flag in (*_SHORT, "-o") and not rest and left:
        rest = left.pop(0)
        word = f"{word} {rest}"
    if flag in _SHORT:
        return word, _SHORT[flag], rest
    if flag == "-o":
        key, _equals, value = rest.partition("=")
        return word, key.lower(), value
    if left and not left[0].startswith("-"):
        # The value of an option that is not known here.
        word = f"{word} {left.pop(0)}"
    return word, "", ""
