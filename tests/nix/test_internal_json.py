"""What Nix says of a build is read as it comes: counts, a log, a reason; and nothing that is said can hurt."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetd.model.build import BuildNews, BuildProgress
from fleetd.nix import internal_json
from fleetd.nix.internal_json import BuildWatch

RECORDED = Path(__file__).parent / "recorded"
"""stderr of Nix 2.8 and of the lab's Nix, as it came; README.md there says of what."""

DRV = f"/nix/store/{'1' * 32}-hello-2.12.drv"


def line(**said: object) -> bytes:
    return b"@nix " + json.dumps(said).encode() + b"\n"


def start(number: int, kind: int, *fields: object) -> bytes:
    return line(action="start", id=number, level=3, type=kind, text="", parent=0, fields=list(fields))


def result(number: int, kind: int, *fields: object) -> bytes:
    return line(action="result", id=number, type=kind, fields=list(fields))


def stop(number: int) -> bytes:
    return line(action="stop", id=number)


def heard(*pieces: bytes) -> tuple[BuildWatch, list[BuildNews]]:
    news: list[BuildNews] = []
    watch = BuildWatch(news.append)
    for piece in pieces:
        watch.feed(piece)
    watch.close()
    return watch, news


def lines_of(news: list[BuildNews]) -> list[str]:
    return [said for one in news for said in one.lines]


@pytest.mark.parametrize("version", ["2.8", "2.26"])
@pytest.mark.parametrize(
    ("kind", "at_the_end", "said"),
    [
        ("good", BuildProgress(built=1, to_build=1), "building nixos-system-web1-1"),
        ("wrong", BuildProgress(built=2, to_build=2, failed=1), "left-1.0> CC left.o"),
        ("fetched", BuildProgress(copied=3, to_copy=3), "fetching right-2.0"),
    ],
)
@pytest.mark.parametrize("piece", [1, 7, 1_000_000])
def test_what_nix_has_said_is_understood(
    version: str, kind: str, at_the_end: BuildProgress, said: str, piece: int
) -> None:
    whole = (RECORDED / f"{version}-{kind}.log").read_bytes()
    watch, news = heard(*(whole[place : place + piece] for place in range(0, len(whole), piece)))
    assert watch.progress() == at_the_end
    assert said in lines_of(news)
    assert not any("@nix" in line or "\x1b" in line for line in lines_of(news))
    if kind == "wrong":
        first, *_rest, last = watch.message().splitlines()
        assert first.startswith("error: builder for '/nix/store/") and first.endswith("failed with exit code 7")
        assert last == "bad-3.0> there is no compiler", "and no line of what was built well"
        if piece < 100:
            assert any(one.progress.running == ("right-2.0",) for one in news)
            assert max(one.progress.to_build for one in news) == 4


def test_builds_copies_and_downloads_are_counted() -> None:
    begun = [start(1, 104), start(2, 103), start(3, 102), result(3, 106, 101, 4000)]
    begun += [result(1, 105, 0, 3, 1, 0), result(2, 105, 2, 5, 1, 0), start(4, 105, DRV, "", 1, 1)]
    begun += [start(5, 101), result(5, 105, 1000, 1500, 0, 0)]
    watch, _news = heard(b"".join(begun))
    assert watch.progress() == BuildProgress(0, 3, 0, 2, 5, 1000, 4000, 1, ("hello-2.12",))
    for piece in (stop(4), stop(5), result(1, 105, 2, 3, 0, 1)):
        watch.feed(piece)
    assert watch.progress() == BuildProgress(2, 3, 1, 2, 5, 1000, 4000, 0, ())
    for number in (1, 2, 3):
        watch.feed(stop(number))
    assert watch.progress() == BuildProgress(2, 2, 1, 2, 2, 1000, 1000, 0, ()), "what is over stays counted"


def test_lines_have_names_and_no_control_characters() -> None:
    pieces = [start(4, 105, DRV, "ssh://builder", 1, 1), result(4, 101, "\x1b[31mred\x1b[0m\x07\x9b2J tea\tpot")]
    pieces += [start(5, 108, f"/nix/store/{'2' * 32}-glibc-2.39", "https://user:secret@cache.example.org")]
    pieces += [line(action="msg", level=1, msg="\x1b[35;1mwarning:\x1b[0m two\nlines"), b"no JSON at all\n"]
    _watch, news = heard(*pieces)
    assert lines_of(news) == [
        "building hello-2.12 on ssh://builder",
        "hello-2.12> red2J tea\tpot",
        "fetching glibc-2.39",
        "warning: two",
        "lines",
        "no JSON at all",
    ]


