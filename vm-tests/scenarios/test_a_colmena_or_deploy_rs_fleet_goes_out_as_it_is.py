"""Fleets of other tools, as their users have them: fleetd is pointed at the repository, plans it, and deploys it."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Scene
from lab.control import Control, policy_with
from lab.host import LabHost

from tests.fleets import fleet_at, revise

pytestmark = pytest.mark.lab

NAMES = ("web1", "web2")
CONFIG = {
    "colmena": {"SOURCE": "colmena", "REF": "path:{place}"},
    "hive": {"SOURCE": "colmena", "REF": "{place}/hive.nix"},
    "deploy-rs": {"SOURCE": "deploy-rs", "REF": "path:{place}"},
}


def without_addresses(control: Control) -> None:
    """Leave to the other tool what it knows: the fleet file adds host keys, domains, checks and policies."""
    file = control.directory / "fleet.toml"
    lines = file.read_text().splitlines()
    file.write_text("\n".join(line for line in lines if not line.startswith(("address", "tags"))) + "\n")


def pages(scene: Scene, hosts: list[LabHost]) -> set[str]:
    return {scene.page(host) for host in hosts}


@pytest.mark.parametrize("kind", CONFIG)
def test_a_fleet_of_another_tool_is_planned_and_deployed(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    hosts = scene.hosts(*NAMES)
    addresses = {host.name: host.address for host in hosts}
    place = fleet_at(tmp_path / "infra", kind)
    revise(place, "v2", addresses, gateway=scene.gateway)
    for key, value in {**CONFIG[kind], "PATH": "fleet.toml"}.items():
        monkeypatch.setenv(f"FLEETD_FLEET__{key}", value.format(place=place))
    control = scene.control(NAMES, policy=policy_with(waves=[], min_healthy="1s"), start=False)
    without_addresses(control)
    control.start()
    planned = control.ctl("plan")
    assert planned.returncode == 0, planned.stdout + planned.stderr
    assert all(name in planned.stdout for name in NAMES)
    # Compared with what runs there, which this control node has built itself; nothing is sent for it.
    compared = control.ctl("diff", "web1")
    assert compared.returncode == 0, compared.stdout + compared.stderr
    assert "nixos-system-web1-v1 -> nixos-system-web1-v2" in compared.stdout
    assert "paths, " in compared.stdout
    assert "to send at most" in compared.stdout
    # What is built now is compared in a plan too.
    assert "to send at most" in control.ctl("plan", "--on", "web1").stdout
    assert pages(scene, hosts) == {"greeting v1"}
    done = control.ctl("deploy")
    assert done.returncode == 0, done.stdout + done.stderr + control.log()
    assert pages(scene, hosts) == {"greeting v2"}
    # A toplevel runs, never a wrapper around one.
    for host in hosts:
        assert {path.partition("-")[2] for path in scene.runs(host)} == {f"nixos-system-{host.name}-v2"}
        assert "activatable" not in host.inside("ls", "/nix/store").stdout
    # The repository goes on; so does the fleet, read anew.
    revise(place, "v3", addresses, gateway=scene.gateway)
    done = control.ctl("deploy", "--on", "web2")
    assert done.returncode == 0, done.stdout + done.stderr + control.log()
    assert [scene.page(host) for host in hosts] == ["greeting v2", "greeting v3"]


def test_what_fleetd_does_not_carry_stops_it_before_any_host(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts = scene.hosts(*NAMES)
    addresses = {host.name: host.address for host in hosts}
    place = fleet_at(tmp_path / "infra", "colmena")
    revise(place, "v2", addresses, gateway=scene.gateway)
    monkeypatch.setenv("FLEETD_FLEET__SOURCE", "colmena")
    monkeypatch.setenv("FLEETD_FLEET__REF", f"path:{place}")
    monkeypatch.setenv("FLEETD_FLEET__PATH", "fleet.toml")
    control = scene.control(NAMES)
    revise(place, "v2", addresses, gateway=scene.gateway, more='keys.wifi.text = "s3cret";')
    done = control.ctl("deploy")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "web1.deployment.keys (wifi): not carried by fleetd" in done.stderr
    assert "s3cret" not in done.stdout + done.stderr + control.log()
    assert pages(scene, hosts) == {"greeting v1"}
