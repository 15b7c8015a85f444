"""Mistakes in a file, all at once: each with its place and what would be right."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from fleetd.errors import ConfigError
from fleetd.model.duration import parse_duration
from fleetd.model.policy import Size

Table = TypeVar("Table", bound=BaseModel)


class Strict(BaseModel):
    """A table: unknown keys are errors, and a number is never taken for a text."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def _duration(text: str) -> str:
    parse_duration(text)
    return text


Duration = Annotated[str, AfterValidator(_duration)]


def _period(text: str) -> str:
    if parse_duration(text) == 0:
        raise ValueError(f"{text!r} leaves no time for anything")
    return text


Period = Annotated[str, AfterValidator(_period)]
"""A duration that has to be more than nothing: how long something may take, how far apart its rounds are."""


def seconds(text: str) -> float:
    """Return the seconds of a checked duration."""
    return parse_duration(text)


def _size(value: int | str) -> int | str:
    size_of(value)
    return value


SizeText = Annotated[int | str, AfterValidator(_size)]


def size_of(value: int | str) -> Size:
    """Return a size from ``3`` or ``"25%"``. Raises ValueError."""
    if isinstance(value, int):
        if value < 0:
            raise ValueError(f"{value} is no number of hosts")
        return Size(count=value)
    number = value.removesuffix("%")
    try:
        percent = float(number)
    except ValueError:
        percent = -1.0
    if not value.endswith("%") or not 0 <= percent <= 100:
        raise ValueError(f'{value!r} is no size (write a number of hosts, or a share such as "25%")')
    return Size(percent=percent)


def read_table(model: type[Table], table: Mapping[str, Any], file: str) -> Table:
    """Return the checked table. Raises ConfigError with a line for every mistake."""
    try:
        return model.model_validate(table)
    except ValidationError as error:
        lines = [_line(model, file, problem) for problem in error.errors(include_url=False)]
        raise ConfigError("\n".join(dict.fromkeys(lines))) from error


def _line(model: type[BaseModel], file: str, problem: Mapping[str, Any]) -> str:
    place = ".".join(word_of(part) for part in problem["loc"]) or "(top level)"
    if problem["type"] == "extra_forbidden":
        word = str(problem["loc"][-1])
        near = get_close_matches(word, sorted(_words(model)), 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        return f"{file}: {place}: unknown key {word!r}{hint}"
    message = str(problem["msg"]).removeprefix("Value error, ")
    return f"{file}: {place}: {message} (found {problem.get('input')!r:.80})"


def word_of(part: object) -> str:
    """Return a name from a file as it can stand in a message: on one line, and steering no terminal."""
    text = str(part)
    return text if text.isprintable() and text else repr(text)


def _words(model: type[BaseModel]) -> set[str]:
    """Return every key that may stand anywhere in the file."""
    words: set[str] = set()
    for name, definition in model.model_json_schema().get("$defs", {}).items():
        del name
        words |= set(definition.get("properties", {}))
    return words | set(model.model_fields)
