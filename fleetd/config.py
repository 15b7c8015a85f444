"""The daemon's configuration: a TOML file and the environment, read once, frozen."""

from __future__ import annotations

import base64
import binascii
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from fleetd.errors import ConfigError
from fleetd.model.reference import INSTEAD, carries_secret
from fleetd.schema.problems import Period, Strict, read_table, seconds

DEFAULT_PATH = "/etc/fleetd/config.toml"


DEFAULT_FLEET = "fleet.toml"

OUTPUTS: Mapping[str, str] = {"flake": "fleet", "colmena": "colmenaHive", "deploy-rs": "deploy"}
"""The output of the flake that each kind of fleet is read from."""

AUTH: Mapping[str, tuple[str, ...]] = {
    "gitlab": ("signature", "token"),
    "github": ("signature",),
    "gitea": ("signature",),
    "forgejo": ("signature",),
    "bearer": ("token",),
    "standard": ("signature",),
}
"""How each sender of webhooks can prove itself; the first is meant where nothing is said."""

FORGES = ("github", "gitea", "forgejo", "gitlab")
"""Senders that report every branch: without a list of refs, each would be deployed."""

_BANDWIDTH = re.compile(r"([1-9][0-9]{0,8}(?:\.[0-9]{1,3})?) ?([KMG])B/s")
_HOOK_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_MEMORY = re.compile(r"auto|[1-9][0-9]*(MiB|GiB)")
_TOML_VALUE = re.compile(r"""[\[{"']""")
"""How a value in the environment begins that is written as in TOML; any other is text as it stands."""


class _Fleet(Strict):
    source: Literal["file", "flake", "colmena", "deploy-rs"] = "file"
    path: str | None = None
    ref: str | None = None
    allow: list[str] = Field(default_factory=list)
    leave_out: list[Literal["keys", "profiles", "ssh-options"]] = Field(default_factory=list)
    allowed_signers: str | None = None


def _memory(text: str) -> str:
    if _MEMORY.fullmatch(text) is None:
        raise ValueError(f'{text!r} is no size of memory (write "auto", or as "8GiB" or "512MiB")')
    return text


Memory = Annotated[str, AfterValidator(_memory)]


class _Evaluation(Strict):
    memory: Memory = "auto"


class _Observe(Strict):
    interval: Period = "5m"


class _Server(Strict):
    listen: list[str] = Field(default_factory=lambda: ["unix:/run/fleetd/fleetd.sock"], min_length=1)


class _State(Strict):
    directory: str = "/var/lib/fleetd"
    keep: Period = "90d"


class _Ssh(Strict):
    identity: str
    known_hosts: str | None = None
    connect_timeout: Period = "10s"
    login_timeout: Period = "30s"
    order_timeout: Period = "20s"


class _Signing(Strict):
    nix_key: str | None = None
    order_key: str | None = None


class _Push(Strict):
    bandwidth: str | None = None
    cache: str | None = None


class _Webhook(Strict):
    provider: Literal["gitlab", "github", "gitea", "forgejo", "bearer", "standard"]
    auth: Literal["signature", "token"] | None = None
    secrets: list[str] = Field(min_length=1)
    refs: list[str] = Field(default_factory=list)
    policy: str = "default"
    on: str = ""
    supersede: bool = False


class _Log(Strict):
    format: Literal["console", "json"] = "console"


class ConfigFile(Strict):
    """The whole file: every key there is."""

    fleet: _Fleet = Field(default_factory=_Fleet)
    evaluation: _Evaluation = Field(default_factory=_Evaluation)
    observe: _Observe = Field(default_factory=_Observe)
    server: _Server = Field(default_factory=_Server)
    state: _State = Field(default_factory=_State)
    ssh: _Ssh
    signing: _Signing = Field(default_factory=_Signing)
    push: _Push = Field(default_factory=_Push)
    webhooks: dict[str, _Webhook] = Field(default_factory=dict)
    log: _Log = Field(default_factory=_Log)


