"""Journals of the release before, and that release's own reader; see README.md."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fleetd.ports import Record

PLACE = Path(__file__).parent
NAMES = tuple(sorted(file.name.partition(".")[0] for file in PLACE.glob("*.jsonl.gz")))
TIMEOUT_S = 120


def recorded(name: str) -> list[Record]:
    """Return a journal that the release before wrote."""
    with gzip.open(PLACE / f"{name}.jsonl.gz", "rt") as file:
        return [Record(**json.loads(line)) for line in file]


def read_by_it(records: Iterable[Record]) -> dict[str, Any]:
    """Return what the release before takes these records for. Raises ValueError with what it cannot read."""
    lines = "".join(f"{json.dumps(asdict(record))}\n" for record in records)
    argv = [sys.executable, "-I", str(PLACE / "read.py"), str(PLACE / "reader.zip")]
    done = subprocess.run(argv, input=lines, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    if done.returncode != 0:
        raise ValueError(done.stdout + done.stderr)
    found: dict[str, Any] = json.loads(done.stdout)
    return found
