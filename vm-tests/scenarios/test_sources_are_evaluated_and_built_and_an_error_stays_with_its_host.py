"""Fleets from a flake and from a Nix file, end to end: what a host is to run is evaluated and built here, and what does
not evaluate or build is told in Nix's own words and holds nobody else up.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
from conftest import Scene
from lab import system as systems
from lab.control import Control
from lab.run import run

pytestmark = pytest.mark.lab

NAMES = ("web1", "web2")
QUICK = """
[policies.default]
waves = []
max_parallel = 2
max_domains = 3
switch_timeout = "20s"
min_healthy = "1s"
healthy_deadline = "15s"
contact_timeout = "20s"
commit_timeout = "20s"
revert_timeout = "30s"
restart_allowance = "6s"
progress_deadline = "5m"
"""
"""What is tested here ends before the first wave begins."""

SMALL_STORE = 'mount -t tmpfs -o size=40m none /nix && exec "$@"'
HOSTS_NIX = """
let
  library = import ./system;
  revision = import ./revision.nix;
  good = name: library.mkSystem {
    hostName = name;
    inherit (revision) label;
    services = library.base { gateway = revision.gateway; } // {
      web = library.webServer { text = "greeting ${revision.label}"; };
    };
  };
  unbuildable = name: derivation {
    name = "nixos-system-${name}-x"; system = "x86_64-linux"; builder = "/bin/sh";
    args = [ "-c" "echo there is no compiler for ${name} >&2; exit 7" ];
  };
  kinds = {
    good = good;
    throws = name: throw "${name} has no disk";
    inherit unbuildable;
    foreign = name: good "other";
    huge = name: derivation {
      name = "nixos-system-${name}-x"; system = "x86_64-linux"; builder = "/bin/sh";
      args = [ "-c" "exec /usr/bin/head -c 100000000 /dev/zero > $out" ];
    };
    bare = name: derivation {
      name = "nixos-system-${name}-x"; system = "x86_64-linux"; builder = "/bin/sh"; args = [ "-c" "echo > $out" ];
    };
  };
