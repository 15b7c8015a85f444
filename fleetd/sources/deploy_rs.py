"""The flake output of deploy-rs as tables of hosts. Pure: what is evaluated is in ``fleetd/nix/views/deploy-rs.nix``.

A node's toplevel comes from its profile ``system``. The profile's path is a wrapper around the toplevel; what is built
is unwrapped by the builder. deploy-rs' own rollback settings mean nothing here: the guard on the host is always armed.
"""

from __future__ import annotations

from fleetd.errors import ConfigError
from fleetd.schema.hives import DeployNode, DeployOutput, DeployProfile, DeploySettings
from fleetd.schema.problems import read_table
from fleetd.sources.imported import HostTable, LeftOut, Read, connection, login

OUTPUT = "deploy"
SYSTEM = "system"
SYSTEM_PROFILE = "/nix/var/nix/profiles/system"


def reader(flake: str) -> Read:
    """Return how to read the output of ``flake``."""

    def read(data: object, place: str, left_out: LeftOut) -> dict[str, HostTable]:
        if not isinstance(data, dict):
            raise ConfigError(f"{place}: expected a table with nodes")
        output = read_table(DeployOutput, data, place)
        problems: list[str] = []
        hosts: dict[str, HostTable] = {}
        for name, node in output.nodes.items():
            others = sorted(set(node.profiles) - {SYSTEM})
            if others:
                problems += left_out.problem("profiles", f"nodes.{name}.profiles ({', '.join(others)})")
            profile = node.profiles.get(SYSTEM)
            if profile is None:
                what = f"nodes.{name} has no profile {SYSTEM!r}, so there is no NixOS system to deploy"
                problems += left_out.problem("profiles", what)
                continue
            source = {"installable": f"{flake}#{OUTPUT}.nodes.{name}.profiles.{SYSTEM}.path"}
            hosts[name] = {**_host(name, (profile, node, output), set(output.nodes), left_out, problems), **source}
        if problems:
            raise ConfigError("\n".join(f"{place}: {problem}" for problem in problems))
        return hosts

    return read


def _host(
    name: str,
    levels: tuple[DeployProfile, DeployNode, DeployOutput],
    names: set[str],
    left_out: LeftOut,
    problems: list[str],
) -> HostTable:
    profile, node, _output = levels
    where = f"nodes.{name}"
    user, root = _first(levels, "sshUser"), _first(levels, "user")
    if profile.profilePath not in (None, SYSTEM_PROFILE):
        problems.append(f"{where}.profiles.{SYSTEM}.profilePath: {profile.profilePath!r} is not {SYSTEM_PROFILE!r}")
    if (root or user or "root") != "root":
        problems.append(f"{where}.profiles.{SYSTEM}.user: a system is activated by root, not by {root or user!r}")
    if _first(levels, "interactiveSudo"):
        problems.append(f"{where}.interactiveSudo: fleetd has nobody to ask for a password")
    sudo = _first(levels, "sudo")
    who, wrong = login(str(user) if user else None, str(sudo).split()[0] if sudo and str(sudo).split() else None)
    if wrong:
        problems.append(f"{where}.sudo: {wrong}")
    options = [option for level in levels for option in level.sshOpts]
    way, others = connection(options, names, f"{where}.sshOpts", left_out)
    problems += others
    host: HostTable = {"address": node.hostname, **who, **way}
    if profile.system is not None:
        host["system"] = profile.system
    if _first(levels, "remoteBuild"):
        host["build_on"] = "target"
    return host


def _first(levels: tuple[DeploySettings, ...], key: str) -> object:
    """Return what the deepest level that says anything says."""
    return next((value for level in levels if (value := getattr(level, key)) is not None), None)
