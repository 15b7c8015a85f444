"""One schema from every kind of table, the same mistakes told the same way, and the last good fleet kept."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from fleetd.errors import ConfigError, SourceError
from fleetd.model.fleet import FileAttribute, Fleet, Installable
from fleetd.nix.builder import NixBuilder
from fleetd.sources.file import LIMIT_BYTES, FleetFile
from fleetd.sources.flake import FlakeFleet
from fleetd.sources.reader import FleetReader, TableSource
from tests.nix.private_store import PrivateStore, temporary_directory

TOML = """
[defaults]
user = "deploy"
[hosts.web1]
address = ["10.0.0.1", "web1.example.org"]
tags = ["web"]
[hosts.db1]
port = 2222
file = "hive.nix"
attr = "db1"
[[checks]]
name = "web answers"
on = "@web"
http = { url = "http://{address}/", status = [200, 204] }
[policies.default]
waves = [ { count = 1, soak = "1m" }, { percent = 50 } ]
max_parallel = "10%"
"""
YAML = """
defaults: { user: deploy }
hosts:
  web1:
    address: [10.0.0.1, web1.example.org]
    tags: [web]
  db1: { port: 2222, file: hive.nix, attr: db1 }
checks:
  - name: web answers
    on: "@web"
    http: { url: "http://{address}/", status: [200, 204] }
policies:
  default:
    waves: [ { count: 1, soak: 1m }, { percent: 50 } ]
    max_parallel: 10%