in builtins.mapAttrs (name: kind: kinds.${kind} name) revision.kinds
"""
FLAKE = """
{
  outputs = { self }: {
    nixosConfigurations = builtins.mapAttrs (name: toplevel: { config.system.build.toplevel = toplevel; })
      (import ./hosts.nix);
  };
}
"""


class Tree:
    """A directory of Nix files: one fleet, and its revisions."""

    def __init__(self, place: Path, gateway: str) -> None:
        self.place = place
        self.gateway = gateway
        place.mkdir()
        shutil.copytree(systems.DIRECTORY, place / "system", ignore=shutil.ignore_patterns("__pycache__"))
        (place / "hosts.nix").write_text(HOSTS_NIX)
        (place / "flake.nix").write_text(FLAKE)

    def revise(self, label: str, kinds: Mapping[str, str]) -> None:
        pairs = " ".join(f'{name} = "{kind}";' for name, kind in kinds.items())
        text = f'{{ label = "{label}"; gateway = "{self.gateway}"; kinds = {{ {pairs} }}; }}'
        (self.place / "revision.nix").write_text(text)

    def git(self, *words: str) -> str:
        config = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main")
        return run("git", *config, "-C", self.place, *words).stdout.strip()

    def commit(self, label: str, kinds: Mapping[str, str]) -> str:
        self.revise(label, kinds)
        self.git("add", "--all")
        self.git("commit", "-q", "-m", label)
        return self.git("rev-parse", "HEAD")


def of_file(control: Control, file: str) -> None:
    """Give every host of a fleet file a Nix file and an attribute."""
    fleet = control.directory / "fleet.toml"
    fleet.write_text(re.sub(r"\[hosts\.(\w+)\]", rf'[hosts.\1]\nfile = "{file}"\nattr = "\1"', fleet.read_text()))


def good(*names: str) -> dict[str, str]:
    return dict.fromkeys(names, "good")


@pytest.fixture
def tree(scene: Scene, tmp_path: Path) -> Tree:
    return Tree(tmp_path / "fleet", scene.gateway)


def test_a_flake_goes_out_by_reference_and_by_commit(scene: Scene, tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    hosts = scene.hosts(*NAMES)
    tree.git("init", "-q")
    second, third = tree.commit("v2", good(*NAMES)), tree.commit("v3", good(*NAMES))
    monkeypatch.setenv("FLEETD_FLEET__REF", f"git+file://{tree.place}?ref=main")
    control = scene.control(NAMES, policy=QUICK)
    # What is configured, as it is now.
    done = control.ctl("deploy")
    assert done.returncode == 0, done.stdout + done.stderr + control.log()
    assert [scene.page(host) for host in hosts] == ["greeting v3"] * 2
    assert control.rollout("r-1")["revision"].startswith("git+file://")
    # A commit of it.
    done = control.ctl("deploy", second)
    assert done.returncode == 0, done.stdout + done.stderr + control.log()
    assert [scene.page(host) for host in hosts] == ["greeting v2"] * 2
    # Another reference, from the command line; and nothing was written into the repository.
    other = f"git+file://{tree.place}?rev={third}"
    done = control.ctl("deploy", other)
    assert done.returncode == 0, done.stdout + done.stderr + control.log()
    assert [scene.page(host) for host in hosts] == ["greeting v3"] * 2
    assert tree.git("status", "--porcelain") == ""
    # A branch that was set back no longer contains what runs: refused before any host is touched, unless forced.
    tree.git("reset", "-q", "--hard", second)
    done = control.ctl("deploy")
    assert done.returncode == 4, done.stdout + done.stderr + control.log()
    assert f"{second} does not contain {third}" in done.stdout
    assert [scene.page(host) for host in hosts] == ["greeting v3"] * 2
    done = control.ctl("deploy", "--force")
    assert done.returncode == 0, done.stdout + done.stderr + control.log()
    assert [scene.page(host) for host in hosts] == ["greeting v2"] * 2


def test_a_nix_file_goes_out_by_attribute(scene: Scene, tree: Tree) -> None:
    hosts = scene.hosts(*NAMES)
    tree.revise("v2", good(*NAMES))
    control = scene.control(NAMES, policy=QUICK, start=False)
    # Found from the fleet file's own directory, not from where the daemon was started.
    of_file(control, f"../{tree.place.name}/hosts.nix")
    control.start()
    done = control.ctl("deploy")
    assert done.returncode == 0, done.stdout + done.stderr + control.log()
    assert [scene.page(host) for host in hosts] == ["greeting v2"] * 2


WRONG = {
    "web2": ("throws", "web2 has no disk"),
    "web3": ("unbuildable", "there is no compiler for web3"),
    "web4": ("foreign", "belongs to another host than web4"),
    "web5": ("bare", "it has no nixos-version"),
}


@pytest.mark.parametrize("source", ["flake", "file"])
def test_an_error_stays_with_its_host(scene: Scene, tree: Tree, source: str) -> None:
    names = ["web1", *WRONG]
    hosts = scene.hosts(*names)
    before = [scene.runs(host) for host in hosts]
    tree.revise(f"v2-{source}", {"web1": "good", **{name: kind for name, (kind, _words) in WRONG.items()}})
    control = scene.control(names, policy=QUICK, start=False)
    if source == "file":
        of_file(control, str(tree.place / "hosts.nix"))
    control.start()
    revision = [f"path:{tree.place}"] if source == "flake" else []
    done = control.ctl("deploy", *revision)
    assert done.returncode == 5, done.stdout + done.stderr + control.log()
    rollout = control.rollout("r-1")
    assert rollout["phase"] == "incomplete"
    assert rollout["hosts"]["web1"]["state"] == "committed"
    assert scene.page(hosts[0]) == f"greeting v2-{source}"
    for name, (_kind, words) in WRONG.items():
        assert rollout["hosts"][name]["state"] == "failed"
        assert words in rollout["hosts"][name]["reason"]
        assert words in done.stdout
    assert [scene.runs(host) for host in hosts[1:]] == before[1:]


def test_what_builds_nowhere_touches_no_host(scene: Scene, tree: Tree) -> None:
    hosts = scene.hosts("web1", "web2")
    before = [scene.runs(host) for host in hosts]
    tree.revise("v2", {"web1": "unbuildable", "web2": "throws"})
    control = scene.control(["web1", "web2"])
    for revision, words in (
        (f"path:{tree.place}", "there is no compiler for web1"),
        (f"path:{tree.place}/nowhere", "cannot be locked"),
        ("nixpkgs", "cannot be locked"),
    ):
        done = control.ctl("deploy", revision)
        assert done.returncode == 7, done.stdout + done.stderr + control.log()
        assert words in done.stdout + done.stderr
    assert [scene.runs(host) for host in hosts] == before


def test_a_full_store_on_the_control_node_is_told(scene: Scene, tree: Tree) -> None:
    (host,) = scene.hosts("web1")
    before = scene.runs(host)
    control = scene.control(["web1"], policy=QUICK, start=False)
    control.prefix = ("unshare", "--mount", "sh", "-c", SMALL_STORE, "sh")
    control.start()
    tree.revise("v2", {"web1": "huge"})
    done = control.ctl("deploy", f"path:{tree.place}")
    assert done.returncode == 7, done.stdout + done.stderr + control.log()
    assert "No space left on device" in control.rollout("r-1")["hosts"]["web1"]["reason"]
    assert scene.runs(host) == before
    # With room again, the same daemon goes on.
    run("nsenter", "-t", str(control.pid), "--mount", "mount", "-o", "remount,size=400m", "/nix")
    tree.revise("v2", good("web1"))
    done = control.ctl("deploy", f"path:{tree.place}")
    assert done.returncode == 0, done.stdout + done.stderr + control.log()
    assert scene.page(host) == "greeting v2"


def test_plan_shows_what_does_not_evaluate(scene: Scene, tree: Tree) -> None:
    scene.hosts("web1")
    tree.revise("v2", {"web1": "good", "web2": "throws"})
    control = scene.control(["web1", "web2"])
    done = control.ctl("plan", f"path:{tree.place}")
    assert "web2 has no disk" in done.stdout + done.stderr
