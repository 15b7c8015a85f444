"""CI delivers once, and again after the daemon died and somebody broke the fleet file: one rollout, and it ends."""

from __future__ import annotations

import json
import urllib.error
import urllib.request

import pytest
from conftest import Scene
from lab import system as systems

pytestmark = pytest.mark.lab

HOOK = '[webhooks.ci]\nprovider = "bearer"\nsecrets = ["secret"]\non = "web1"\n'
PORT = 19790


def deliver(body: dict[str, object], key: str, secret: str = "a secret") -> tuple[int, dict[str, object]]:
    """Send a delivery as a build server does."""
    headers = {"Authorization": f"Bearer {secret}", "Idempotency-Key": key, "Content-Type": "application/json"}
    place = f"http://127.0.0.1:{PORT}/v1/hooks/ci"
    request = urllib.request.Request(place, json.dumps(body).encode(), headers, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_a_delivery_that_comes_again_is_one_rollout(scene: Scene) -> None:
    (host,) = scene.hosts("web1")
    control = scene.control(["web1"], extra=HOOK, start=False)
    config = control.directory / "config.toml"
    config.write_text(config.read_text().replace('listen = ["', f'listen = ["127.0.0.1:{PORT}", "'))
    (control.directory / "secret").write_text("a secret\n")
    control.start()
    toplevels = scene.build(systems.good, ["web1"], "v2")
    body: dict[str, object] = {"toplevels": toplevels, "reason": "build 7"}
    assert deliver(body, "build-7", "another secret")[0] == 401
    status, document = deliver(body, "build-7")
    assert (status, document["requested_by"], document["reason"]) == (202, "hook ci", "build 7")
    name = str(document["id"])
    control.wait_for(name, "web1", "switching", "trial")
    control.kill()
    fleet = control.directory / "fleet.toml"
    good = fleet.read_text()
    fleet.write_text(good + "[hosts.web1\n")
    control.start()
    status, document = deliver(body, "build-7")
    assert (status, document["id"]) == (200, name)
    status, document = deliver({**body, "reason": "build 8"}, "build-7")
    assert (status, "asked for something else" in str(document["detail"])) == (400, True)
    # A new one waits for the file to be mended, and the one under way does not.
    status, document = deliver(body, "build-8")
    assert (status, document["kind"]) == (400, "configuration")
    assert control.wait_final(name)["phase"] == "succeeded"
    assert scene.runs(host) == (toplevels["web1"],) * 3
    fleet.write_text(good)
    status, document = deliver(body, "build-8")
    assert status == 202
    assert control.wait_final(str(document["id"]))["hosts"]["web1"]["state"] == "current"
    assert len(json.loads(control.ctl("--json", "rollouts").stdout)["rollouts"]) == 2