def test_a_failure_is_told_with_the_end_of_the_log_that_it_names() -> None:
    other = f"/nix/store/{'2' * 32}-other-1.drv"
    pieces = [start(1, 105, DRV, "", 1, 1), start(2, 105, other, "", 1, 1)]
    pieces += [result(1, 101, f"step {n}") for n in range(50)] + [result(2, 101, "all is well")]
    pieces += [line(action="msg", level=0, msg=f"error: builder for '{DRV}' failed with exit code 2")]
    watch, _news = heard(*pieces)
    message = watch.message().splitlines()
    assert message[:2] == [f"error: builder for '{DRV}' failed with exit code 2", "the end of its log:"]
    assert message[2:] == [f"hello-2.12> step {n}" for n in range(20, 50)]


def test_a_failure_without_an_error_tells_what_was_said_last() -> None:
    watch, _news = heard(b"nix-store: cannot connect\n", b"and that is all")
    assert watch.message() == "nix-store: cannot connect\nand that is all"
    assert heard()[0].message() == ""


def test_a_line_without_an_end_is_not_kept() -> None:
    watch = BuildWatch()
    for _ in range(64):
        watch.feed(b"@nix " + b"x" * 64 * 1024)
        assert len(watch._rest) <= internal_json.RAW_LINE_BYTES
    watch.feed(b'"}\n' + start(1, 105, DRV, "", 1, 1))
    assert watch.progress().running == ("hello-2.12",), "the line after it is read"
    assert "left out" in watch.message()


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(internal_json, "ACTIVITIES", 100)
    watch = BuildWatch()
    for number in range(200):
        name = f"/nix/store/{'3' * 32}-part-{number}.drv"
        watch.feed(start(number, 105, name, "", 1, 1) + result(number, 101, "y" * 5000))
        watch.feed(line(action="msg", level=0, msg="error: " + "z" * 5000))
    assert (len(watch._activities), len(watch._tails), len(watch._errors)) == (100, 64, 20)
    assert max(len(text) for tail in watch._tails.values() for text in tail) <= internal_json.LINE_CHARACTERS
    assert watch.progress().running_count == 100
    assert len(watch.progress().running) == internal_json.RUNNING_SHOWN
    assert len(watch.message()) <= 3600


VALUES: st.SearchStrategy[object] = st.sampled_from(
    [None, True, -1, 2**70, 1.5, "", "text", "\x1b[2J", DRV, [], [1], [[]], {}, {"a": 1}]
)
KINDS = st.sampled_from([*range(100, 113), -1, 2**80])
SAID = st.fixed_dictionaries(
    {"action": st.sampled_from(["start", "stop", "result", "msg", "new"])},
    optional={
        "id": st.integers(0, 5) | VALUES,
        "type": KINDS | VALUES,
        "fields": st.lists(st.integers(0, 120) | VALUES, max_size=5) | VALUES,
        "msg": VALUES,
        "level": VALUES,
    },
)


@given(
    st.lists(st.builds(lambda said: b"@nix " + json.dumps(said).encode(), SAID) | st.binary(max_size=40), max_size=20)
)
def test_whatever_is_said_is_taken(said: list[bytes]) -> None:
    watch, news = heard(b"\n".join(said))
    watch.message()
    for one in news:
        assert all(text.isprintable() or "\t" in text or not text.isascii() for text in one.lines)
        assert min(one.progress.built, one.progress.to_build, one.progress.download_bytes) >= 0


@given(st.lists(st.builds(lambda said: b"@nix " + json.dumps(said).encode(), SAID), max_size=8), st.data())
def test_where_it_is_cut_makes_no_difference(said: list[bytes], data: st.DataObject) -> None:
    whole = b"\n".join(said) + b"\n"
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=6)))
    pieces = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    (one, at_once), (other, by_pieces) = heard(whole), heard(*pieces)
    assert (one.progress(), one.message(), lines_of(at_once)) == (
        other.progress(),
        other.message(),
        lines_of(by_pieces),
    )


def test_nesting_without_end_is_a_line_like_any_other() -> None:
    _watch, news = heard(b"@nix " + b"[" * 100_000 + b"\n")
    assert len(lines_of(news)) == 1
