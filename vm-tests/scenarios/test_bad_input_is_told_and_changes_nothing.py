"""Bad input: each a clear error with its own exit code, and nothing half done."""

from __future__ import annotations

import pytest
from lab import system as systems
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


def test_a_changed_host_key_is_told_with_both_fingerprints(scene: Scene) -> None:
    hosts = scene.hosts("web1", "web2")
    control = scene.control(["web1"], start=False)
    file = control.directory / "fleet.toml"
    file.write_text(file.read_text().replace(hosts[0].host_key.split()[1], hosts[1].host_key.split()[1]))
    control.start()
    done = control.deploy(scene.build(systems.good, ["web1"], "v2"))
    assert done.returncode == 3, done.stdout
    assert done.stdout.count("SHA256:") >= 2


def test_a_full_disk_fails_the_host_and_leaves_it_as_it_was(scene: Scene) -> None:
    (host,) = scene.hosts("web3")
    before = scene.runs(host)
    control = scene.control(["web3"])
    revision = scene.build(systems.good, ["web3"], "v2")
    host.fill_disk()
    done = control.deploy(revision)
    host.unfill()
    assert done.returncode in (2, 3), done.stdout + control.log()
    assert scene.runs(host) == before


def test_a_second_daemon_on_the_same_state_is_refused(scene: Scene) -> None:
    import subprocess

    from lab.control import PROGRAMS

    control = scene.control(["web1"])
    words = [str(PROGRAMS / "fleetd"), "--config", str(control.directory / "config.toml")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "another fleetd (pid" in done.stderr