@dataclass(frozen=True, slots=True)
class HookSettings:
    """One webhook. ``secrets`` are their contents; several for rotation."""

    name: str
    provider: str
    auth: str
    secrets: tuple[bytes, ...]
    refs: tuple[str, ...]
    policy: str
    on: str
    supersede: bool = False


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything the daemon is told, with times in seconds and paths absolute.

    ``fleet_path`` is the fleet file, or what adds to the fleet of another tool; None where there is none. ``hive`` is a
    colmena hive that is a file. ``eval_memory_mib`` is None where the machine decides, ``observe_every_s`` where nobody
    looks at hosts that are in no rollout.
    """

    source: str
    fleet_path: Path | None
    flake: str | None
    hive: Path | None
    leave_out: frozenset[str]
    allow: tuple[str, ...]
    allowed_signers: Path | None
    eval_memory_mib: int | None
    observe_every_s: float | None
    listen: tuple[str, ...]
    state: Path
    keep_s: float
    identity: Path
    known_hosts: Path | None
    connect_timeout_s: float
    login_timeout_s: float
    order_timeout_s: float
    nix_key: str | None
    order_key: str | None
    push_bytes_per_s: float | None
    push_cache: str | None
    hooks: tuple[HookSettings, ...]
    log_format: str

    @property
    def contact_s(self) -> float:
        """One fresh contact: connect, login and order together."""
        return self.connect_timeout_s + self.login_timeout_s + self.order_timeout_s


def load(path: str | None, environment: Mapping[str, str] | None = None) -> Settings:
    """Read the configuration. Raises ConfigError with a line for each mistake."""
    env = os.environ if environment is None else environment
    place = Path(path or env.get("FLEETD_CONFIG", DEFAULT_PATH))
    try:
        table = tomllib.loads(place.read_text())
    except OSError as error:
        raise ConfigError(f"{place}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"{place}: {error}") from error
    overrides = {name: value for name, value in env.items() if name.startswith("FLEETD_") and "__" in name}
    # A mistake may be in either, and the place inside is the same: both are named.
    shown = f"{place} (with {', '.join(sorted(overrides))})" if overrides else str(place)
    # Not resolved: /etc/fleetd/config.toml may be a link into a store, where nothing else is.
    return _settings(read_table(ConfigFile, _with_environment(table, overrides), shown), place.absolute().parent, shown)


def _settings(raw: ConfigFile, base: Path, place: str) -> Settings:
    _check_fleet(raw.fleet, place)
    ref = raw.fleet.ref or ""
    hive = base / ref if raw.fleet.source == "colmena" and ref.endswith(".nix") else None
    path = raw.fleet.path or (DEFAULT_FLEET if raw.fleet.source == "file" else None)
    signers = raw.fleet.allowed_signers
    nix_key, order_key = raw.signing.nix_key, raw.signing.order_key
    return Settings(
        source=raw.fleet.source,
        fleet_path=base / path if path is not None and raw.fleet.source != "flake" else None,
        flake=_flake(raw.fleet.ref, base) if hive is None else None,
        hive=hive,
        leave_out=frozenset(raw.fleet.leave_out),
        allow=tuple(raw.fleet.allow),
        allowed_signers=_file(base, signers, f"{place}: fleet.allowed_signers") if signers else None,
        eval_memory_mib=_mib(raw.evaluation.memory),
        observe_every_s=seconds(raw.observe.interval),
        listen=tuple(raw.server.listen),
        state=base / raw.state.directory,
        keep_s=seconds(raw.state.keep),
        identity=_file(base, raw.ssh.identity, f"{place}: ssh.identity"),
        known_hosts=_file(base, raw.ssh.known_hosts, f"{place}: ssh.known_hosts") if raw.ssh.known_hosts else None,
        connect_timeout_s=seconds(raw.ssh.connect_timeout),
        login_timeout_s=seconds(raw.ssh.login_timeout),
        order_timeout_s=seconds(raw.ssh.order_timeout),
        nix_key=_text(base, nix_key, f"{place}: signing.nix_key") if nix_key else None,
        order_key=_text(base, order_key, f"{place}: signing.order_key") if order_key else None,
        push_bytes_per_s=_bandwidth(raw.push.bandwidth, f"{place}: push.bandwidth"),
        push_cache=raw.push.cache,
        hooks=tuple(_hook(name, hook, base, f"{place}: webhooks.{name}") for name, hook in raw.webhooks.items()),
        log_format=raw.log.format,
    )


def _mib(text: str) -> int | None:
    if text == "auto":
        return None
    return int(text[:-3]) * (1024 if text.endswith("GiB") else 1)


def _check_fleet(fleet: _Fleet, place: str) -> None:
    """Raise ConfigError unless it is said where the fleet is read from, and what else may be."""
    if fleet.ref is not None and carries_secret(fleet.ref):
        raise ConfigError(f"{place}: fleet.ref: {INSTEAD}")
    for reference in fleet.allow:
        if carries_secret(reference):
            raise ConfigError(f"{place}: fleet.allow: {INSTEAD}")
        if set(reference) & set("?#*"):
            raise ConfigError(
                f"{place}: fleet.allow: {reference!r}: write it without parameters, attribute and pattern"
            )
    if fleet.source in OUTPUTS and fleet.ref is None:
        needed = f'{place}: fleet.ref: needed with source = "{fleet.source}": the flake whose output '
        or_file = " (or a hive that is a file, *.nix)" if fleet.source == "colmena" else ""
        raise ConfigError(f'{needed}"{OUTPUTS[fleet.source]}" is read{or_file}')


def _flake(ref: str | None, base: Path) -> str | None:
    """Return a flake reference; one that is a relative path is relative to the configuration file, not to a shell."""
    if ref is None or not ref.startswith("."):
        return ref
    path, mark, rest = ref.partition("?")
    return f"{(base / path).resolve()}{mark}{rest}"


def _bandwidth(text: str | None, place: str) -> float | None:
    """Return bytes per second. Raises ConfigError."""
    if text is None:
        return None
    found = _BANDWIDTH.fullmatch(text)
    if found is None:
        raise ConfigError(f'{place}: {text!r} is no bandwidth (write a number of KB/s, MB/s or GB/s: "20MB/s")')
    return float(found[1]) * {"K": 1e3, "M": 1e6, "G": 1e9}[found[2]]


def _hook(name: str, raw: _Webhook, base: Path, place: str) -> HookSettings:
    if _HOOK_NAME.fullmatch(name) is None:
        raise ConfigError(f"{place}: not the name of a hook (letters, digits, dots, dashes; it is part of a URL)")
    allowed = AUTH[raw.provider]
    auth = raw.auth or allowed[0]
    if auth not in allowed:
        raise ConfigError(f"{place}.auth: {raw.provider} has no {auth!r} (write: {' or '.join(allowed)})")
    if raw.provider in FORGES and not raw.refs:
        raise ConfigError(f'{place}.refs: needed with {raw.provider}: which refs are deployed, as "refs/heads/main"')
    for ref in raw.refs:
        if not ref.startswith("refs/"):
            raise ConfigError(f'{place}.refs: {ref!r} is no whole ref (write: "refs/heads/{ref}")')
    secrets = tuple(
        _secret(raw.provider, auth, _content(base, secret, f"{place}.secrets.{index}"), f"{place}.secrets.{index}")
        for index, secret in enumerate(raw.secrets)
    )
    return HookSettings(name, raw.provider, auth, secrets, tuple(raw.refs), raw.policy, raw.on, raw.supersede)


def _secret(provider: str, auth: str, content: bytes, place: str) -> bytes:
    """Return a usable secret; one that can never sign anything is a mistake, and not a door that stays shut."""
    secret = content.strip()
    if not secret:
        raise ConfigError(f"{place}: the file is empty")
    if provider in ("standard", "gitlab") and auth == "signature":
        try:
            key = base64.b64decode(secret.removeprefix(b"whsec_"), validate=True)
        except binascii.Error as error:
            raise ConfigError(f"{place}: a signing secret is whsec_ and base64 ({error})") from error
        if not key:
            raise ConfigError(f"{place}: a signing secret is whsec_ and base64 (nothing comes after whsec_)")
    return secret


def _file(base: Path, name: str, place: str) -> Path:
    """Return the whole path of a file that is there and can be read. Raises ConfigError."""
    path = base / name
    try:
        with path.open("rb"):
            return path
    except OSError as error:
        raise ConfigError(f"{place}: {path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"{place}: {name!r} is no path ({error})") from error


def _content(base: Path, name: str, place: str) -> bytes:
    return _file(base, name, place).read_bytes()


def _text(base: Path, name: str, place: str) -> str:
    try:
        return _content(base, name, place).decode()
    except UnicodeDecodeError as error:
        raise ConfigError(f"{place}: {base / name} is no key in text form ({error.reason})") from error


def _with_environment(table: Mapping[str, Any], overrides: Mapping[str, str]) -> dict[str, Any]:
    """Lay ``FLEETD_SECTION__KEY`` over the file. Raises ConfigError."""
    merged = dict(table)
    for name, text in overrides.items():
        _put(merged, name.removeprefix("FLEETD_").lower().split("__"), _value(name, text))
    return merged


def _put(table: dict[str, Any], words: Sequence[str], value: object) -> None:
    for word in words[:-1]:
        inner = table.get(word, {})
        # What is no table in the file is left for the schema to complain of.
        table[word] = dict(inner) if isinstance(inner, Mapping) else {}
        table = table[word]
    table[words[-1]] = value


def _value(name: str, text: str) -> object:
    if _TOML_VALUE.match(text) is None:
        return text
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except ValueError as error:
        raise ConfigError(f"${name}: begins like a list, table or text of TOML, and is none: {error}") from error
