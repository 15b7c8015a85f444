"""A colmena hive as tables of hosts. Pure: what is evaluated is in ``fleetd/nix/views/colmena.nix``."""

from __future__ import annotations

from collections.abc import Callable

from fleetd.errors import ConfigError
from fleetd.schema.hives import ColmenaNode, ColmenaNodes
from fleetd.schema.problems import read_table
from fleetd.sources.imported import HostTable, LeftOut, Read, connection, login

OUTPUT = "colmenaHive"


def of_flake(flake: str) -> Callable[[str], HostTable]:
    """Return where a node's toplevel comes from when the hive is an output of a flake."""
    return lambda name: {"installable": f"{flake}#{OUTPUT}.toplevel.{name}"}


def of_file(file: str) -> Callable[[str], HostTable]:
    """Return where a node's toplevel comes from when the hive is a file."""
    return lambda _name: {"hive": file}


def reader(source: Callable[[str], HostTable]) -> Read:
    """Return how to read a hive whose toplevels come from ``source``."""

    def read(data: object, place: str, left_out: LeftOut) -> dict[str, HostTable]:
        if not isinstance(data, dict):
            raise ConfigError(f"{place}: expected nodes by name")
        nodes = read_table(ColmenaNodes, data, place).root
        problems: list[str] = []
        hosts = {
            name: {**_host(name, node, set(nodes), left_out, problems), **source(name)} for name, node in nodes.items()
        }
        if problems:
            raise ConfigError("\n".join(f"{place}: {problem}" for problem in problems))
        return hosts

    return read


def _host(name: str, node: ColmenaNode, names: set[str], left_out: LeftOut, problems: list[str]) -> HostTable:
    where = f"{name}.deployment"
    if node.targetHost is None:
        problems.append(f"{where}.targetHost: null is for deploying locally only, and fleetd deploys over ssh")
    if node.keys:
        problems += left_out.problem("keys", f"{where}.keys ({', '.join(node.keys)})")
    command = node.privilegeEscalationCommand
    who, wrong = login(node.targetUser, command[0] if command else "an empty command")
    if wrong:
        problems.append(f"{where}.privilegeEscalationCommand: {wrong}")
    way, others = connection(node.sshOptions, names, f"{where}.sshOptions", left_out)
    problems += others
    host: HostTable = {"address": node.targetHost, "tags": node.tags, **who, **way}
    if node.targetPort is not None:
        host["port"] = node.targetPort
    if node.system is not None:
        host["system"] = node.system
    if node.buildOnTarget:
        host["build_on"] = "target"
    return host
