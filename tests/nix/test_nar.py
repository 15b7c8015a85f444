"""Archives and hashes are byte for byte those of Nix."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from fleetd.model.nix32 import from_nix32, nix32
from fleetd.nix.nar import dump


def nix_dump(path: Path) -> bytes:
    return subprocess.run(["nix-store", "--dump", str(path)], capture_output=True, check=True).stdout


def test_odd_trees_are_dumped_as_nix_does(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "deep/er/still").mkdir(parents=True)
    (tree / "empty").mkdir()
    (tree / "ünïcode näme").write_text("x")
    (tree / "A").write_bytes(b"")
    (tree / "a b").write_bytes(b"12345678")
    (tree / "run").write_text("#!/bin/sh\n")
    (tree / "run").chmod(0o755)
    (tree / "link").symlink_to("no/where")
    (tree / "deep/er/still/large").write_bytes(b"z" * 400_001)
    assert b"".join(dump(str(tree))) == nix_dump(tree)


@settings(max_examples=25, deadline=None)
@given(content=st.binary(max_size=300))
def test_files_of_any_content(content: bytes) -> None:
    path = Path("/tmp") / f"fleetd-nar-{hashlib.sha256(content).hexdigest()[:16]}"
    path.write_bytes(content)
    try:
        assert b"".join(dump(str(path))) == nix_dump(path)
    finally:
        path.unlink()


@given(st.binary(min_size=32, max_size=32))
def test_base_32_round_trip(digest: bytes) -> None:
    assert from_nix32(nix32(digest)) == digest


def test_base_32_is_that_of_nix() -> None:
    digest = hashlib.sha256(b"hello").digest()
    argv = ["nix-hash", "--type", "sha256", "--to-base32", digest.hex()]
    assert nix32(digest) == subprocess.run(argv, capture_output=True, check=True, text=True).stdout.strip()
