"""Commands for who runs the daemon: first files, a look at the configuration, tokens, and what is wrong here."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fleetd.cli import outcome
from fleetd.cli.app import Config, app, client, show
from fleetd.errors import FleetdError, UsageError

if TYPE_CHECKING:
    from fleetd.model.fleet import Fleet

token_app = typer.Typer(no_args_is_help=True, help="API tokens.", rich_markup_mode=None)
app.add_typer(token_app, name="token")

FREE_BYTES = 1024 * 1024 * 1024
"""Room for a closure to be built and for the journal of years; below this, builds fail before anything else does."""

CONFIG_TEXT = """\
# fleetd's own configuration; docs/configuration.md has every key.
[fleet]
path = "fleet.toml"
# ref = "git+ssh://git@git.example.org/infra?ref=main"   # nixosConfigurations.HOST of this flake is deployed
[server]
listen = ["unix:{directory}/fleetd.sock"]
[state]
directory = "state"
[ssh]
identity = "id_ed25519"
"""
HOST_TEXT = """\
[hosts.{name}]
address = "{address}"
{key}
"""
FLEET_TEXT = """\
# The fleet; docs/configuration.md has every key.
{hosts}
# [[checks]]
# name = "web answers"
# on = "@web"
# http = {{ url = "http://{{address}}:8080/healthz" }}

[policies.default]
waves = [ {{ name = "canary", count = 1, soak = "10m" }}, {{ percent = 25, soak = "30m" }} ]   # the rest is a last wave
"""


@app.command()
def check(config: Config = None) -> None:
    """Read the configuration and the fleet, without a daemon, and tell every mistake."""
    fleet, unknown = _read(config)
    lines = [f"{len(fleet.hosts)} hosts, {len(fleet.checks)} checks: all good"]
    if unknown:
        lines[0] = f"{len(fleet.hosts)} hosts, {len(fleet.checks)} checks"
        lines.append(_no_key(unknown))
    show({"hosts": len(fleet.hosts), "without_host_key": unknown}, lines)


def _no_key(names: list[str]) -> str:
    shown = ", ".join(names[:10]) + (", …" if len(names) > 10 else "")
    return f"no contact is made with {shown}: no host_key, and no ssh.known_hosts (ssh-keyscan tells keys)"


def _read(config: str | None) -> tuple[Fleet, list[str]]:
    """Return the fleet, and its hosts whose key nothing tells. Raises ConfigError, SourceError."""
    import asyncio

    from fleetd.config import load
    from fleetd.daemon import fleet_source

    settings = load(config)
    fleet = asyncio.run(fleet_source(settings, keep=False).load())
    for hook in settings.hooks:
        if hook.policy not in fleet.policies:
            raise UsageError(f"webhooks.{hook.name}.policy: there is no policy {hook.policy!r} in the fleet")
    unknown = [host.name for host in fleet.hosts.values() if host.host_key is None and settings.known_hosts is None]
    return fleet, unknown


@app.command()
def init(
    directory: Annotated[str, typer.Argument(help="Where the files go.")] = ".",
    host: Annotated[
        list[str] | None, typer.Option("--host", metavar="NAME=ADDRESS", help="A host; its key is asked for now.")
    ] = None,
) -> None:
    """Write a first configuration, fleet file and key; files that are there are left as they are."""
    place = Path(directory).resolve()
    hosts = [_first_host(text) for text in host or ["web1=10.0.0.11"]]
    texts = {
        "config.toml": CONFIG_TEXT.format(directory=place),
        "fleet.toml": FLEET_TEXT.format(hosts="\n".join(hosts)),
    }
    there = [name for name in (*texts, "id_ed25519") if (place / name).exists()]
    if there:
        raise UsageError(f"{place / there[0]} is there already; nothing was written")
    place.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (place / name).write_text(text)
    key = place / "id_ed25519"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "fleetd", "-f", str(key)], check=True)
    public = key.with_suffix(".pub").read_text().strip()
    lines = [
        f"wrote config.toml, fleet.toml and id_ed25519 to {place}; next:",
        f"  on each host, let this key log in as root: {public}",
        f"  fleetctl check --config {place}/config.toml",
        f"  fleetd --config {place}/config.toml",
        f"  fleetctl --server unix:{place}/fleetd.sock hosts",
    ]
    show({"directory": str(place), "public_key": public}, lines)


def _first_host(text: str) -> str:
    """Return a host's table, with the key that answers at its address now; a person has to look at it once."""
    name, equals, address = text.partition("=")
    if not equals or not name or not address or address.startswith("-") or '"' in text:
        raise UsageError(f"--host {text!r}: write NAME=ADDRESS")
    argv = ["ssh-keyscan", "-T", "5", "-t", "ed25519", address]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    words = next((line.split() for line in done.stdout.splitlines() if not line.startswith("#")), [])
    key = f'host_key = "{" ".join(words[1:3])}"   # compare it with the host\'s own'
    if len(words) < 3:
        key = '# host_key = "ssh-ed25519 AAAA…"   # it did not answer; ssh-keyscan tells it'
    return HOST_TEXT.format(name=name, address=address, key=key)


