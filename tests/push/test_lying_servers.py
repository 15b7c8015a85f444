"""Any conversation whatever: pieces of a true one left out, doubled, swapped, cut, with bits turned, and noise between.

A push ends in its report or in a typed error, in bounded time, asks for no more than its own pieces, lets go of its
channels, and claims to have brought what the server did not say it has at no time.
"""

from __future__ import annotations

import asyncio
import time

from hypothesis import given, settings
from hypothesis import strategies as st

from fleetd.errors import PushError
from fleetd.model.fleet import Host
from fleetd.ports import PushReport
from fleetd.push import serve
from fleetd.push.serve import SERVER_MAGIC, encode_int, encode_texts
from fleetd.push.transfer import PushSettings
from tests.push.channel import FakeHosts, SaidChannel
from tests.push.test_pusher import ACK, GREETING, NONE, SENT, TOP, A, B, pusher

QUICK = PushSettings(stall_s=0.1, last_words_s=0.1, root_timeout_s=0.1, write_bytes=1000, in_flight_bytes=4000)
CODES = {"disk-full", "hash-mismatch", "rejected", "no-nix", "too-old", "stalled", "lost"}
"""Those that ``PushError`` says there are."""

LONGEST_S = 10.0
"""A hundred times what the settings allow: what is looked for are ends that never come."""

TRUE = [GREETING, NONE, ACK, ACK, TOP]
PIECES = st.sampled_from(
    [*TRUE, encode_texts([A.path]), encode_texts(["/nix/store/other"]), encode_int(0)]
) | st.one_of(
    st.integers(0, 2**64 - 1).map(encode_int),
    st.integers(0, 2**64 - 1).map(lambda length: encode_int(1) + encode_int(length)),
    st.binary(max_size=40),
)


@st.composite
def conversations(draw: st.DrawFn) -> list[tuple[int, bytes]]:
    """Return what a server says, each piece once so many bytes were written to it."""
    pieces = list(TRUE)
    for _ in range(draw(st.integers(0, 4))):
        place = draw(st.integers(0, len(pieces)))
        match draw(st.sampled_from(["leave out", "double", "swap", "noise"])):
            case "leave out":
                del pieces[place : place + 1]
            case "double":
                pieces[place:place] = pieces[place : place + 1]
            case "swap":
                pieces[place : place + 2] = reversed(pieces[place : place + 2])
            case _:
                pieces.insert(place, draw(PIECES))
    whole = bytearray(b"".join(pieces))
    if whole and draw(st.booleans()):
        bit = draw(st.integers(0, 8 * len(whole) - 1))
        whole[bit // 8] ^= 1 << bit % 8
    if draw(st.booleans()):
        del whole[draw(st.integers(0, len(whole))) :]
    cuts = sorted(draw(st.lists(st.integers(0, len(whole)), max_size=4)))
    parts = [bytes(whole[a:b]) for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    return sorted((draw(st.sampled_from([0, SENT[0], SENT[1], SENT[1] + 1])), part) for part in parts if part)


def missing_in(said: bytes) -> int | None:
    """Return how many paths a server lacked that then took each and in the end has both; None where it says no such.

    Read apart from the product's own reader, word by word.
    """
    words = [int.from_bytes(said[place : place + 8], "little") for place in range(0, len(said), 8)]
    if words[:1] != [SERVER_MAGIC]:
        return None

    def texts(place: int) -> tuple[set[str], int]:
        count, place, found = words[place // 8], place + 8, set()
        for _ in range(count):
            length, place = words[place // 8], place + 8
            found.add(said[place : place + length].decode())
            place += length + -length % 8
        return found, place

    there, place = texts(16)
    missing = 2 - len(there)
    if words[place // 8 : place // 8 + missing] != [1] * missing:
        return None
    after, _end = texts(place + 8 * missing)
    return missing if after == {A.path, B.path} else None


@settings(max_examples=200, deadline=None)
@given(
    said=conversations(),
    room=st.sampled_from([b"", b"xfs 1 9999 9\n", b"xfs 1 9999999999999999999999 9\n"]) | st.binary(max_size=300),
    stderr=st.sampled_from(["", "error: No space left on device", "error: \x1b[31mhash mismatch", "x" * 100_000]),
    status=st.sampled_from([0, 1, 127, 137, 255, None]),
    hangs=st.sampled_from([False, False, False, True]),
)
def test_any_conversation_ends_in_a_report_or_a_typed_error(
    said: list[tuple[int, bytes]], room: bytes, stderr: str, status: int | None, hangs: bool
) -> None:
    server = SaidChannel(said, stderr=stderr, status=status, hangs=hangs)
    root = SaidChannel(room, status=0)

    async def pushed() -> PushReport | PushError:
        hosts = FakeHosts({})
        hosts.instead = [server, root, SaidChannel(b"", status=3)]
        try:
            return await pusher(hosts, QUICK).push(
                Host("web1", ("10.0.0.1",)), B.path, root="r", progress=lambda *_: None, timeout_s=LONGEST_S
            )
        except PushError as error:
            return error

    begun = time.monotonic()
    ended = asyncio.run(pushed())
    assert time.monotonic() - begun < LONGEST_S
    assert max(server.largest_read, root.largest_read) <= serve.READ_BYTES
    assert server.closed and root.closed
    if isinstance(ended, PushError):
        assert ended.code in CODES
        assert "web1" in str(ended)
        assert len(str(ended)) < 3000
    else:
        assert ended.paths == missing_in(b"".join(piece for _after, piece in said))
