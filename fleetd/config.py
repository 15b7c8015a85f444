"""The daemon's configuration: a TOML file and the environment, read once, frozen."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from fleetd.errors import ConfigError
from fleetd.schema.problems import Duration, Strict, read_table, seconds

DEFAULT_PATH = "/etc/fleetd/config.toml"


class _Fleet(Strict):
    source: Literal["file"] = "file"
    path: str = "fleet.toml"
    ref: str | None = None


class _Server(Strict):
    listen: list[str] = Field(default_factory=lambda: ["unix:/run/fleetd/fleetd.sock"])


class _State(Strict):
    directory: str = "/var/lib/fleetd"


class _Ssh(Strict):
    identity: str
    known_hosts: str | None = None
    connect_timeout: Duration = "10s"
    login_timeout: Duration = "30s"
    order_timeout: Duration = "20s"


class _Signing(Strict):
    nix_key: str | None = None


class _Webhook(Strict):
    provider: Literal["gitlab", "github", "gitea", "forgejo", "bearer", "standard"]
    auth: Literal["signature", "token"] = "signature"
    secrets: list[str] = Field(min_length=1)
    refs: list[str] = Field(default_factory=list)
    policy: str = "default"
    on: str = ""


class _Log(Strict):
    format: Literal["console", "json"] = "console"


class _File(Strict):
    fleet: _Fleet = Field(default_factory=_Fleet)
    server: _Server = Field(default_factory=_Server)
    state: _State = Field(default_factory=_State)
    ssh: _Ssh
    signing: _Signing = Field(default_factory=_Signing)
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


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything the daemon is told, with times in seconds and paths absolute."""

    fleet_path: Path
    flake: str | None
    listen: tuple[str, ...]
    state: Path
    identity: Path
    known_hosts: Path | None
    connect_timeout_s: float
    login_timeout_s: float
    order_timeout_s: float
    nix_key: str | None
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
    raw = read_table(_File, _with_environment(table, env), str(place))
    base = place.resolve().parent
    return Settings(
        fleet_path=base / raw.fleet.path,
        flake=raw.fleet.ref,
        listen=tuple(raw.server.listen),
        state=base / raw.state.directory,
        identity=_file(base / raw.ssh.identity, f"{place}: ssh.identity"),
        known_hosts=_file(base / raw.ssh.known_hosts, f"{place}: ssh.known_hosts") if raw.ssh.known_hosts else None,
        connect_timeout_s=seconds(raw.ssh.connect_timeout),
        login_timeout_s=seconds(raw.ssh.login_timeout),
        order_timeout_s=seconds(raw.ssh.order_timeout),
        nix_key=_file(base / raw.signing.nix_key, f"{place}: signing.nix_key").read_text()
        if raw.signing.nix_key
        else None,
        hooks=tuple(_hook(name, hook, base, str(place)) for name, hook in raw.webhooks.items()),
        log_format=raw.log.format,
    )


def _hook(name: str, raw: _Webhook, base: Path, place: str) -> HookSettings:
    secrets = []
    for index, secret in enumerate(raw.secrets):
        content = _file(base / secret, f"{place}: webhooks.{name}.secrets.{index}").read_bytes().strip()
        if not content:
            raise ConfigError(f"{place}: webhooks.{name}.secrets.{index}: {secret} is empty")
        secrets.append(content)
    return HookSettings(name, raw.provider, raw.auth, tuple(secrets), tuple(raw.refs), raw.policy, raw.on)


def _text(base: Path, name: str | None, place: str) -> str | None:
    return None if name is None else _file(base / name, place).read_text()


def _file(path: Path, place: str) -> Path:
    if not path.is_file():
        raise ConfigError(f"{place}: {path} is not there")
    return path


def _with_environment(table: Mapping[str, Any], env: Mapping[str, str]) -> dict[str, Any]:
    """Lay ``FLEETD_SECTION__KEY`` over the file; values are text."""
    merged = {name: dict(section) if isinstance(section, dict) else section for name, section in table.items()}
    for name, value in env.items():
        section, two, key = name.removeprefix("FLEETD_").partition("__")
        if name.startswith("FLEETD_") and two and isinstance(merged.setdefault(section.lower(), {}), dict):
            merged[section.lower()][key.lower()] = value
    return merged