@app.command()
def doctor(config: Config = None) -> None:
    """Look at what usually is wrong: configuration, tools, room, daemon, hosts. Changes nothing."""
    found = [_looked(name, look) for name, look in _looks(config).items()]
    lines = [f"{'ok   ' if one['ok'] else 'WRONG'}  {one['name']}: {one['text']}" for one in found]
    show({"checks": found}, lines)
    if not all(one["ok"] for one in found):
        raise typer.Exit(outcome.USAGE)


def _looked(name: str, look: Callable[[], str]) -> dict[str, Any]:
    try:
        return {"name": name, "ok": True, "text": look()}
    except (FleetdError, OSError, subprocess.SubprocessError) as error:
        return {"name": name, "ok": False, "text": str(error)}


def _looks(config: str | None) -> dict[str, Callable[[], str]]:
    from fleetd.config import load

    def configuration() -> str:
        fleet, unknown = _read(config)
        if unknown:
            raise UsageError(_no_key(unknown))
        return f"reads, and so does the fleet: {len(fleet.hosts)} hosts, {len(fleet.checks)} checks"

    def tools() -> str:
        missing = [tool for tool in ("nix", "nix-store", "ssh-keygen", "git") if shutil.which(tool) is None]
        if missing:
            raise UsageError(f"not on PATH: {', '.join(missing)}")
        done = subprocess.run(["nix", "--version"], capture_output=True, text=True, timeout=30, check=True)
        return done.stdout.strip()

    def room() -> str:
        for place in (Path("/nix"), load(config).state):
            free = shutil.disk_usage(place if place.exists() else place.parent).free
            if free < FREE_BYTES:
                raise UsageError(f"{place} has {free // 2**20} MiB free; 1024 are little already")
        return "enough on /nix and in the state directory"

    def daemon() -> str:
        ready = client().get("/v1/ready")
        problem = client().get("/v1/fleet").get("problem", "")
        if problem:
            raise UsageError(f"it answers, but nothing new starts: {problem}")
        return "answers" if ready["ready"] else "answers, not ready: " + "; ".join(ready["problems"])

    def hosts() -> str:
        found = list(client().pages("/v1/hosts", "hosts"))
        wrong = [f"{host['name']} ({host['contact']})" for host in found if host["contact"] not in ("ok", "never")]
        if wrong:
            more = f", and {len(wrong) - 10} more" if len(wrong) > 10 else ""
            raise UsageError(f"out of reach: {', '.join(wrong[:10])}{more}")
        return f"{len(found)}, all in reach"

    return {"configuration": configuration, "tools": tools, "room": room, "daemon": daemon, "hosts": hosts}


StateDirectory = Annotated[str, typer.Option(help="The daemon's state directory.")]
STATE_DIRECTORY = "/var/lib/fleetd"


@token_app.command("create")
def token_create(
    name: str,
    scope: Annotated[list[str], typer.Option("--scope", help="read, deploy, approve, admin.")],
    state_directory: StateDirectory = STATE_DIRECTORY,
    expires: Annotated[str, typer.Option(help="A duration such as 90d.")] = "90d",
) -> None:
    """Make a token; it is printed this once."""
    from fleetd.api.tokens import SCOPES, Tokens
    from fleetd.model.duration import parse_duration

    wrong = sorted(set(scope) - set(SCOPES))
    if wrong:
        raise UsageError(f"no scope {wrong[0]!r} (there are: {', '.join(SCOPES)})")
    try:
        seconds = parse_duration(expires)
    except ValueError as error:
        raise UsageError(f"--expires: {error}") from error
    if not Path(state_directory).is_dir():
        # Made here, it would hold a token that no daemon ever looks at.
        raise UsageError(
            f"--state-directory: there is no {state_directory}; name the one in config.toml, or start fleetd first"
        )
    token = Tokens(Path(state_directory)).create(name, tuple(scope), seconds)
    show({"token": token}, [token])


@token_app.command("list")
def token_list(state_directory: StateDirectory = STATE_DIRECTORY) -> None:
    """List tokens: id, name, scopes, and until when they hold."""
    from fleetd.api.tokens import Tokens
    from fleetd.rollout.documents import instant

    entries = Tokens(Path(state_directory)).entries()
    shown = [
        {**entry, "created_at": instant(entry.get("created_at")), "expires_at": instant(entry["expires_at"])}
        for entry in entries
    ]
    lines = [
        f"{entry.get('id', '-')}  {entry['name']}  {','.join(entry['scopes'])}  {entry['expires_at'] or 'for ever'}"
        for entry in shown
    ]
    show({"tokens": shown}, lines or ["no tokens"])


@token_app.command("revoke")
def token_revoke(
    which: Annotated[str, typer.Argument(metavar="ID|NAME")], state_directory: StateDirectory = STATE_DIRECTORY
) -> None:
    """Take a token away, by its id, or all of a name; they are refused from now on."""
    from fleetd.api.tokens import Tokens

    count = Tokens(Path(state_directory)).revoke(which)
    if not count:
        raise UsageError(f"there is no token {which!r} (see fleetctl token list)")
    show({"revoked": count}, [f"{count} revoked"])
