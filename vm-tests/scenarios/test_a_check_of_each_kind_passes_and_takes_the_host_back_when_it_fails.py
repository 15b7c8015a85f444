"""Checks of the kinds ``unit``, ``tcp`` and ``command``: each passes on a good system, and each fails for its own."""

from __future__ import annotations

import pytest
from lab import system as systems
from lab.scene import Scene
from lab.seed import seed_with

pytestmark = pytest.mark.lab
PORT = 9090
CHECKS = f"""
[[checks]]
name = "the worker runs"
unit = {{ name = "worker.service" }}
[[checks]]
name = "the port is open"
tcp = {{ port = {PORT} }}
[[checks]]
name = "the port is open on the host"
tcp = {{ port = {PORT}, via = "host" }}
[[checks]]
name = "the marker is there"
command = {{ argv = ["ls", "/run/current-system/etc/systemd/system/marker.service"] }}
""".replace("[[checks]]", '[[checks]]\ninterval = "1s"\ntimeout = "2s"\nsuccesses = 2\nsoak_interval = "1s"')
NAMES = ["the marker is there", "the port is open", "the port is open on the host", "the worker runs"]


def whole(host: str, gateway: str, greeting: str) -> systems.System:
    """Return a system on which all of the checks pass."""
    system = systems.good(host, gateway, greeting)
    system = system.with_service("other", "webServer", text="other", status=200, port=PORT)
    system = system.with_unit("worker", systems.service("/usr/bin/sleep infinity", Type="exec"))
    return system.with_unit("marker", systems.service("/usr/bin/true", Type="oneshot"), wanted=False)


LACKS = {
    "worker": {"the worker runs": "inactive"},
    "other": {"the port is open": "refused", "the port is open on the host": "refused"},
    "marker": {"the marker is there": "exit 2"},
}
"""Without which service which checks fail, with a word of why."""


def test_a_check_of_each_kind_passes_and_takes_the_host_back_when_it_fails(scene: Scene) -> None:
    (host,) = scene.hosts("web6", seed=seed_with(lambda host: whole(host.name, scene.gateway, "v1")))
    control = scene.control(["web6"], checks=CHECKS)
    good = scene.build(whole, ["web6"], "v2")
    done = control.deploy(good)
    assert done.returncode == 0, done.stdout + control.log()
    (begun,) = [event["data"] for event in control.events() if event["kind"] == "TrialIntended"]
    assert sorted(begun["passed_before"]) == NAMES, "each was asked, passed, and had to pass on the new system"
    for service, wrong in LACKS.items():
        bad = systems.build(whole("web6", scene.gateway, f"without-{service}").without_unit(service))
        done = control.deploy({"web6": bad})
        assert done.returncode == 2, done.stdout + control.log()
        told = control.rollout(control.ctl("rollouts").stdout.split()[0])["hosts"]["web6"]
        assert told["state"] == "reverted"
        named = [name for name in NAMES if f"{name}: " in told["reason"]]
        assert named == sorted(wrong), told["reason"]
        assert all(word in told["reason"].lower() for word in wrong.values()), told["reason"]
        assert scene.runs(host) == (good["web6"],) * 3
