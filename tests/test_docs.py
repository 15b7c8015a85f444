"""The documentation holds: the real parsers read its examples, every key and command is in it, links lead somewhere."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import asyncssh
import pytest
import typer
from pydantic import BaseModel

from fleetd.cli.main import app
from fleetd.config import ConfigFile, load
from fleetd.rollout.events import FINAL_PHASES
from fleetd.schema import fleet_file
from fleetd.schema.fleet_file import parse_fleet
from fleetd.schema.groups import GroupTable
from fleetd.schema.hooks import HookTable
from fleetd.schema.policies import PolicyTable, WaveTable
from fleetd.schema.windows import WindowTable

ROOT = Path(__file__).parent.parent
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [*DOCS, ROOT / "README.md"]


def text(name: str) -> str:
    return (ROOT / "docs" / name).read_text()


def blocks(page: Path, first_line: str) -> Iterator[str]:
    """Yield the TOML examples that say in their first line what they are."""
    for block in re.findall(r"```toml\n(.*?)```", page.read_text(), re.DOTALL):
        if block.startswith(f"# {first_line}\n"):
            yield block


@pytest.fixture
def place(tmp_path: Path) -> Path:
    asyncssh.generate_private_key("ssh-ed25519").write_private_key(tmp_path / "key")
    for name, content in (
        ("known_hosts", ""),
        ("allowed_signers", ""),
        ("nix-key", "x"),
        ("order-key", "x"),
        ("hook-secret", "whsec_c2VjcmV0"),
    ):
        (tmp_path / name).write_text(content)
    return tmp_path


def test_the_example_of_the_configuration_reads_and_has_every_section(place: Path) -> None:
    (example,) = blocks(ROOT / "docs/configuration.md", "config.toml")
    (place / "config.toml").write_text(example)
    assert load(str(place / "config.toml"), {}).hooks[0].name == "gitlab-main"
    assert missing_keys(ConfigFile, tomllib.loads(example)) == []


def test_the_example_of_the_fleet_reads_and_has_every_key(place: Path) -> None:
    (example,) = blocks(ROOT / "docs/configuration.md", "fleet.toml")
    table = tomllib.loads(example)
    fleet = parse_fleet(table, file="docs", flake=None, contact_s=60, base=place)
    assert set(fleet.hosts) == {"gw1", "web1", "db1", "old1"}
    hosts = {name: value for host in table["hosts"].values() for name, value in host.items()}
    checks = {name: value for check in table["checks"] for name, value in check.items()}
    waves = {name: value for wave in table["policies"]["default"]["waves"] for name, value in wave.items()}
    for model, written in (
        (fleet_file._Host, hosts),
        (fleet_file._Check, checks),
        (PolicyTable, {**table["policies"]["default"]}),
        (WaveTable, waves),
        (GroupTable, table["groups"][0]),
        (HookTable, table["hooks"][0]),
        (WindowTable, table["policies"]["default"]["windows"][0]),
    ):
        assert missing_keys(model, written) == []


def test_every_hook_in_the_recipes_reads() -> None:
    examples = re.findall(r"```toml\n(.*?)```", text("hooks.md"), re.DOTALL)
    assert len(examples) == 2
    for example in examples:
        table = {"hosts": {"n1": {"tags": ["web", "k8s"]}}, **tomllib.loads(example)}
        fleet = parse_fleet(table, file="hooks.md", flake=None, contact_s=60)
        assert [hook.when.value for hook in fleet.hooks] == ["before", "always-after"]


def test_every_variable_of_a_hook_is_explained() -> None:
    names = re.findall(r'"(FLEETD_[A-Z]+)"', (ROOT / "fleetd/executor/hooks.py").read_text())
    assert len(names) > 10
    assert [name for name in names if f"`{name}`" not in text("hooks.md")] == []


def test_every_webhook_in_the_recipes_reads(place: Path) -> None:
    examples = list(blocks(ROOT / "docs/ci.md", "webhook"))
    assert len(examples) == 4
    for example in examples:
        (place / "config.toml").write_text(f'[ssh]\nidentity = "key"\n{example}')
        load(str(place / "config.toml"), {})


def missing_keys(model: type[BaseModel], written: dict[str, object]) -> list[str]:
    """Return the keys that an example leaves out, also in the tables inside."""
    found = []
    for name, field in model.model_fields.items():
        if name not in written:
            found.append(name)
            continue
        inner = next(
            (part for part in (field.annotation, *getattr(field.annotation, "__args__", ())) if _is_table(part)), None
        )
        table = written[name]
        if inner is not None and isinstance(table, dict):
            named = str(field.annotation).startswith("dict")
            found += missing_keys(inner, next(iter(table.values())) if named else table)
    return found


def _is_table(part: object) -> bool:
    return isinstance(part, type) and issubclass(part, BaseModel)


def test_every_key_is_explained() -> None:
    page = text("configuration.md")
    tables = "\n".join(line for line in page.splitlines() if line.startswith("|"))
    models = (fleet_file._Host, fleet_file._Check, PolicyTable, WaveTable, GroupTable, HookTable, WindowTable)
    keys = [key for model in models for key in model.model_fields]
    for section, field in ConfigFile.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            keys += [f"{section}.{key}" for key in field.annotation.model_fields]
    assert "ssh.identity" in keys
    assert [key for key in keys if f"`{key}`" not in tables] == []


def test_every_command_is_explained() -> None:
    group = typer.main.get_command(app)
    commands = set(group.commands)  # type: ignore[attr-defined]
    page = text("operations.md")
    table = "\n".join(line for line in page.splitlines() if line.startswith("| `"))
    assert {name for name in commands if f"`{name}`" not in table} == set()
    named = {word for line in table.splitlines() for word in re.findall(r"`([a-z]+)`", line.split("|")[1])}
    assert named - commands == set()


def test_every_phase_and_exit_code_is_explained() -> None:
    assert [phase for phase in FINAL_PHASES if f"`{phase.value}`" not in text("concepts.md")] == []
    codes = ast.parse((ROOT / "fleetd/cli/outcome.py").read_text())
    numbers = {
        node.value.value
        for node in codes.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, int)
    }
    assert numbers
    assert [number for number in numbers if f"\n| {number} |" not in text("operations.md")] == []


def test_every_figure_is_explained() -> None:
    names = re.findall(r'"(fleetd_[a-z_]+)"', (ROOT / "fleetd/api/metrics.py").read_text())
    assert names
    assert [name for name in names if f"`{name}" not in text("operations.md")] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}, target
