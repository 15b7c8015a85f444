"""Records that are no events: told by what is wrong, so that the start names the record."""

from __future__ import annotations

import pytest

from fleetd.rollout.codec import CodecError, decode_event, encode_event
from fleetd.rollout.events import AbortRequested
from fleetd.rollout.versions import TooNew


@pytest.mark.parametrize(
    ("kind", "data", "told"),
    [
        ("AbortRequested", [], "AbortRequested: expected an object"),
        ("AbortRequested", None, "AbortRequested: expected an object"),
        ("AbortRequested", {"by": "kim"}, "missing fields"),
        ("AbortRequested", {"by": 1, "reason": ""}, "AbortRequested.by: expected str, found 1"),
    ],
)
def test_what_is_wrong_with_a_record_is_told(kind: str, data: object, told: str) -> None:
    with pytest.raises(CodecError, match=told):
        decode_event(kind, 1.0, "r-1", "", data)  # type: ignore[arg-type]


def test_an_unknown_kind_is_of_a_later_release() -> None:
    with pytest.raises(TooNew, match="unknown kind of record, 'Unheard'"):
        decode_event("Unheard", 1.0, "r-1", "", {})


def test_what_is_written_is_read() -> None:
    event = AbortRequested(1.0, "r-1", "kim", "lunch")
    kind, rollout, host, data = encode_event(event)
    assert decode_event(kind, 1.0, rollout, host, data) == event
