"""Commands about hosts: how they are, what happened to them, and the way onto them by hand."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from typing import Annotated, Any

import typer

from fleetd.cli import outcome
from fleetd.cli.app import On, Options, Reason, app, client, quoted, show
from fleetd.cli.render import difference_lines, event_line, freeze_line, host_lines, observed_line, plain, rollout_line
from fleetd.errors import UsageError
from fleetd.model.fleet import socket_path

EXEC_AT_ONCE = 16
EXEC_OUTPUT_BYTES = 1024 * 1024
"""Of each host's output; what is more is cut, and said to be."""


@app.command()
def status() -> None:
    """Show the newest rollouts and every host in trouble."""
    rollouts = client().get("/v1/rollouts")["rollouts"][:5]
    hosts = list(client().pages("/v1/hosts", "hosts"))
    problem = client().get("/v1/fleet").get("problem", "")
    freeze = client().get("/v1/freeze")
    words = ("drifted", "drained", "blocked_by")
    trouble = [host for host in hosts if host["contact"] != "ok" or any(host.get(word) for word in words) or _ill(host)]
    lines = [f"the fleet is broken, nothing new starts: {plain(problem, keep=chr(10))}"] if problem else []
    lines += [freeze_line(freeze)] if freeze["freeze"] else []
    lines += [rollout_line(rollout) for rollout in rollouts] or ["no rollouts yet"]
    lines.append(f"{len(hosts)} hosts, {len(trouble)} need a look")
    document = {"rollouts": rollouts, "hosts": hosts, "problem": problem, **freeze}
    show(document, lines + [observed_line(host) for host in trouble])


def _ill(host: dict[str, Any]) -> bool:
    return host["seen"]["state"] not in ("well", "unknown")


@app.command()
def hosts(on: On = "", state: Annotated[str, typer.Option(help="Only hosts in this state.")] = "") -> None:
    """Show hosts as they are now."""
    query = f"?on={quoted(on)}" + (f"&state={quoted(state)}" if state else "")
    found = list(client().pages(f"/v1/hosts{query}", "hosts"))
    show({"hosts": found}, [observed_line(host) for host in found])


@app.command()
def host(name: str) -> None:
    """Show everything that is known of one host."""
    document = client().get(f"/v1/hosts/{quoted(name)}")
    show(document, host_lines(document))


@app.command()
def logs(
    rollout: str, name: str, build: Annotated[bool, typer.Option("--build", help="What its build wrote.")] = False
) -> None:
    """Print what a host wrote while a rollout switched it, or what the build of its system wrote."""
    of = "build" if build else "switch"
    text = client().text(f"/v1/rollouts/{quoted(rollout)}/hosts/{quoted(name)}/log?of={of}")
    show({"rollout": rollout, "host": name, "of": of, "log": text}, [plain(text.rstrip(), keep="\n")])


@app.command()
def diff(
    name: str,
    revision: Annotated[str | None, typer.Argument(help="A flake reference, commit, or store path.")] = None,
) -> None:
    """Build what a deploy would bring to a host, and show what would change there. No host is touched."""
    is_path = revision is not None and revision.startswith("/nix/store/")
    body = {"toplevel" if is_path else "revision": revision}
    document = client().post(f"/v1/hosts/{quoted(name)}/diff", body)
    show(document, difference_lines(document))


@app.command()
def clear(name: str, reason: Reason = "") -> None:
    """Wait no longer for a lost, stranded or drained host: it is gone, or you put it in order."""
    document = client().post(f"/v1/hosts/{quoted(name)}/clear", {"reason": reason})
    show(document, [observed_line(document)])


@app.command()
def adopt(name: str, reason: Reason = "") -> None:
    """Take what a host runs, and the machine that it is, for what fleetd left there."""
    document = client().post(f"/v1/hosts/{quoted(name)}/adopt", {"reason": reason})
    show(document, [observed_line(document)])


