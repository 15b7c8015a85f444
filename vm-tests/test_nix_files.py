"""Every Nix file of the project is read by the Nix of the lab's hosts too, and not only by the control node's."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from conftest import Scene

pytestmark = pytest.mark.lab
ROOT = Path(__file__).parent.parent


def nix_files() -> list[Path]:
    """Return every Nix file that the project has, or is about to have."""
    words = ("git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard", "*.nix")
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    named = [ROOT / line for line in done.stdout.splitlines()] if done.returncode == 0 else []
    return sorted(named) or sorted(path for path in ROOT.rglob("*.nix") if ".venv" not in path.parts)


def test_every_nix_file_parses_under_the_nix_of_the_hosts(scene: Scene) -> None:
    (host,) = scene.hosts("web5")
    parse = ("nix-instantiate", "--parse", "-")
    files = nix_files()
    assert ROOT / "flake.nix" in files
    assert any(path.is_relative_to(ROOT / "nixos-modules") for path in files)
    wrong = {}
    for path in files:
        done = host.inside(*parse, text_in=path.read_text(), check=False)
        if done.returncode != 0:
            wrong[str(path.relative_to(ROOT))] = done.stderr
    assert wrong == {}
    assert host.inside(*parse, text_in="{ a = 1 }", check=False).returncode == 1, "what does not parse is noticed"
