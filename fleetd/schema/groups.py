"""Groups of the fleet file: hosts that need each other."""

from __future__ import annotations

from collections import Counter

from pydantic import Field

from fleetd.model.fleet import Group
from fleetd.schema.problems import Strict, word_of


class GroupTable(Strict):
    """One group, and how many of its hosts may be unproven or unwell at one time."""

    name: str
    on: str
    max_unavailable: int = Field(1, ge=1)


def groups_of(raw: list[GroupTable], problems: list[str]) -> tuple[Group, ...]:
    """Return the groups; what is wrong with them is added to ``problems``, with its place."""
    for name, count in Counter(group.name for group in raw).items():
        if count > 1:
            problems.append(f"groups ({word_of(name)}): {count} groups have this name; each needs its own")
    return tuple(Group(group.name, group.on, group.max_unavailable) for group in raw)
