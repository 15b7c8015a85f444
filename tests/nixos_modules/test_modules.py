"""The Nix files: each parses, and the module's options are the daemon's keys, with the same choices and defaults.

There is no nixpkgs here. What only NixOS can show (merging, the unit, the VM test) is not claimed by this suite.
"""

from __future__ import annotations

import json
import subprocess
import tomllib
import typing
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from fleetd.config import ConfigFile

ROOT = Path(__file__).parent.parent.parent
FILES = sorted(
    file for file in ROOT.rglob("*.nix") if not {".venv", ".git", "build"} & set(file.relative_to(ROOT).parts)
)
SETTINGS = "nixos-modules/controller/settings.nix"


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_nix_file_parses(file: Path) -> None:
    done = subprocess.run(["nix-instantiate", "--parse", file], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_the_files_are_found() -> None:
    names = {str(file.relative_to(ROOT)) for file in FILES}
    assert {"flake.nix", SETTINGS, "nixos-modules/target/default.nix", "vm-tests/nixos/rollout.nix"} <= names


@cache
def options() -> dict[str, Any]:
    expression = f"import {ROOT / SETTINGS} {{ lib = import {Path(__file__).parent / 'stand_in.nix'}; }}"
    argv = ["nix-instantiate", "--eval", "--strict", "--json", "--expr", expression]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True)
    table: dict[str, Any] = json.loads(done.stdout)
    return table


def differences(options: dict[str, Any], model: type[BaseModel], place: str = "settings") -> list[str]:
    """Say where a set of options and a table of the configuration are not the same."""
    fields = model.model_fields
    found = [f"{place}.{name}: in one of the two only" for name in sorted(set(options) ^ set(fields))]
    for name in sorted(set(options) & set(fields)):
        found += _difference(options[name], fields[name], f"{place}.{name}")
    return found


def _difference(option: dict[str, Any], field: FieldInfo, place: str) -> list[str]:
    if not option.get("isOption"):
        return differences(option, _model(field.annotation), place)
    if option["type"]["name"] == "attrs" and option["type"]["of"]["name"] == "submodule":
        return differences(option["type"]["of"]["options"], _model(field.annotation), f"{place}.NAME")
    found = []
    if option.get("default", "none") != (
        "none" if field.is_required() else field.get_default(call_default_factory=True)
    ):
        found.append(f"{place}: default {option.get('default')!r}")
    if option["type"] != _type(field.annotation):
        found.append(f"{place}: type {option['type']} is not {_type(field.annotation)}")
    return found


def _model(hint: Any) -> type[BaseModel]:
    """Return the table in ``Table`` or ``dict[str, Table]``."""
    found = next(part for part in (hint, *typing.get_args(hint)) if isinstance(part, type) and part is not str)
    assert issubclass(found, BaseModel)
    return found


def _type(hint: Any) -> dict[str, Any]:
    """Return the option type that a hint ought to have."""
    arguments = typing.get_args(hint)
    if type(None) in arguments:
        (inner,) = (argument for argument in arguments if argument is not type(None))
        return {"name": "null", "of": _type(inner)}
    if typing.get_origin(hint) is typing.Literal:
        return {"name": "enum", "values": list(arguments)}
    if typing.get_origin(hint) is list:
        return {"name": "list", "of": _type(arguments[0])}
    assert hint in (str, bool), hint
    return {"name": hint.__name__}


def test_the_module_s_options_are_the_daemon_s_keys() -> None:
    assert differences(options(), ConfigFile) == []


def test_a_key_that_drifts_is_found() -> None:
    wrong = json.loads(json.dumps(options()))
    wrong["ssh"]["identty"] = wrong["ssh"].pop("identity")
    wrong["log"]["format"]["default"] = "json"
    wrong["fleet"]["source"]["type"]["values"].append("ldap")
    wrong["webhooks"]["type"]["of"]["options"].pop("on")
    assert [line.split(":")[0] for line in differences(wrong, ConfigFile)] == [
        "settings.fleet.source",
        "settings.log.format",
        "settings.ssh.identity",
        "settings.ssh.identty",
        "settings.webhooks.NAME.on",
    ]


def test_the_lock_holds_the_flake_s_input() -> None:
    lock = json.loads((ROOT / "flake.lock").read_text())
    nodes = lock["nodes"]
    assert nodes[lock["root"]]["inputs"] == {"nixpkgs": "nixpkgs"}
    original, locked = nodes["nixpkgs"]["original"], nodes["nixpkgs"]["locked"]
    reference = f"{original['type']}:{original['owner']}/{original['repo']}/{original['ref']}"
    assert f'inputs.nixpkgs.url = "{reference}";' in (ROOT / "flake.nix").read_text()
    assert (locked["owner"], locked["repo"]) == (original["owner"], original["repo"])
    assert len(locked["rev"]) == 40
    assert locked["narHash"].startswith("sha256-")


def test_the_package_has_every_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {line.split(">")[0].split("=")[0].lower().replace(".", "-") for line in project["dependencies"]}
    text = (ROOT / "nixos-modules/package.nix").read_text()
    given = text.split("dependencies = with python3Packages; [")[1].split("]")[0].split()
    assert set(given) == wanted


def test_the_sudo_rule_names_verbs_that_the_helper_has() -> None:
    helper = (ROOT / "fleetd/host/helper/fleetd-host").read_text()
    target = (ROOT / "nixos-modules/target/default.nix").read_text()
    verbs = target.split("verbs = [")[1].split("]")[0].replace('"', "").split()
    assert verbs
    main = helper.split("\nmain() {")[1]
    assert [verb for verb in verbs if f"  {verb}) " not in main] == []
