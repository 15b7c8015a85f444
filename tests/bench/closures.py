"""Closures shaped like a NixOS system: a few big paths, many small ones, about 20 deep and wide.

Made of bytes that do not compress, from a seed: the same shape is the same closure.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass

from fleetd.model.store_path import StorePath
from fleetd.nix.nar import dump
from tests.nix.private_store import PrivateStore

KB, MB = 1000, 1_000_000
FILE_BYTES = 40 * KB
"""A path is a directory of files of about this size; what is larger than BIG is one file more."""

BIG = 2 * MB


@dataclass(frozen=True)
class Shape:
    """``sizes`` of its paths; ``depth`` levels, each path refers to some of the level before; 0: one long chain."""

    name: str
    sizes: Sequence[int]
    depth: int


def spread(paths: int, total: int, big: Sequence[int]) -> list[int]:
    """Return sizes: the big ones, and the rest spread over small paths as unevenly as in a real closure."""
    chance = random.Random(7)
    weights = [chance.paretovariate(1.1) for _ in range(paths - len(big))]
    left = total - sum(big)
    small = [max(200, min(BIG, int(left * weight / sum(weights)))) for weight in weights]
    sizes = [*small, *big]
    chance.shuffle(sizes)
    return sizes


SHAPES = {
    shape.name: shape
    for shape in (
        Shape("201 paths, 53 MB", spread(201, 53 * MB, [9 * MB, 7 * MB, 5 * MB]), 20),
        Shape("2,000 paths, 400 MB", spread(2000, 400 * MB, [60 * MB, 40 * MB, 30 * MB, 20 * MB, 10 * MB]), 20),
        Shape("chain of 400 paths, 40 MB", [100 * KB] * 400, 0),
        Shape("one path of 1 GB", [1000 * MB], 1),
        Shape("5,000 small paths", [2 * KB] * 5000, 20),
    )
}


def make(store: PrivateStore, shape: Shape) -> StorePath:
    """Make a closure valid in a store, and return its top."""
    levels = max(1, shape.depth)
    done: list[list[StorePath]] = [[] for _ in range(levels)]
    chance = random.Random(shape.name)
    lines: list[str] = []
    last: StorePath | None = None
    for number, size in enumerate(shape.sizes):
        if shape.depth == 0:
            references = [] if last is None else [last]
        else:
            level = number * levels // len(shape.sizes)
            below = done[level - 1] if level else []
            references = sorted(chance.sample(below, min(len(below), chance.randint(1, 12))))
        path = store.path(f"{shape.name.replace(' ', '-').replace(',', '')}-{number}")
        lines += _fill(store, path, size, references, chance)
        if shape.depth:
            done[level].append(path)
        last = path
    top = store.path(f"top-{hashlib.sha256(shape.name.encode()).hexdigest()[:8]}")
    everything = sorted({path for level in done for path in level} or {last or top})
    lines += _fill(store, top, 200, everything, chance)
    store.run("nix-store", "--load-db", stdin="".join(f"{line}\n" for line in lines))
    return top


def _fill(
    store: PrivateStore, path: StorePath, size: int, references: Sequence[StorePath], chance: random.Random
) -> list[str]:
    place = store.real(path)
    place.mkdir()
    left, number = size, 0
    while left > 0:
        piece = left if left >= BIG else min(left, FILE_BYTES)
        with (place / f"file{number}").open("wb") as file:
            for first in range(0, piece, MB):
                file.write(chance.randbytes(min(MB, piece - first)))
        left, number = left - piece, number + 1
    digest, length = hashlib.sha256(), 0
    for part in dump(str(place)):
        digest.update(part)
        length += len(part)
    return [path, digest.hexdigest(), str(length), "", str(len(references)), *references]
