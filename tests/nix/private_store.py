"""Nix stores of their own in a temporary directory: nothing of the machine's own store is read or written."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from fleetd.model.nix32 import nix32
from fleetd.model.store_path import StorePath, parse_store_path
from fleetd.nix.commands import FEATURES

NIX_CONFIG = """
build-users-group =
substituters =
sandbox-paths = /bin/sh /usr/bin /lib /lib64 /usr/lib
"""

Fill = Callable[[Path], None]


class PrivateStore:
    """A store whose ``/nix/store`` really is below ``root``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.env = {
            "NIX_REMOTE": f"local?root={root}",
            "NIX_CONFIG": NIX_CONFIG,
            "NIX_USER_CONF_FILES": "",
            "XDG_CACHE_HOME": str(root / "cache"),
        }
        (root / "nix/store").mkdir(parents=True)
        # Several at once would each begin to make the same directories, and Nix minds.
        self.run("nix-store", "--init")

    def real(self, path: str) -> Path:
        return self.root / path.removeprefix("/")

    def run(self, *argv: str, stdin: str | None = None) -> str:
        env = {**os.environ, **self.env}
        done = subprocess.run(argv, input=stdin, capture_output=True, text=True, env=env, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def path(self, name: str) -> StorePath:
        """The path that ``register`` makes."""
        return parse_store_path(f"/nix/store/{nix32(hashlib.sha256(name.encode()).digest()[:20])}-{name}")

    def register(self, name: str, fill: Fill, references: Sequence[StorePath] = ()) -> StorePath:
        """Make a valid path, once; Nix computes its hash and size, so that ours are compared with its own."""
        path = self.path(name)
        if self.real(path).exists():
            return path
        fill(self.real(path))
        nar_hash = subprocess.run(
            ["nix-hash", "--type", "sha256", str(self.real(path))], capture_output=True, text=True, check=True
        ).stdout.strip()
        size = _archive_size(self.real(path))
        lines = [path, nar_hash, str(size), "", str(len(references)), *references]
        self.run("nix-store", "--load-db", stdin="".join(f"{line}\n" for line in lines))
        return path

    def info(self, path: str) -> object:
        """What Nix says of a closure, but for when it was registered."""
        entries = json.loads(self.run("nix", *FEATURES, "path-info", "--json", "--recursive", path))
        if isinstance(entries, dict):  # since Nix 2.19
            entries = [{"path": name, **entry} for name, entry in entries.items()]
        return [{key: value for key, value in entry.items() if key != "registrationTime"} for entry in entries]

    def verify(self, *paths: str) -> None:
        self.run("nix-store", "--verify-path", *paths)

    def is_valid(self, path: str) -> bool:
        argv = ["nix-store", "--check-validity", path]
        return subprocess.run(argv, capture_output=True, env={**os.environ, **self.env}, check=False).returncode == 0


def _archive_size(path: Path) -> int:
    with subprocess.Popen(["nix-store", "--dump", str(path)], stdout=subprocess.PIPE) as dump:
        assert dump.stdout is not None
        size = 0
        while piece := dump.stdout.read(1024 * 1024):
            size += len(piece)
    return size


def text_file(text: str) -> Fill:
    def fill(path: Path) -> None:
        path.write_text(text)

    return fill


@contextmanager
def temporary_directory() -> Iterator[Path]:
    """A directory that is gone afterwards, with all that is read-only in it."""
    place = Path(tempfile.mkdtemp(prefix="fleetd-test-"))
    try:
        yield place
    finally:
        for directory, _directories, _files in os.walk(place):
            os.chmod(directory, 0o700)
        shutil.rmtree(place)
