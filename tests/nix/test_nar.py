"""Archives are byte for byte those of Nix, in bounded pieces."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetd.model.nix32 import from_nix32, nix32
from fleetd.nix.nar import CHUNK_BYTES, DEPTH_LIMIT, NarError, dump
from tests.nix.private_store import temporary_directory

NAMES = st.binary(min_size=1, max_size=12).filter(
    lambda name: name not in (b".", b"..") and not set(name) & set(b"/\0")
)
LINKS = st.binary(min_size=1, max_size=40).filter(lambda target: b"\0" not in target).map(lambda t: ("link", t))
FILES = st.tuples(st.sampled_from(["file", "program"]), st.binary(max_size=40))


def directories(inner: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    return st.dictionaries(NAMES, inner, max_size=5).map(lambda entries: ("directory", entries))


TREES = st.recursive(FILES | LINKS, directories, max_leaves=12)


@pytest.fixture
def place() -> Iterator[Path]:
    with temporary_directory() as directory:
        yield directory


def nix_dump(path: Path | bytes) -> bytes:
    return subprocess.run(["nix-store", "--dump", path], capture_output=True, check=True).stdout


def build(path: bytes, tree: object) -> None:
    match tree:
        case ("directory", dict(entries)):
            os.mkdir(path)
            for name, inner in entries.items():
                build(path + b"/" + name, inner)
        case ("link", bytes(target)):
            os.symlink(target, path)
        case (kind, bytes(content)):
            Path(os.fsdecode(path)).write_bytes(content)
            os.chmod(path, 0o755 if kind == "program" else 0o644)
        case _:
            raise AssertionError(tree)


@settings(max_examples=40, deadline=None)
@given(tree=TREES)
def test_any_tree_is_dumped_as_nix_does(tree: object) -> None:
    with temporary_directory() as directory:
        path = os.fsencode(directory) + b"/tree"
        build(path, tree)
        assert b"".join(dump(os.fsdecode(path))) == nix_dump(path)


def test_odd_trees_are_dumped_as_nix_does(place: Path) -> None:
    tree = place / "tree"
    (tree / "deep/er/still").mkdir(parents=True)
    (tree / "empty").mkdir()
    (tree / "ünïcode näme").write_text("x")
    for name in ("A", "a", "a-", "a.b", "ab", "a b", "B", "z" * 255):  # byte order, not that of any locale
        (tree / name).write_bytes(b"12345678")
    (tree / "nothing").touch()
    (tree / "run").write_text("#!/bin/sh\n")
    (tree / "run").chmod(0o755)
    (tree / "group only").touch()
    (tree / "group only").chmod(0o654)
    (tree / "link").symlink_to("no/where")
    (tree / "long link").symlink_to("l" * 4000)
    for size in (CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES + 5):
        (tree / "deep/er/still" / str(size)).write_bytes(b"z" * size)
    assert b"".join(dump(str(tree))) == nix_dump(tree)


def test_pieces_are_bounded_and_small_files_gathered(place: Path) -> None:
    tree = place / "tree"
    tree.mkdir()
    for number in range(2000):
        (tree / f"{number:04}").write_bytes(b"x" * 50)
    (tree / "large").write_bytes(b"y" * 1_000_000)
    sizes = [len(piece) for piece in dump(str(tree))]
    assert 0 < min(sizes) <= max(sizes) <= CHUNK_BYTES
    assert len(sizes) < 2 * sum(sizes) / CHUNK_BYTES + 2


def test_depth_is_bounded_as_in_nix(place: Path) -> None:
    path = place / "tree" / "/".join("d" * DEPTH_LIMIT)
    path.mkdir(parents=True)
    assert b"".join(dump(str(place / "tree"))) == nix_dump(place / "tree")
    (path / "one more").mkdir()
    with pytest.raises(NarError, match="deeper than 64"):
        list(dump(str(place / "tree")))


def test_what_cannot_be_archived_is_named(place: Path) -> None:
    os.mkfifo(place / "fifo")
    with pytest.raises(NarError, match="fifo"):
        list(dump(str(place)))
    with pytest.raises(OSError, match="missing"):
        list(dump(str(place / "missing")))


def test_a_file_that_shrinks_is_an_error_and_one_that_grows_is_cut(place: Path) -> None:
    file = place / "file"
    file.write_bytes(b"x" * 1_000_000)
    pieces = dump(str(file))
    next(pieces)
    os.truncate(file, 200_000)
    with pytest.raises(NarError, match="shorter"):
        list(pieces)
    pieces = dump(str(file))
    head = next(pieces)
    with file.open("ab") as more:
        more.write(b"y" * 100_000)
    assert len(head + b"".join(pieces)) == len(nix_dump(file)) - 100_000


@given(st.binary(min_size=32, max_size=32))
def test_base_32_round_trip(digest: bytes) -> None:
    assert from_nix32(nix32(digest)) == digest


def test_base_32_is_that_of_nix() -> None:
    digest = hashlib.sha256(b"hello").digest()
    argv = ["nix-hash", "--type", "sha256", "--to-base32", digest.hex()]
    assert nix32(digest) == subprocess.run(argv, capture_output=True, check=True, text=True).stdout.strip()
