"""Events as JSON and back: one generic reading of the dataclasses themselves, so that no field can be forgotten.

A union is written with the name of its class under ``is``. Unknown fields in a record are errors, missing ones take
the dataclass's default: a record of an older release reads as long as fields are only added with defaults. What a new
field must keep to, and what else can change, is in ``versions``.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable, Mapping
from enum import Enum
from functools import cache
from typing import Any

from fleetd.rollout import events as e
from fleetd.rollout.versions import ADDED, FIRST, TAG, TooNew, upcast

EVENT_KINDS: Mapping[str, type] = {cls.__name__: cls for cls in (*typing.get_args(e.Event),) if isinstance(cls, type)}
"""Every kind of record by its name."""

_COLUMNS = ("at", "rollout", "host")
"""What a record keeps in columns of its own."""


class CodecError(ValueError):
    """A record does not describe an event; the text names the field."""


def encode_event(event: e.Event) -> tuple[str, str, str, dict[str, object]]:
    """Return (kind, rollout, host, data)."""
    data = {name: value for name, value in _fields(event).items() if name not in _COLUMNS}
    return type(event).__name__, str(getattr(event, "rollout", "")), str(getattr(event, "host", "")), data


def decode_event(
    kind: str, at: float, rollout: str, host: str, data: Mapping[str, object], version: int = FIRST
) -> e.Event:
    """Return the event of a record. Raises CodecError naming what is wrong, TooNew for one of a later release."""
    cls = EVENT_KINDS.get(kind)
    if cls is None:
        raise TooNew(f"it is of an unknown kind of record, {kind!r}")
    if not isinstance(data, Mapping):
        raise CodecError(f"{kind}: expected an object")
    try:
        data = upcast(kind, version, data)
    except TooNew:
        raise
    except ValueError as error:
        raise CodecError(f"{kind}: {error}") from error
    names = {field.name for field in dataclasses.fields(cls)}
    columns = {"at": at, "rollout": rollout, "host": host}
    whole = {**data, **{name: value for name, value in columns.items() if name in names}}
    event: e.Event = _reader(cls)(whole, kind)
    return event


def encode_value(value: object) -> dict[str, object]:
    """Return a dataclass that is no event as the data of a record."""
    return _fields(value)


def decode_value(cls: type, data: Mapping[str, object], where: str) -> Any:
    """Return what ``encode_value`` wrote. Raises CodecError naming what is wrong, TooNew."""
    return _reader(cls)(data, where)


def _fields(value: Any) -> dict[str, object]:
    """Return the fields of a dataclass, without those that the release before does not know and that say nothing."""
    added = ADDED.get(type(value).__name__, ())
    return {
        field.name: _encode(getattr(value, field.name))
        for field in dataclasses.fields(value)
        if field.name not in added or getattr(value, field.name) != field.default
    }


def _encode(value: object) -> object:
    if isinstance(value, Enum):
        return value.value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {TAG: type(value).__name__, **_fields(value)}
    if isinstance(value, tuple):
        return [_encode(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _encode(item) for key, item in value.items()}
    return value


Reader = Callable[[Any, str], Any]


@cache
def _reader(hint: Any) -> Reader:
    """Return a function that reads one type; built once per type."""
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return _union_reader(typing.get_args(hint))
    if origin is dict:
        return _dict_reader(*typing.get_args(hint))
    if origin is tuple:
        return _tuple_reader(typing.get_args(hint)[0])
    if isinstance(hint, typing.NewType):
        return _reader(hint.__supertype__)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return _enum_reader(hint)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return _class_reader(hint)
    return _plain_reader(hint)


def _plain_reader(hint: Any) -> Reader:
    accepted = (int, float) if hint is float else hint

    def read(value: Any, where: str) -> Any:
        if not isinstance(value, accepted) or (hint is not bool and isinstance(value, bool)):
            raise CodecError(f"{where}: expected {hint.__name__}, found {value!r}"[:300])
        return value

    return read


def _enum_reader(hint: type[Enum]) -> Reader:
    def read(value: Any, where: str) -> Any:
        try:
            return hint(value)
        except ValueError as error:
            raise CodecError(f"{where}: {error}") from error

    return read


def _tuple_reader(item: Any) -> Reader:
    read_item = _reader(item)

    def read(value: Any, where: str) -> Any:
        if not isinstance(value, list):
            raise CodecError(f"{where}: expected a list")
        return tuple(read_item(entry, f"{where}[{index}]") for index, entry in enumerate(value))

    return read


def _dict_reader(key: type, item: Any) -> Reader:
    read_item = _reader(item)

    def read(value: Any, where: str) -> Any:
        if not isinstance(value, dict):
            raise CodecError(f"{where}: expected an object")
        return {key(name): read_item(entry, f"{where}.{name}") for name, entry in value.items()}

    return read


def _union_reader(options: tuple[Any, ...]) -> Reader:
    classes = {
        option.__name__: _reader(option)
        for option in options
        if isinstance(option, type) and dataclasses.is_dataclass(option)
    }
    plain = [_reader(option) for option in options if not dataclasses.is_dataclass(option) and option is not type(None)]
    may_be_none = type(None) in options

    def read(value: Any, where: str) -> Any:
        if value is None and may_be_none:
            return None
        if isinstance(value, dict) and classes:
            reader = classes.get(str(value.get(TAG)))
            if reader is None:
                raise TooNew(f"{where} is of a kind that this fleetd does not know, {value.get(TAG)!r}")
            return reader(value, where)
        for reader in plain:
            try:
                return reader(value, where)
            except CodecError:
                continue
        raise CodecError(f"{where}: {value!r} fits nothing that is allowed here"[:300])

    return read


def _class_reader(hint: type) -> Reader:
    hints = typing.get_type_hints(hint)
    fields = {field.name: field for field in dataclasses.fields(hint)}
    readers = {name: _reader(hints[name]) for name in fields}
    required = {
        name
        for name, field in fields.items()
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    }

    def read(value: Any, where: str) -> Any:
        if not isinstance(value, dict):
            raise CodecError(f"{where}: expected an object")
        given = {name: entry for name, entry in value.items() if name != TAG}
        unknown, missing = sorted(given.keys() - fields.keys()), sorted(required - given.keys())
        if unknown and not missing:
            raise TooNew(f"{where} has fields that this fleetd does not know: {', '.join(unknown)}")
        if unknown or missing:
            raise CodecError(f"{where}: unknown fields {unknown}, missing fields {missing}")
        return hint(**{name: readers[name](entry, f"{where}.{name}") for name, entry in given.items()})

    return read
