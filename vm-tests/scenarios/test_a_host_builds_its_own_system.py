"""``build_on = "target"``: the control node evaluates, the host builds; a failure is told as if it were here."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Scene
from lab.host import LabHost
from lab.run import until

from tests.fleets import fleet_at, revise

pytestmark = pytest.mark.lab

UNBUILDABLE = """
{ outputs = _: { nixosConfigurations.web1.config.system.build.toplevel = derivation {
  name = "nixos-system-web1-x"; system = "x86_64-linux"; builder = "/bin/sh";
  args = [ "-c" "echo there is no compiler >&2; %s" ];
}; }; }
"""


def processes(host: LabHost, word: str) -> str:
    return host.inside("pgrep", "-f", word, check=False).stdout


def test_a_host_builds_its_own_system(scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (host,) = scene.hosts("web1")
    # These systems are made by a plain shell with the machine's tools, for which a sandbox has no place.
    host.inside("sh", "-c", "echo sandbox = false >> /etc/nix/nix.conf; systemctl try-restart nix-daemon.service")
    place = fleet_at(tmp_path / "infra", "colmena")
    flake = place / "flake.nix"
    flake.write_text(flake.read_text().replace("buildOnTarget = false", "buildOnTarget = true"))
    revise(place, "built-there", {"web1": host.address}, gateway=scene.gateway)
    monkeypatch.setenv("FLEETD_FLEET__SOURCE", "colmena")
    monkeypatch.setenv("FLEETD_FLEET__REF", f"path:{place}")
    monkeypatch.setenv("FLEETD_FLEET__PATH", "fleet.toml")
    # As a user that Nix does not trust: derivations need no signature.
    control = scene.control(["web1"], keys={"web1": {"user": "deploy", "privilege": "sudo"}})
    done = control.ctl("deploy")
    assert done.returncode == 0, done.stdout + done.stderr + control.log()
    assert scene.page(host) == "greeting built-there"
    to = scene.runs(host)[0]
    assert not Path(to).exists(), "it was not built here"
    assert host.inside("readlink", "/home/deploy/.local/state/fleetd/roots/r-1-next").stdout.strip() == to
    assert "nixos-system-web1-built-there" in control.ctl("logs", "r-1", "web1", "--build").stdout
    # What does not build is the revision's fault, told in the words of the host's Nix; the host is as it was.
    for number, script in enumerate(("exit 7", "while :; do :; done")):
        broken = tmp_path / f"broken{number}"
        broken.mkdir()
        (broken / "flake.nix").write_text(UNBUILDABLE % script)
    override = control.directory / "fleet.toml"
    installable = "nixosConfigurations.web1.config.system.build.toplevel"
    text = override.read_text()
    override.write_text(
        text.replace("[hosts.web1]", f'[hosts.web1]\ninstallable = "path:{tmp_path}/broken0#{installable}"')
    )
    done = control.ctl("deploy")
    assert done.returncode == 7, done.stdout + done.stderr + control.log()
    assert "nixos-system-web1-x> there is no compiler" in done.stdout
    # A build that is not wanted any longer ends on the host.
    override.write_text(
        text.replace("[hosts.web1]", f'[hosts.web1]\ninstallable = "path:{tmp_path}/broken1#{installable}"')
    )
    name = control.id_in(control.ctl("--json", "deploy", "--detach"))
    until(lambda: bool(processes(host, "while :")), 60, lambda: control.log()[-1500:])
    control.ctl("abort", name)
    until(lambda: not processes(host, "while :"), 60, lambda: control.log()[-1500:])
    control.wait_final(name)
    assert scene.runs(host) == (to,) * 3
