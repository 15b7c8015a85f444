"""Hooks of the fleet file: commands around a host's trial."""

from __future__ import annotations

import re
from collections import Counter
from typing import Literal

from pydantic import Field

from fleetd.model.hook import LONGEST_HOOK_S, Hook, OnHookFailure, When, Where
from fleetd.schema.problems import Period, Strict, seconds, word_of

_BRACES = re.compile(r"\{([a-z_]+)\}")
_KNOWN = ("name", "address", "port")


class HookTable(Strict):
    """One hook: on which hosts, at which point, where it runs, and what it means when it does not succeed."""

    name: str | None = None
    on: str
    when: Literal["before", "after-commit", "after-revert", "always-after"]
    where: Literal["controller", "host"] = "controller"
    command: list[str] = Field(min_length=1)
    timeout: Period = "10m"
    on_failure: Literal["skip-host", "fail", "ignore"] | None = None


def hooks_of(raw: list[HookTable], problems: list[str]) -> tuple[Hook, ...]:
    """Return the hooks; what is wrong with them is added to ``problems``, with its place."""
    found = tuple(_hook(number, table, problems) for number, table in enumerate(raw, 1))
    for name, count in Counter(hook.name for hook in found).items():
        if count > 1:
            # What has run is known by name: one hook would stand for another.
            problems.append(f"hooks ({word_of(name)}): {count} hooks have this name; each needs its own")
    return found


def _hook(number: int, table: HookTable, problems: list[str]) -> Hook:
    name = f"{table.when}-{number}" if table.name is None else table.name
    place, when = f"hooks.{number - 1} ({word_of(name)})", When(table.when)
    if not name.strip() or not name.isprintable():
        problems.append(f"{place}.name: must be a word or more, on one line")
    # Of its words only the place is told: they may be secret.
    if not table.command[0] or "=" in table.command[0] or any("\0" in word for word in table.command):
        problems.append(f"{place}.command: begins with the name of a program, and has no zero bytes")
    unknown = sorted({word for text in table.command for word in _BRACES.findall(text)} - set(_KNOWN))
    if unknown:
        problems.append(f"{place}.command: unknown {{{unknown[0]}}} (there are {{name}}, {{address}}, {{port}})")
    if seconds(table.timeout) > LONGEST_HOOK_S:
        problems.append(f"{place}.timeout: {table.timeout} is more than 2h")
    if table.on_failure == "skip-host" and when is not When.BEFORE:
        problems.append(f'{place}.on_failure: a host is passed over before its trial, not after it (write: "fail")')
    usual = OnHookFailure.SKIP_HOST if when is When.BEFORE else OnHookFailure.FAIL
    return Hook(
        name=name,
        on=table.on,
        when=when,
        where=Where(table.where),
        command=tuple(table.command),
        timeout_s=seconds(table.timeout),
        on_failure=usual if table.on_failure is None else OnHookFailure(table.on_failure),
    )
