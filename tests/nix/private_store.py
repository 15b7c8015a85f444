"""Nix stores of their own in a temporary directory: nothing of the machine's own store is read or written."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
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

    def register(self, name: str, fill: Fill, references: Sequence[StorePath] = (), *, deriver: str = "") -> StorePath:
        """Make a valid path, once; Nix computes its hash and size, so that ours are compared with its own."""
        path = self.path(name)
        if self.real(path).exists():
            return path
        fill(self.real(path))
        nar_hash = subprocess.run(
            ["nix-hash", "--type", "sha256", str(self.real(path))], capture_output=True, text=True, check=True
        ).stdout.strip()
        size = _archive_size(self.real(path))
        lines = [path, nar_hash, str(size), deriver, str(len(references)), *references]
        self.run("nix-store", "--load-db", stdin="".join(f"{line}\n" for line in lines))
        return path

    def add(self, name: str, text: str) -> StorePath:
        """Make a path that is addressed by its content."""
        (self.root / name).write_text(text)
        return parse_store_path(self.run("nix-store", "--add", str(self.root / name)).strip())

    def sign(self, path: StorePath, key_name: str = "tests-1") -> None:
        """Sign a path with a key made for it; the signature is kept beside the path's other metadata."""
        secret, public = (str(self.root / f"{key_name}.{word}") for word in ("secret", "public"))
        self.run("nix-store", "--generate-binary-cache-key", key_name, secret, public)
        self.run("nix", *FEATURES, "store", "sign", "--key-file", secret, path)

    def info(self, path: str) -> dict[str, dict[str, object]]:
        """What Nix says of a closure, by path; see ``whole_info``."""
        return whole_info(json.loads(self.run("nix", *FEATURES, "path-info", "--json", "--recursive", path)))

    def verify(self, *paths: str) -> None:
        self.run("nix-store", "--verify-path", *paths)

    def is_valid(self, path: str) -> bool:
        argv = ["nix-store", "--check-validity", path]
        return subprocess.run(argv, capture_output=True, env={**os.environ, **self.env}, check=False).returncode == 0


TOLD = {"ca", "deriver", "narHash", "narSize", "references", "signatures"}
LEFT_OUT = {
    "path": "it is what the others are told by",
    "registrationTime": "when this store came to have the path, which is another moment in each",
    "ultimate": "whether this store built it itself: where it was sent to it did not",
    "storeDir": "newer Nix says it, and it is the same for all",
    "version": "of the form, not of the path",
    "valid": "older Nix says it of what is there",
}
"""What ``nix path-info --json`` may say besides, each with why it is not compared."""


def whole_info(printed: object) -> dict[str, dict[str, object]]:
    """Return all that Nix says of paths, in one form for every release; what it does not say is left out.

    A word that is in neither of the lists above fails, so that nothing goes uncompared unseen.
    """
    entries = printed
    if isinstance(entries, list):  # up to Nix 2.18
        entries = {entry["path"]: entry for entry in entries}
    assert isinstance(entries, dict)
    found = {}
    for path, entry in entries.items():
        assert entry.keys() <= TOLD | LEFT_OUT.keys(), f"not known: {entry.keys() - TOLD - LEFT_OUT.keys()}"
        told = {word: entry[word] for word in sorted(TOLD) if entry.get(word)}
        for word in ("references", "signatures"):
            if word in told:
                told[word] = sorted(told[word])
        found[path] = told
    return dict(sorted(found.items()))


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


MANY = 40_000
"""Links that a collector has to follow: a tenth of a second and more between two of the places where it looks."""


class Collector:
    """A collector of garbage that stands still after it has read the directory of roots.

    It has not yet looked at what processes hold: it follows the links of ``profiles`` in between.
    """

    def __init__(self, store: PrivateStore) -> None:
        self._store = store
        many = store.root / "nix/var/nix/profiles/many"
        many.mkdir(parents=True, exist_ok=True)
        for number in range(MANY):
            (many / f"{number}").symlink_to("/nowhere")
        self._said = store.root / "collector.log"
        self._child: subprocess.Popen[bytes] | None = None

    def begin(self) -> None:
        """Start it, and stop it there."""
        env = {**os.environ, **self._store.env}
        with self._said.open("wb") as log:
            self._child = subprocess.Popen(["nix-store", "--gc"], stdout=log, stderr=log, env=env)
        end = time.monotonic() + 30
        while b"finding garbage collector roots" not in self._said.read_bytes():
            assert self._child.poll() is None and time.monotonic() < end, self._said.read_bytes()
            time.sleep(0.001)
        time.sleep(0.02)  # the directory of roots is read first, and small
        self._child.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self._child is not None
        self._child.send_signal(signal.SIGCONT)

    def end(self) -> None:
        """Let it end, well."""
        assert self._child is not None
        self.go_on()
        assert self._child.wait(60) == 0, self._said.read_bytes()
