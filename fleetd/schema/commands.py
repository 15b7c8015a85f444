"""Programs of the control node that a host's entry names."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from fleetd.model.program import LONGEST_PROGRAM_S, ControlCommand
from fleetd.schema.problems import Period, Strict, seconds


class CommandTable(Strict):
    """One program, how long it may take, and a file that it reads."""

    command: list[str] = Field(min_length=1)
    timeout: Period = "1m"
    stdin: str | None = None


def command_of(place: str, table: CommandTable | None, problems: list[str]) -> ControlCommand | None:
    """Return what a table says; mistakes are added with their place, and without the words of the command."""
    if table is None:
        return None
    if not table.command[0] or any("\0" in word for word in table.command):
        problems.append(f"{place}.command: begins with the name of a program, and has no zero bytes")
    if seconds(table.timeout) > LONGEST_PROGRAM_S:
        problems.append(f"{place}.timeout: {table.timeout} is more than 10m")
    if table.stdin is not None and not Path(table.stdin).is_absolute():
        problems.append(f"{place}.stdin: {table.stdin!r} must be an absolute path on the control node")
    return ControlCommand(tuple(table.command), seconds(table.timeout), table.stdin)
