"""How the helper comes to a host: by Nix' own commands, in a store of its own."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleetd.host.port import INSTALL_HELPER
from tests.nix.private_store import Collector, PrivateStore, temporary_directory

PROGRAM = b"#!/bin/sh\necho well\n"

LN = """#!/bin/sh
: >"$PLACE/linking"
until [ -e "$PLACE/go" ]; do sleep 0.01; done
exec /bin/ln "$@"
"""


@pytest.fixture
def place() -> Iterator[Path]:
    with temporary_directory() as found:
        yield found


def started(store: PrivateStore, place: Path) -> subprocess.Popen[bytes]:
    """Begin to install; nothing is linked before ``go`` is there."""
    (place / "bin").mkdir()
    (place / "bin/ln").write_text(LN)
    (place / "bin/ln").chmod(0o755)
    env = {**os.environ, **store.env, "PLACE": str(place), "PATH": f"{place}/bin:{os.environ['PATH']}"}
    argv = ["sh", "-c", INSTALL_HELPER, "sh", "fleetd-host", str(store.root / "nix/var/nix/gcroots/fleetd")]
    child = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env)
    assert child.stdin is not None
    child.stdin.write(PROGRAM)
    child.stdin.close()
    child.stdin = None
    return child


def test_a_collector_that_has_just_read_the_roots_does_not_take_the_helper(place: Path) -> None:
    store = PrivateStore(place / "host")
    collector = Collector(store)
    child = started(store, place)
    end = time.monotonic() + 30
    while not (place / "linking").exists():
        assert time.monotonic() < end
        time.sleep(0.01)
    collector.begin()
    (place / "go").touch()
    later = threading.Timer(1, collector.go_on)
    later.start()
    said, problem = child.communicate(timeout=60)
    later.join()
    collector.end()
    path = said.decode().strip()
    assert child.returncode == 0, problem
    assert store.is_valid(path)
    assert store.real(path).read_bytes() == PROGRAM
    assert (store.root / "nix/var/nix/gcroots/fleetd/helper").readlink() == Path(path)