@app.command()
def history(name: str) -> None:
    """Show what happened to a host, oldest first."""
    client().get(f"/v1/hosts/{quoted(name)}")
    after = 0
    while True:
        page = client().get(f"/v1/events?host={quoted(name)}&after={after}")
        for event in page["events"]:
            print(json.dumps(event) if Options.as_json else event_line(event))
        if not page["events"]:
            return
        after = page["next"]


def ssh_words(host: dict[str, Any], by_name: dict[str, dict[str, Any]]) -> list[str]:
    """Return the words of OpenSSH for a host of the fleet: its first address, its port, user and jump hosts.

    One that is reached through a socket alone needs netcat, and the control node, where that socket is.
    """
    words = ["ssh", "-p", str(host["port"]), "-o", f"HostKeyAlias={host['name']}"]
    jumps, name = list[str](), host.get("jump")
    while name is not None and name in by_name and len(jumps) < len(by_name):
        jump = by_name[name]
        jumps.insert(0, f"{jump['user']}@{_bracketed(_address(jump))}:{jump['port']}")
        name = jump.get("jump")
    if jumps:
        words += ["-J", ",".join(jumps)]
    if (path := socket_path(_address(host))) is not None:
        words += ["-o", f"ProxyCommand=nc -U {shlex.quote(path)}"]
        return [*words, "--", f"{host['user']}@{host['name']}"]
    # Before the address: the fleet file allows none that begins with a dash, and so does this.
    return [*words, "--", f"{host['user']}@{_address(host)}"]


def _address(host: dict[str, Any]) -> str:
    addresses = [str(address) for address in host["addresses"]]
    return next((address for address in addresses if socket_path(address) is None), addresses[0])


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address


@app.command(context_settings={"ignore_unknown_options": True})
def ssh(name: str, command: Annotated[list[str] | None, typer.Argument(help="A command, after --.")] = None) -> None:
    """Log in on a host, with your own key, where and as whom the fleet file says."""
    by_name = {host["name"]: host for host in client().get("/v1/fleet")["hosts"]}
    if name not in by_name:
        raise UsageError(f"there is no host {name!r}")
    words = [*ssh_words(by_name[name], by_name), *(command or [])]
    os.execvp(words[0], words)  # noqa: S606


@app.command("exec", context_settings={"ignore_unknown_options": True})
def execute(
    command: Annotated[list[str], typer.Argument(help="The command, after --.")],
    on: On = "*",
    timeout: Annotated[float, typer.Option(min=1, help="Seconds for each host.")] = 60.0,
) -> None:
    """Run a command on hosts, with your own key; fleetd does not know of it, so change no system this way."""
    by_name = {host["name"]: host for host in client().get("/v1/fleet")["hosts"]}
    chosen = [host["name"] for host in client().pages(f"/v1/hosts?on={quoted(on)}", "hosts")]

    def run(name: str) -> dict[str, Any]:
        argv = ssh_words(by_name[name], by_name)
        argv[1:1] = ["-o", "BatchMode=yes", "-o", "ConnectTimeout=10"]
        try:
            # Many at once cannot share what is typed here, and what called this may want its input itself.
            done = subprocess.run(
                [*argv, *command], stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout, check=False
            )
        except subprocess.TimeoutExpired:
            return {"host": name, "status": None, "output": f"no end within {timeout:g} s"}
        output = (done.stdout + done.stderr)[:EXEC_OUTPUT_BYTES].decode(errors="replace")
        if (left_out := len(done.stdout) + len(done.stderr) - EXEC_OUTPUT_BYTES) > 0:
            output += f"\n(cut: {left_out} bytes more)"
        return {"host": name, "status": done.returncode, "output": output}

    failed = 0
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(EXEC_AT_ONCE) as pool:
        for result in pool.map(run, chosen):
            failed += result["status"] != 0
            if Options.as_json:
                print(json.dumps(result))
                continue
            for line in result["output"].splitlines() or [""]:
                print(f"{result['host']}  {plain(line)}")
    if failed:
        sys.stderr.write(f"fleetctl: {failed} of {len(chosen)} hosts did not end with 0\n")
        raise typer.Exit(outcome.USAGE)
