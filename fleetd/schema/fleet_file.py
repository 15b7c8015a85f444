"""The fleet file: hosts, checks and policies. Every mistake is told at once, with its place."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from fleetd.errors import ConfigError, FleetdError
from fleetd.model.check import BUILT_IN_CHECKS, Check, CommandCheck, HttpCheck, TcpCheck, UnitCheck, Via
from fleetd.model.fleet import (
    BootKind,
    FileAttribute,
    Fleet,
    HiveNode,
    Host,
    Installable,
    Prebuilt,
    Privilege,
    ToplevelSource,
)
from fleetd.model.policy import (
    broken_inequalities,
)
from fleetd.model.reference import INSTEAD, carries_secret
from fleetd.model.selector import select
from fleetd.model.store_path import parse_store_path
from fleetd.schema.commands import CommandTable, command_of
from fleetd.schema.generations import GenerationsText, kept_generations_of
from fleetd.schema.groups import GroupTable, groups_of
from fleetd.schema.hooks import HookTable, hooks_of
from fleetd.schema.policies import PolicyTable, policy_of
from fleetd.schema.problems import Period, SizeText, Strict, read_table, seconds, size_of, word_of
from fleetd.schema.reach import reach_problems, socket_problem

_BRACES = re.compile(r"\{([^{}]*)\}")
_HOST_KEY = re.compile(r"(ssh-|ecdsa-|sk-)[a-z0-9@.-]+ AAAA[A-Za-z0-9+/]+={0,2}( .*)?")
_WRAPPED = re.compile(r"#deploy\.nodes\..*\.path$")
_HOST_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,62}")


class _Host(Strict):
    address: str | list[str] | None = None
    port: int = Field(22, ge=1, le=65535)
    user: str = "root"
    tags: list[str] = Field(default_factory=list)
    domain: str = "default"
    jump: str | None = None
    depends_on: list[str] = Field(default_factory=list)
    privilege: Literal["none", "sudo", "run0", "doas"] = "none"
    host_key: str | None = None
    system: str = "x86_64-linux"
    boot: Literal["auto", "external"] = "auto"
    unattended_boot: bool = True
    unlock: CommandTable | None = None
    power_cycle: CommandTable | None = None
    ignore_units: list[str] = Field(default_factory=list)
    keep_generations: GenerationsText = None
    substitute: bool = False
    compress: Literal["none", "zstd"] = "none"
    installable: str | None = None
    file: str | None = None
    attr: str | None = None
    hive: str | None = None
    build_on: Literal["controller", "target"] = "controller"
    toplevel: str | None = None


class _Http(Strict):
    url: str
    status: list[int] = Field(default_factory=lambda: [200])
    contains: str = ""
    via: Literal["controller", "host"] = "controller"


class _Tcp(Strict):
    port: int = Field(ge=1, le=65535)
    via: Literal["controller", "host"] = "controller"


class _Unit(Strict):
    name: str


class _Command(Strict):
    argv: list[str] = Field(min_length=1)


class _Check(Strict):
    name: str
    on: str = "*"
    http: _Http | None = None
    tcp: _Tcp | None = None
    unit: _Unit | None = None
    command: _Command | None = None
    interval: Period = "2s"
    timeout: Period = "5s"
    successes: int = Field(3, ge=1, le=100)
    soak_interval: Period = "30s"


class _File(Strict):
    brake: SizeText = "25%"
    defaults: dict[str, Any] = Field(default_factory=dict)
    hosts: dict[str, _Host]
    checks: list[_Check] = Field(default_factory=list)
    policies: dict[str, PolicyTable] = Field(default_factory=dict)
    groups: list[GroupTable] = Field(default_factory=list)
    hooks: list[HookTable] = Field(default_factory=list)


def parse_fleet(
    table: Mapping[str, Any], *, file: str, flake: str | None, contact_s: float, base: Path | None = None
) -> Fleet:
    """Return the fleet that a file describes.

    Args:
        table: the file's content.
        file: its name, for messages.
        flake: the configured flake, where hosts without a source of their own are looked up.
        contact_s: n of the timing inequalities, one fresh contact.
        base: what a host's relative ``file`` is relative to; None where only an absolute one makes sense.

    Raises:
        ConfigError: one line for each mistake.
    """
    defaults, hosts = table.get("defaults", {}), table.get("hosts", {})
    merged = dict(table)
    if isinstance(defaults, Mapping) and isinstance(hosts, Mapping):
        merged["hosts"] = {
            name: {**defaults, **host} if isinstance(host, Mapping) else host for name, host in hosts.items()
        }
    raw = read_table(_File, merged, file)
    problems: list[str] = []
    policies = {"default": PolicyTable.model_validate({})} | raw.policies
    fleet = Fleet(
        hosts={name: _host(name, host, flake, base, problems) for name, host in raw.hosts.items()},
        checks=tuple(_check(index, check, problems) for index, check in enumerate(raw.checks)),
        policies={name: policy_of(name, policy, problems) for name, policy in policies.items()},
        groups=groups_of(raw.groups, problems),
        hooks=hooks_of(raw.hooks, problems),
        brake=size_of(raw.brake),
        flake=flake,
    )
    for name, count in Counter(check.name for check in raw.checks).items():
        if count > 1:
            # Answers are known by name: a check that passes would stand for another that fails.
            problems.append(f"checks ({word_of(name)}): {count} checks have this name; each needs its own")
    _judge(fleet, contact_s, problems)
    if problems:
        raise ConfigError("\n".join(f"{file}: {problem}" for problem in problems))
    return fleet


def _host(name: str, raw: _Host, flake: str | None, base: Path | None, problems: list[str]) -> Host:
    place = f"hosts.{word_of(name)}"
    if _HOST_NAME.fullmatch(name) is None:
        problems.append(f"{place}: not a host name (letters, digits and dashes, at most 63)")
    if raw.user.startswith("-") or any(str(a).startswith("-") for a in _addresses(name, raw)):
        problems.append(f"{place}: neither user nor address may begin with a dash")
    for address in _addresses(name, raw):
        if (problem := socket_problem(address, raw.jump)) is not None:
            problems.append(f"{place}.address: {address!r} {problem}")
    if raw.host_key is not None and _HOST_KEY.fullmatch(raw.host_key) is None:
        problems.append(
            f"{place}.host_key: not a public key (a line of ssh-keyscan without the address: ssh-ed25519 AAAA…)"
        )
    if raw.build_on == "target" and raw.installable is not None and _WRAPPED.search(raw.installable):
        problems.append(
            f"{place}.build_on: what deploy-rs has of a system is a wrapper around it, made where it is built "
            "(write: controller)"
        )
    return Host(
        name=name,
        addresses=_addresses(name, raw),
        port=raw.port,
        user=raw.user,
        tags=tuple(raw.tags),
        domain=raw.domain,
        jump=raw.jump,
        depends_on=tuple(dict.fromkeys([*raw.depends_on, *([raw.jump] if raw.jump else [])])),
        privilege=Privilege(raw.privilege),
        host_key=raw.host_key,
        system=raw.system,
        boot=BootKind(raw.boot),
        unattended_boot=raw.unattended_boot,
        unlock=command_of(f"{place}.unlock", raw.unlock, problems),
        power_cycle=command_of(f"{place}.power_cycle", raw.power_cycle, problems),
        ignore_units=tuple(raw.ignore_units),
        keep_generations=kept_generations_of(raw.keep_generations),
        substitute=raw.substitute,
        compress=raw.compress == "zstd",
        builds_itself=raw.build_on == "target",
        source=_source(name, raw, flake, base, problems),
    )


def _addresses(name: str, raw: _Host) -> tuple[str, ...]:
    if raw.address is None:
        return (name,)
    return (raw.address,) if isinstance(raw.address, str) else tuple(raw.address) or (name,)


def _source(name: str, raw: _Host, flake: str | None, base: Path | None, problems: list[str]) -> ToplevelSource | None:
    place = f"hosts.{word_of(name)}"
    given = [word for word in ("installable", "file", "hive", "toplevel") if getattr(raw, word) is not None]
    if len(given) > 1:
        problems.append(f"{place}: {' and '.join(given)} exclude each other")
    if (raw.file is None) != (raw.attr is None):
        problems.append(f"{place}: file and attr go together")
    if raw.toplevel is not None:
        try:
            return Prebuilt(parse_store_path(raw.toplevel))
        except FleetdError as error:
            problems.append(f"{place}.toplevel: {error}")
            return None
    if raw.file is not None and raw.attr is not None:
        return FileAttribute(_nix_file(f"{place}.file", raw.file, base, problems), raw.attr)
    if raw.hive is not None:
        return HiveNode(_nix_file(f"{place}.hive", raw.hive, base, problems), name)
    if raw.installable is not None and carries_secret(raw.installable):
        problems.append(f"{place}.installable: {INSTEAD}")
    if raw.installable is not None:
        return Installable(raw.installable)
    if flake is not None:
        return Installable(f"{flake}#nixosConfigurations.{name}.config.system.build.toplevel")
    return None


def _nix_file(place: str, file: str, base: Path | None, problems: list[str]) -> str:
    if base is None and not Path(file).is_absolute():
        problems.append(f"{place}: {file!r} must be absolute here: it is relative to no file")
    return str((base or Path("/")) / file)


def _check(index: int, raw: _Check, problems: list[str]) -> Check:
    place = f"checks.{index} ({word_of(raw.name)})"
    kinds = [kind for kind in ("http", "tcp", "unit", "command") if getattr(raw, kind) is not None]
    if len(kinds) != 1:
        problems.append(f"{place}: exactly one kind is needed (http, tcp, unit, command), found {kinds or 'none'}")
    if raw.name in BUILT_IN_CHECKS:
        problems.append(f"{place}: this name belongs to a built-in check")
    kind: HttpCheck | TcpCheck | UnitCheck | CommandCheck = CommandCheck(("true",))
    if raw.http is not None:
        unknown = sorted(set(_BRACES.findall(raw.http.url)) - {"address", "name", "port"})
        if unknown:
            problems.append(f"{place}.http.url: unknown {{{unknown[0]}}} (there are {{address}}, {{name}}, {{port}})")
        kind = HttpCheck(raw.http.url, tuple(raw.http.status), raw.http.contains, Via(raw.http.via))
    elif raw.tcp is not None:
        kind = TcpCheck(raw.tcp.port, Via(raw.tcp.via))
    elif raw.unit is not None:
        kind = UnitCheck(raw.unit.name)
    elif raw.command is not None:
        kind = CommandCheck(tuple(raw.command.argv))
    times = (seconds(raw.interval), seconds(raw.timeout), seconds(raw.soak_interval))
    return Check(raw.name, raw.on, kind, times[0], times[1], raw.successes, times[2])


def _judge(fleet: Fleet, contact_s: float, problems: list[str]) -> None:
    """Look at what only the whole file shows: names that refer to each other, and timing."""
    if not fleet.hosts:
        problems.append("hosts: there is none")
    for host in fleet.hosts.values():
        for other in host.depends_on:
            if other not in fleet.hosts:
                problems.append(f"hosts.{word_of(host.name)}: depends on {other!r}, which is not in the fleet")
    _judge_order(fleet, problems)
    problems += reach_problems(fleet)
    selectors = [(f"checks ({word_of(check.name)}).on", check.on) for check in fleet.checks]
    selectors += [(f"groups ({word_of(group.name)}).on", group.on) for group in fleet.groups]
    selectors += [(f"hooks ({word_of(hook.name)}).on", hook.on) for hook in fleet.hooks]
    selectors += [
        (f"policies.{name}.waves ({wave.name}).on", wave.on)
        for name, policy in fleet.policies.items()
        for wave in policy.waves
        if wave.on
    ]
    for place, selector in selectors:
        try:
            if not select(fleet, selector):
                problems.append(f"{place}: {selector!r} selects no host")
        except FleetdError as error:
            problems.append(f"{place}: {error}")
    for name, policy in fleet.policies.items():
        for sentence in broken_inequalities(policy, fleet.checks, contact_s):
            problems.append(f"policies.{word_of(name)}: {sentence}")


def _judge_order(fleet: Fleet, problems: list[str]) -> None:
    """Hosts that wait for each other would wait for ever."""
    try:
        TopologicalSorter({host.name: host.depends_on for host in fleet.hosts.values()}).prepare()
    except CycleError as error:
        circle = " -> ".join(word_of(name) for name in error.args[1])
        problems.append(f"hosts.{word_of(error.args[1][0])}: depends on itself: {circle}")
