"""README's start for a real fleet, taken from README and carried out: files and commands as they are written there.

Only what a reader would replace as well is replaced: addresses, keys, paths, the flake; and waits are shortened.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
from lab import LabHost
from lab import system as systems
from lab.control import NIX_CONFIG, PROGRAMS
from lab.scene import Scene
from lab.seed import seed_with

README = Path(__file__).parents[2] / "README.md"
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
READY = "for i in $(seq 100); do fleetctl rollouts >/dev/null 2>&1 && break; sleep 0.2; done"
"""What a person's slow fingers give the daemon: a moment to start."""

LONGEST_S = 140
pytestmark = [pytest.mark.lab, pytest.mark.timeout(3 * LONGEST_S)]


def test_the_start_in_the_readme_works_as_written(scene: Scene, tmp_path: Path) -> None:
    hosts = scene.hosts("web1", "web2", seed=seed_with(first_system))
    before = {host.name: scene.runs(host)[0] for host in hosts}
    flake = make_flake(tmp_path / "infra")
    fleet, config, commands = start_of(README.read_text())
    (tmp_path / "fleet.toml").write_text(as_a_reader_would(fleet, hosts, flake, tmp_path, scene))
    (tmp_path / "config.toml").write_text(as_a_reader_would(config, hosts, flake, tmp_path, scene))
    *first, last = commands.splitlines()
    assert last.startswith("fleetctl rollback")
    deployed = play(first, tmp_path)
    assert "-> nixos-system-web1-v2" in deployed, "the plan says from what to what"
    for host in hosts:
        running = scene.runs(host)
        assert running[0].endswith(f"-nixos-system-{host.name}-v2"), deployed
        assert running == (running[0],) * 3
        assert scene.page(host) == "ok v2"
    back = play(["fleetd --config config.toml &", last], tmp_path)
    for host in hosts:
        assert scene.runs(host) == (before[host.name],) * 3, back
        assert scene.page(host) == "ok v1"


def first_system(host: LabHost) -> systems.System:
    """Return what the fleet runs before, well in the eyes of the check in README."""
    return systems.good(host.name, host.wiring.gateway, "v1").with_web("ok v1")


def start_of(readme: str) -> tuple[str, str, str]:
    """Return the fleet file, the configuration and the commands of README's start."""
    part = readme.partition("\n## A real fleet in five minutes\n")[2].partition("\n## ")[0]
    blocks = BLOCK.findall(part)
    assert [kind for kind, _text in blocks[:3]] == ["toml", "toml", ""]
    return blocks[0][1], blocks[1][1], blocks[2][1]


def as_a_reader_would(text: str, hosts: list[LabHost], flake: str, place: Path, scene: Scene) -> str:
    """Put in what is of this place: each host's address and key, the flake, directories, and shorter waits."""
    text = text.replace("/run/fleetd", str(place / "run")).replace("/var/lib/fleetd", str(place / "state"))
    for line, host in zip(("10.0.0.11", "10.0.0.12"), hosts, strict=True):
        text = text.replace(line, host.address)
    keys = iter(hosts)
    text = re.sub("ssh-ed25519 AAAA…", lambda _found: next(keys).host_key, text)
    text = text.replace("git+ssh://git@git.example.org/infra?ref=main", flake)
    text = text.replace("/etc/fleetd/id_ed25519", str(scene.lab.private_key))
    text = re.sub(r'soak = "\d+m"', 'soak = "2s"', text)
    return text + ('min_healthy = "3s"\n' if "[policies.default]" in text else "")


def make_flake(place: Path) -> str:
    """Return the reference of a flake that has a second revision for both hosts."""
    shutil.copytree(systems.DIRECTORY, place)
    revision = '{ hosts = [ "web1" "web2" ]; label = "v2"; web = { text = "ok v2"; }; }'
    (place / "revision.nix").write_text(revision)
    return f"path:{place}"


def play(commands: list[str], place: Path) -> str:
    """Type the commands, one after the other, and return what was said; the daemon ends when they have ended."""
    typed = "\n".join(line.replace("&", f"& {READY}") for line in commands)
    env = {
        **os.environ,
        "PATH": f"{PROGRAMS}:{os.environ['PATH']}",
        "NIX_CONFIG": NIX_CONFIG,
        "FLEETD_SERVER": f"unix:{place}/run/fleetd.sock",
    }
    script = f"set -e\ntrap 'kill %1; wait' EXIT\n{typed}\n"
    with (place / "said").open("w+") as said:
        shell = subprocess.Popen(
            ["bash", "-c", script], cwd=place, env=env, stdout=said, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            code = shell.wait(LONGEST_S)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGKILL)
        said.seek(0)
        text = said.read()
    assert code == 0, text
    return text
