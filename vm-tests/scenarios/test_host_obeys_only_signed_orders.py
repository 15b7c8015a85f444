"""A host with a helper of its own, sudo for that alone, and a list of who gives orders: whole deploys, no thief."""

from __future__ import annotations

from pathlib import Path

import asyncssh
import pytest
from lab import LabHost
from lab import system as systems
from lab.deputy import Deputy
from lab.run import run
from lab.scene import Scene

from fleetd.errors import OrderRefused
from fleetd.host.signing import OrderSigner
from fleetd.model.order import Verb

pytestmark = pytest.mark.lab

HELPER = Path(__file__).parents[2] / "fleetd/host/helper/fleetd-host"
VERBS = ("facts", "status", "trial", "extend", "commit", "revert", "settle")


def like_the_module(host: LabHost, signer: OrderSigner, nix_key: str) -> None:
    """Give the host what nixos-modules/target gives: helper, sudo rules, signers, a trusted key for pushed paths."""
    place = host.path("/etc/fleetd-host")
    place.mkdir()
    (place / "run").write_bytes(HELPER.read_bytes())
    (place / "run").chmod(0o755)
    (place / "allowed_signers").write_text(signer.allowed_signer + "\n")
    rules = ", ".join(f"/etc/fleetd-host/run {verb}" for verb in VERBS)
    host.path("/etc/sudoers.d/deploy").chmod(0o640)
    host.path("/etc/sudoers.d/deploy").write_text(f"deploy ALL=(root) NOPASSWD: {rules}\n")
    host.path("/etc/sudoers.d/deploy").chmod(0o440)
    with host.path("/etc/nix/nix.conf").open("a") as file:
        file.write(f"trusted-public-keys = {nix_key}\n")
    host.inside("systemctl", "restart", "nix-daemon.service", check=False)


def test_a_whole_deploy_as_an_unprivileged_user_and_nothing_for_a_thief(scene: Scene, tmp_path: Path) -> None:
    (host,) = scene.hosts("web1")
    order_key = asyncssh.generate_private_key("ssh-ed25519").export_private_key().decode()
    signer = OrderSigner(order_key, "a test")
    (tmp_path / "order-key").write_text(order_key)
    run("nix-store", "--generate-binary-cache-key", "fleetd-1", tmp_path / "nix-key", tmp_path / "nix-key.pub")
    like_the_module(host, signer, (tmp_path / "nix-key.pub").read_text().strip())
    before = scene.runs(host)

    # The thief has the key that logs in.
    with Deputy(host, user="deploy", privilege="sudo") as thief:
        facts = thief.facts()
        assert facts.current == before[0]
        for verb in (Verb.TRIAL, Verb.COMMIT, Verb.REVERT, Verb.SETTLE, Verb.EXTEND):
            with pytest.raises(OrderRefused) as caught:
                thief.send(thief.write(verb, before[0]))
            assert caught.value.code == "unsigned"
    for words in ("sh -c id", "/etc/fleetd-host/run do-revert x", "/etc/fleetd-host/run trial x", "bash"):
        assert host.ssh(f"sudo -n {words}", user="deploy", check=False).returncode != 0
    assert scene.runs(host) == before

    keys = f'[signing]\nnix_key = "{tmp_path}/nix-key"\norder_key = "{tmp_path}/order-key"\n'
    control = scene.control(["web1"], extra=keys, keys={"web1": {"user": "deploy", "privilege": "sudo"}})
    new = scene.build(systems.good, ["web1"], "v2")
    done = control.deploy(new)
    assert done.returncode == 0, done.stdout + done.stderr + control.log()[-2000:]
    assert scene.runs(host) == (new["web1"],) * 3
    assert scene.page(host) == "greeting v2"

    # And the way back, by order of the controller.
    bad = scene.build(systems.answers_500, ["web1"], "v3")
    assert control.deploy(bad).returncode == 2
    assert scene.runs(host) == (new["web1"],) * 3
