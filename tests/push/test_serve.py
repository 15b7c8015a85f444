"""The serve protocol's bytes: what is written is read back, and nothing that is read can hurt."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetd.errors import OutcomeUnknown, PushError
from fleetd.model.store_path import StorePath
from fleetd.ports import PathInfo
from fleetd.push import serve
from tests.push.channel import SaidChannel

TEXTS = st.text(max_size=60).filter(lambda text: len(text.encode()) <= 200)
LEAF = StorePath("/nix/store/" + "a" * 32 + "-leaf")
INFO = PathInfo(LEAF, "", bytes(range(32)), (LEAF,), 1000, ("key:c2ln",), "")


def reader(said: bytes) -> serve.Reader:
    return serve.Reader(SaidChannel(said), "web1")


def test_an_added_path_byte_by_byte() -> None:
    """Fields and their order as in ``ServeProto::Command::AddToStoreNar`` of Nix 2.4 to 2.34."""

    def text(data: bytes) -> bytes:
        return len(data).to_bytes(8, "little") + data + b"\0" * (-len(data) % 8)

    def number(value: int) -> bytes:
        return value.to_bytes(8, "little")

    expected = [number(9), text(LEAF.encode()), text(b""), text(bytes(range(32)).hex().encode())]
    expected += [number(1), text(LEAF.encode()), number(0), number(1000), number(0)]
    expected += [number(1), text(b"key:c2ln"), text(b"")]
    assert serve.add_to_store(INFO) == b"".join(expected)


def test_the_hello_and_the_question() -> None:
    assert serve.hello() == bytes.fromhex("eb9d0c39000000000702000000000000")
    asked = serve.query_valid_paths(["abc"], lock=True, substitute=False)
    assert asked == b"".join(n.to_bytes(8, "little") for n in (1, 1, 0, 1, 3)) + b"abc\0\0\0\0\0"


@given(st.integers(0, 2**64 - 1))
def test_integers_come_back(number: int) -> None:
    assert asyncio.run(reader(serve.encode_int(number)).integer()) == number


@settings(max_examples=50)
@given(st.lists(TEXTS, max_size=10))
def test_sets_of_texts_come_back(texts: list[str]) -> None:
    said = reader(serve.encode_texts(texts) + b"rest....")
    assert asyncio.run(said.texts()) == set(texts)
    assert asyncio.run(said.exactly(8)) == b"rest...."


@given(st.binary(max_size=400))
def test_any_bytes_end_in_a_typed_error_or_an_answer(said: bytes) -> None:
    for read in (serve.Reader.handshake, serve.Reader.texts, serve.Reader.text, serve.Reader.integer):
        try:
            asyncio.run(read(reader(said)))
        except (PushError, serve.ServerEnded):
            continue


@given(st.lists(TEXTS, min_size=1, max_size=8), st.data())
def test_a_set_that_is_cut_is_an_end(texts: list[str], data: st.DataObject) -> None:
    whole = serve.encode_texts(texts)
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(serve.ServerEnded):
        asyncio.run(reader(whole[:cut]).texts())


@pytest.mark.parametrize("length", [serve.PATH_LIMIT_BYTES + 1, 2**31, 2**63, 2**64 - 1])
def test_no_length_is_believed(length: int) -> None:
    """The reader asks the channel for no more than its own piece, whatever length is announced."""
    channel = SaidChannel(serve.encode_int(length) + b"x" * 100)
    with pytest.raises(PushError, match="at most 4096 make sense"):
        asyncio.run(serve.Reader(channel, "web1").text())
    assert channel.largest_read <= serve.READ_BYTES
    with pytest.raises(PushError, match="at most 7 make sense"):
        asyncio.run(reader(serve.encode_int(length)).texts(limit=7))


def test_padding_is_zeros_and_paths_are_text() -> None:
    with pytest.raises(PushError, match="pads"):
        asyncio.run(reader(serve.encode_int(3) + b"abc\0\0\0\0\1").text())
    with pytest.raises(PushError, match="not text"):
        asyncio.run(reader(serve.encode_bytes(b"\xff\xfe")).text())


@pytest.mark.parametrize(
    ("version", "code"),
    [(0x0205, None), (0x0207, None), (0x0208, None), (0x0204, "too-old"), (0x0100, "too-old"), (0x0300, "rejected")],
)
def test_versions(version: int, code: str | None) -> None:
    said = serve.encode_int(serve.SERVER_MAGIC) + serve.encode_int(version)
    if code is None:
        assert asyncio.run(reader(said).handshake()) == min(version, 0x0207)
        return
    with pytest.raises(PushError, match="web1") as caught:
        asyncio.run(reader(said).handshake())
    assert caught.value.code == code


def test_a_shell_that_talks_is_no_server() -> None:
    with pytest.raises(PushError, match="shell profile") as caught:
        asyncio.run(reader(b"Welcome to web1!\n").handshake())
    assert caught.value.code == "no-nix"


def test_a_dead_link_is_not_an_end() -> None:
    with pytest.raises(OutcomeUnknown):
        asyncio.run(serve.Reader(SaidChannel(b"", status=None), "web1").integer())
