"""The wire form: what is cut, hostile or too long is never taken for a reply."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetd.host.wire import Reply, WireError, encode_order, facts_of, parse_reply, printable, status_of
from fleetd.model.fence import Fence
from fleetd.model.order import KeptGenerations, Order, Verb
from tests.probes.test_rounds import FACTS

REPLY = b"fleetd-host 1 3.14\nid=r-1.web1.1\nstate=trial\nend ok started\n"


def test_a_whole_reply() -> None:
    reply = parse_reply(b"banner\n" + REPLY)
    assert (reply.fence, reply.end, reply.code, reply.fields["state"]) == (Fence(3, 14), "ok", "started", "trial")


@pytest.mark.parametrize("length", range(len(REPLY)))
def test_a_reply_cut_anywhere_is_none(length: int) -> None:
    with pytest.raises(WireError):
        parse_reply(REPLY[:length])


@given(st.binary(max_size=400))
def test_garbage_is_a_typed_error(data: bytes) -> None:
    with pytest.raises(WireError):
        parse_reply(data)


def test_an_order_refuses_what_would_end_its_line() -> None:
    order = Order(Verb.SETTLE, "r-1.web1.1", Fence(1, 2), "web1\nverb=commit", "m", "b", 10.0)
    with pytest.raises(WireError, match="host"):
        encode_order(order)


def test_an_order_speaks_of_generations_only_where_some_may_go() -> None:
    order = Order(Verb.TRIAL, "r-1.web1.1", Fence(1, 2), "web1", "m", "b", 10.0, keep_systems=("/nix/store/a",))
    assert b"keep_" not in encode_order(order)
    document = encode_order(replace(order, generations=KeptGenerations(5, 0.5)))
    assert b"\nkeep_newest=5\nkeep_younger_s=1\nkeep_systems=/nix/store/a\n" in document


@pytest.mark.parametrize("number", ["nan", "inf", "-inf", "1e400", "soon"])
@pytest.mark.parametrize("key", ["uptime_s", "clock"])
def test_a_number_that_nobody_can_reckon_with_is_a_typed_error(key: str, number: str) -> None:
    """An order is bound to the host's uptime: arithmetic must not be what refuses it."""
    with pytest.raises(WireError, match=number):
        facts_of(Reply(Fence(1, 7), FACTS | {key: number}, "ok", "facts"))


def test_a_deadline_that_nobody_can_reckon_with_is_a_typed_error() -> None:
    with pytest.raises(WireError, match="nan"):
        status_of(Reply(Fence(1, 7), FACTS | {"deadline_in_s": "nan"}, "ok", "status"))


def test_control_characters_never_reach_a_terminal() -> None:
    assert "\x1b" not in printable("\x1b[31mred\x07")
