"""``fleetctl --local`` deploys with the daemon's own engine, and leaves a journal that a daemon goes on with."""

from __future__ import annotations

import json
import os
import signal
import subprocess

import pytest
from conftest import Scene
from lab import system as systems
from lab.control import NIX_CONFIG, PROGRAMS, Control

pytestmark = pytest.mark.lab


def local(control: Control, *words: str) -> subprocess.Popen[str]:
    argv = [str(PROGRAMS / "fleetctl"), "--local", "--config", str(control.directory / "config.toml"), *words]
    env = {**os.environ, "NIX_CONFIG": NIX_CONFIG}
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)


def test_a_deploy_without_a_daemon(scene: Scene) -> None:
    names = ["web1", "web2"]
    hosts = scene.hosts(*names)
    control = scene.control(names, start=False)
    first, second = (scene.build(systems.good, names, version) for version in ("v2", "v3"))
    done = local(control, "deploy", *control.toplevel_words(first))
    out, err = done.communicate(timeout=180)
    assert done.returncode == 0, out + err
    assert [scene.runs(host) for host in hosts] == [(first[name],) * 3 for name in names]
    # Left in the middle of a trial: a daemon that starts then brings it to its end.
    left = local(control, "deploy", *control.toplevel_words(second))
    assert left.stdout is not None
    for line in left.stdout:
        if "trial" in line and line.startswith("web1"):
            break
    left.send_signal(signal.SIGINT)
    _out, err = left.communicate(timeout=90)
    assert left.returncode == 130, err
    assert "nothing drives r-2 now" in err
    control.start()
    assert control.wait_final("r-2")["phase"] == "succeeded"
    assert [scene.runs(host) for host in hosts] == [(second[name],) * 3 for name in names]
    refused = local(control, "rollouts")
    assert "owns" in refused.communicate(timeout=60)[1]
    assert refused.returncode == 1
    assert [r["id"] for r in json.loads(control.ctl("--json", "rollouts").stdout)["rollouts"]] == ["r-2", "r-1"]
