"""Architecture as a test: who imports whom, how large things are, and what the core may not touch."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "fleetd"
FILES = sorted(ROOT.rglob("*.py"))
ADAPTERS = ("nix", "push", "host", "probes", "journal", "sources", "notify")
MAY_IMPORT = {
    "errors": (),
    "model": ("errors", "model"),
    "rollout": ("errors", "model", "rollout"),
    "ports": ("errors", "model", "rollout"),
    **{room: ("errors", "model", "rollout", "ports", "schema", room) for room in ADAPTERS},
    "executor": ("errors", "model", "rollout", "ports", "executor"),
    "controller": ("errors", "model", "rollout", "ports", "executor", "controller"),
}
IMPURE = ("time", "random", "uuid", "asyncio", "threading", "os", "socket", "subprocess", "pathlib", "secrets")


def imports(tree: ast.AST) -> list[str]:
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            found.append(node.module)
        elif isinstance(node, ast.Import):
            found.extend(alias.name for alias in node.names)
    return found


def wrong_imports(room: str, tree: ast.AST) -> list[str]:
    allowed = MAY_IMPORT.get(room)
    wrong = []
    for name in imports(tree):
        words = name.split(".")
        if words[0] == "fleetd" and len(words) > 1 and allowed is not None and words[1] not in allowed:
            wrong.append(name)

        if room in ("model", "rollout") and words[0] in IMPURE:
            wrong.append(name)
    return wrong


def too_long(tree: ast.AST) -> list[str]:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return [n.name for n in ast.walk(tree) if isinstance(n, kinds) and (n.end_lineno or 0) - n.lineno >= 70]


def room_of(file: Path) -> str:
    return file.relative_to(ROOT).parts[0].removesuffix(".py")


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_file_keeps_the_rules(file: Path) -> None:
    text = file.read_text()
    tree = ast.parse(text)
    assert wrong_imports(room_of(file), tree) == []
    assert too_long(tree) == []
    assert text.count("\n") <= 400


@pytest.mark.parametrize(
    ("room", "line"),
    [
        ("model", "import random"),
        ("rollout", "import asyncio"),
        ("rollout", "from fleetd.ports import Clock"),
        ("push", "from fleetd.nix.nar import dump"),
        ("executor", "from fleetd.host.port import SshHosts"),
    ],
)
def test_the_rules_can_be_broken(room: str, line: str) -> None:
    assert wrong_imports(room, ast.parse(line)) != []


def test_a_long_function_is_found() -> None:
    assert too_long(ast.parse("def f():\n" + "    x = 1\n" * 80)) == ["f"]
