"""What the helper locks while it sets a profile is what Nix' own collector waits for."""

from __future__ import annotations

import fcntl
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.nix.private_store import PrivateStore, temporary_directory, text_file


@pytest.fixture
def place() -> Iterator[Path]:
    with temporary_directory() as found:
        yield found


def test_old_generations_are_not_taken_away_while_the_profile_is_locked(place: Path) -> None:
    store = PrivateStore(place)
    profile = place / "profiles/system"
    profile.parent.mkdir()
    first, second = (store.register(name, text_file(name)) for name in ("nixos-system-web1-1", "nixos-system-web1-2"))
    for system in (first, second):
        store.run("nix-env", "-p", str(profile), "--set", system)
    said = place / "said"
    with profile.with_name("system.lock").open("a") as lock, said.open("wb") as log:
        fcntl.flock(lock, fcntl.LOCK_EX)
        argv = ["nix-env", "-p", str(profile), "--delete-generations", "old"]
        child = subprocess.Popen(argv, stdout=log, stderr=log, env={**os.environ, **store.env})
        end = time.monotonic() + 30
        while b"waiting for lock on profile" not in said.read_bytes():
            assert child.poll() is None and time.monotonic() < end, said.read_bytes()
            time.sleep(0.01)
        assert profile.with_name("system-1-link").is_symlink()
    assert child.wait(30) == 0
    assert not profile.with_name("system-1-link").is_symlink()
    assert profile.readlink() == Path("system-2-link")