"""
JSON = """
{
  "defaults": {"user": "deploy"},
  "hosts": {
    "web1": {"address": ["10.0.0.1", "web1.example.org"], "tags": ["web"]},
    "db1": {"port": 2222, "file": "hive.nix", "attr": "db1"}
  },
  "checks": [{"name": "web answers", "on": "@web", "http": {"url": "http://{address}/", "status": [200, 204]}}],
  "policies": {"default": {"waves": [{"count": 1, "soak": "1m"}, {"percent": 50}], "max_parallel": "10%"}}
}
"""
NIX = """
{
  outputs = _: {
    fleet = {
      defaults.user = "deploy";
      hosts.web1 = { address = [ "10.0.0.1" "web1.example.org" ]; tags = [ "web" ]; };
      hosts.db1 = { port = 2222; file = "BASE/hive.nix"; attr = "db1"; };
      checks = [ { name = "web answers"; on = "@web"; http = { url = "http://{address}/"; status = [ 200 204 ]; }; } ];
      policies.default = { waves = [ { count = 1; soak = "1m"; } { percent = 50; } ]; max_parallel = "10%"; };
    };
    # Reading the fleet must not evaluate the systems.
    nixosConfigurations = throw "evaluated";
  };
}
"""
FORMS = {"toml": TOML, "yaml": YAML, "yml": YAML, "json": JSON}


def load(table: TableSource, keep: Path | None = None, flake: str | None = None) -> Fleet:
    return asyncio.run(FleetReader(table, contact_s=60, keep=keep, flake=flake).load())


def written(directory: Path, form: str, text: str) -> FleetFile:
    file = directory / f"fleet.{form}"
    file.write_text(text)
    return FleetFile(file)


@pytest.mark.parametrize("form", FORMS)
def test_every_format_is_the_same_fleet(tmp_path: Path, form: str) -> None:
    fleet = load(written(tmp_path, form, FORMS[form]))
    toml = load(written(tmp_path, "toml", TOML))
    # JSON has no order of its own among tables, and neither has Nix.
    assert dict(fleet.hosts) == dict(toml.hosts)
    assert (fleet.checks, fleet.policies) == (toml.checks, toml.policies)
    assert fleet.hosts["db1"].source == FileAttribute(str(tmp_path / "hive.nix"), "db1")


def test_a_flake_s_output_is_the_same_fleet_and_evaluates_no_system(tmp_path: Path) -> None:
    with temporary_directory() as place:
        fleet = load(flake_at(place, NIX.replace("BASE", str(tmp_path))), flake="git+file:///infra")
    toml = load(written(tmp_path, "toml", TOML), flake="git+file:///infra")
    assert dict(fleet.hosts) == dict(toml.hosts)
    assert (fleet.checks, fleet.policies) == (toml.checks, toml.policies)
    expected = "git+file:///infra#nixosConfigurations.web1.config.system.build.toplevel"
    assert fleet.hosts["web1"].source == Installable(expected)


def flake_at(place: Path, text: str) -> FlakeFleet:
    directory = place / "flake"
    directory.mkdir()
    (directory / "flake.nix").write_text(text)
    builder = NixBuilder(place / "roots", PrivateStore(place / "store").env)
    return FlakeFleet(f"path:{directory}", lambda installable: builder.data(installable, timeout_s=60))


@pytest.mark.parametrize(
    ("text", "error", "told"),
    [
        ("{ outputs = _: { fleet.hosts.web1.adress = 1; }; }", ConfigError, "#fleet: hosts.web1.adress: unknown key"),
        ('{ outputs = _: { fleet.hosts.web1.port = "22"; }; }', ConfigError, "#fleet: hosts.web1.port"),
        ("{ outputs = _: { fleet = [ ]; }; }", ConfigError, "expected a table with hosts"),
        ('{ outputs = _: { fleet.hosts.a = { file = "h.nix"; attr = "a"; }; }; }', ConfigError, "must be absolute"),
        ("{ outputs = _: { fleet.hosts.web1 = x: x; }; }", SourceError, "does not evaluate"),
        ('{ outputs = _: { fleet = throw "no fleet today"; }; }', SourceError, "no fleet today"),
        ("{ outputs = _: { }; }", SourceError, "does not provide attribute"),
    ],
)
def test_mistakes_of_a_flake_are_told_with_their_place(text: str, error: type[Exception], told: str) -> None:
    with temporary_directory() as place, pytest.raises(error, match=told):
        load(flake_at(place, text))


@pytest.mark.parametrize(
    ("form", "text", "told"),
    [
        ("toml", "[hosts.web1\n", r"fleet\.toml: .*line 1"),
        ("json", '{"hosts": {', r"fleet\.json: .*line 1 column"),
        ("json", "[" * 100_000, "nested too deeply"),
        ("yaml", "hosts: {web1: {}\n", r"fleet\.yaml: .*line"),
        ("yaml", "hosts: {web1: {}, web1: {}}\n", "duplicate key"),
        ("yaml", "hosts: {web1: {port: '22'}}\n", r"fleet\.yaml: hosts\.web1\.port"),
        ("yaml", "hosts: {web1: !!python/object/apply:os.system ['true']}\n", "could not determine a constructor"),
        ("yaml", "hosts: {web1: {unattended_boot: !!bool maybe}}\n", "fit its tag.*'maybe'"),
        ("yaml", 'hosts: {web1: {user: "\\UFFFFFFFF"}}\n', "escape is no character"),
        ("json", '{"hosts": {"web1": {"port": 1}, "web1": {"port": 2}}}', "'web1' comes twice"),
        ("yaml", "- web1\n", "expected a table"),
        ("json", "[]", "expected a table"),
        ("toml", "[hosts.web1]\nport = 2020-01-01\n", r"hosts\.web1\.port"),
        ("toml", "\x00", r"fleet\.toml: "),
        ("ini", "", r"must end in one of \.toml, \.json, \.yaml, \.yml"),
        ("toml", "#" * (LIMIT_BYTES + 1), "larger than"),
    ],
)
def test_mistakes_of_a_file_are_told_with_its_name(tmp_path: Path, form: str, text: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        load(written(tmp_path, form, text))


def test_a_file_that_is_not_there_or_not_text_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load(FleetFile(tmp_path / "fleet.toml"))
    (tmp_path / "fleet.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="utf-8"):
        load(FleetFile(tmp_path / "fleet.toml"))


def test_the_last_good_fleet_is_kept_whatever_becomes_of_the_file(tmp_path: Path) -> None:
    keep = tmp_path / "state" / "fleet.json"

    async def live() -> None:
        reader = FleetReader(written(tmp_path, "toml", TOML), contact_s=60, keep=keep)
        assert await reader.last_good() is None
        good = await reader.load()
        for broken in ("[hosts.web1\n", "[hosts.web1]\nport = 'x'\n"):
            written(tmp_path, "toml", broken)
            with pytest.raises(ConfigError):
                await reader.load()
            again = FleetReader(FleetFile(tmp_path / "fleet.toml"), contact_s=60, keep=keep)
            assert await again.last_good() == good
        written(tmp_path, "toml", "[hosts.web2]\n")
        await reader.load()
        kept = await reader.last_good()
        assert kept is not None
        assert list(kept.hosts) == ["web2"]

    asyncio.run(live())
    assert list(json.loads(keep.read_text())["hosts"]) == ["web2"]
    assert [entry.name for entry in keep.parent.iterdir()] == ["fleet.json"]


def test_a_kept_fleet_that_is_damaged_is_told(tmp_path: Path) -> None:
    keep = tmp_path / "fleet.json"
    reader = FleetReader(FleetFile(tmp_path / "fleet.toml"), contact_s=60, keep=keep)
    for text in ("{", '{"hosts": {"web1": {"port": "x"}}}', "[]"):
        keep.write_text(text)
        with pytest.raises(ConfigError, match=r"fleet\.json"):
            asyncio.run(reader.last_good())


def test_nothing_is_kept_where_nothing_shall_be(tmp_path: Path) -> None:
    load(written(tmp_path, "toml", TOML))
    assert [entry.name for entry in tmp_path.iterdir()] == ["fleet.toml"]
