"""Fleets of other tools, copied to where a test wants them."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

HERE = Path(__file__).parent
SYSTEM = HERE.parent.parent / "vm-tests/lab/system"


def fleet_at(place: Path, kind: str) -> Path:
    """Copy a fleet and the systems that it is made of; ``revise`` makes it whole."""
    shutil.copytree(HERE / kind, place)
    shutil.copytree(SYSTEM, place / "system", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(HERE / "toplevel.nix", place)
    return place


def revise(place: Path, label: str, hosts: Mapping[str, str], *, gateway: str = "", more: str = "") -> None:
    """Write which revision it is: of these hosts, with their addresses; ``more`` is Nix text."""
    pairs = " ".join(f'{name} = "{address}";' for name, address in hosts.items())
    text = f'{{ label = "{label}"; gateway = "{gateway}"; hosts = {{ {pairs} }}; {more} }}\n'
    (place / "revision.nix").write_text(text)
