"""Bad input: each a clear error with its own exit code, and nothing half done."""

from __future__ import annotations

import json
import re

import pytest
from lab import system as systems
from lab.control import policy_with
from lab.scene import Scene

pytestmark = pytest.mark.lab


def test_toplevels_that_are_none_or_belong_elsewhere_are_refused(scene: Scene) -> None:
    names = ["web1", "web2"]
    hosts = scene.hosts(*names)
    before = [scene.runs(host) for host in hosts]
    control = scene.control(names)
    other = scene.build(systems.good, ["web2"], "v2")["web2"]
    for path, words in (
        ("/nix/store/nonsense", "is not a store path"),
        ("/nix/store/" + "0" * 32 + "-nixos-system-web1-v2", "is not in the store"),
        (other, "belongs to another host"),
    ):
        done = control.deploy({"web1": path})
        assert done.returncode == 1, (path, done.stdout)
        assert words in done.stderr
    unknown = control.ctl("deploy", "--on", "web9")
    assert unknown.returncode == 1
    assert "web9" in unknown.stderr
    assert [scene.runs(host) for host in hosts] == before
    assert control.ctl("rollouts").stdout.strip() == ""


TROUBLES = {
    "web3": ("login-refused", "login as nobody-here refused", "authorized_keys"),
    "web4": ("login-refused", "deploy may log in and", "not become root"),
    "web5": ("host-identity", "shows the host key SHA256:", "expected SHA256:"),
    "web6": ("unreachable", "no answer in time", "web6"),
}
"""What each host is told with: the kind, and words of the reason."""


def test_hosts_that_cannot_be_asked_are_told_by_what_is_wrong_with_each(scene: Scene) -> None:
    """A wrong user, a user who may not become root, a host key of another host, and nobody there at all."""
    names = ["web1", *TROUBLES]
    well, *troubled = scene.hosts(*names)
    before = [scene.runs(host) for host in troubled]
    keys = {"web3": {"user": "nobody-here"}, "web4": {"user": "deploy"}, "web5": {"host_key": well.host_key}}
    control = scene.control(names, policy=policy_with(unreachable_budget="100%", waves=[]), keys=keys)
    troubled[-1].cut()
    revision = scene.build(systems.good, names, "v2")
    done = control.deploy(revision)
    assert done.returncode == 5, done.stdout + control.log()
    assert scene.runs(well) == (revision["web1"],) * 3
    explained = control.ctl("explain", "r-1").stdout
    seen = {host["name"]: host["contact"] for host in json.loads(control.ctl("--json", "hosts").stdout)["hosts"]}
    for name, (kind, *words) in TROUBLES.items():
        told = control.rollout("r-1")["hosts"][name]
        assert (told["state"], told["kind"]) == ("deferred", kind)
        assert all(word in told["reason"] for word in words), told
        assert f"{name} deferred ({kind}): " in explained
        assert seen[name].startswith(f"{kind}: ")
        # With nobody else in it, the rollout has deployed nothing; the same is told.
        alone = control.deploy({name: revision[name]})
        assert alone.returncode == 3, alone.stdout
        for said in (done.stdout, alone.stdout):
            line = next(line for line in said.splitlines() if line.startswith(name) and "deferred" in line)
            assert all(word in line for word in (f"({kind}: ", *words)), line
    troubled[-1].heal()
    assert [scene.runs(host) for host in troubled] == before
    assert [scene.orders(host) for host in troubled] == [[]] * len(troubled)


def test_a_full_disk_is_told_and_leaves_the_host_as_it_was(scene: Scene) -> None:
    (host,) = scene.hosts("web3")
    before = scene.runs(host)
    revision = scene.build(systems.good, ["web3"], "v2")
    # Before anybody looks at it: whoever does brings the helper.
    host.fill_disk()
    control = scene.control(["web3"])
    done = control.deploy(revision)
    assert done.returncode == 3, done.stdout + control.log()
    told = control.rollout("r-1")["hosts"]["web3"]
    assert (told["state"], told["kind"]) == ("deferred", "disk-full"), told["reason"]
    numbers = re.search(r"the helper takes (\d+) bytes, and /nix/store has (\d+) bytes free", told["reason"])
    assert numbers, told["reason"]
    assert int(numbers[1]) > int(numbers[2])
    assert numbers[0] in done.stdout
    host.unfill()
    # Once the helper is there the host says how much room it has.
    assert control.ctl("hosts").returncode == 0
    host.fill_disk(leave_bytes=20_000)
    done = control.deploy(revision)
    host.unfill()
    assert done.returncode == 2, done.stdout + control.log()
    told = control.rollout("r-2")["hosts"]["web3"]
    assert (told["state"], told["kind"]) == ("failed", "disk-full"), told["reason"]
    words = r"\d+ paths of (\d+) bytes are missing there, and /nix/store has (\d+) bytes free"
    numbers = re.search(words, told["reason"])
    assert numbers, told["reason"]
    assert int(numbers[1]) > int(numbers[2])
    assert numbers[0] in done.stdout
    assert scene.runs(host) == before
    assert scene.orders(host) == []


def test_a_second_daemon_on_the_same_state_is_refused(scene: Scene) -> None:
    import subprocess

    from lab.control import PROGRAMS

    control = scene.control(["web1"])
    words = [str(PROGRAMS / "fleetd"), "--config", str(control.directory / "config.toml")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "another fleetd (pid" in done.stderr
