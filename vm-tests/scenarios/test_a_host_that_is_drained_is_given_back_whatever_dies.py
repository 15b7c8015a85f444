"""Hosts are drained before their trials, by the control node and on themselves, and given back whatever happens."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from lab import system as systems
from lab.control import CHECKS, Control, policy_with
from lab.host import LabHost
from lab.scene import Scene

pytestmark = pytest.mark.lab

NAMES = ["web1", "web2", "web3"]
ON_HOST = "/var/tmp/hooks"

SAY = 'echo "$FLEETD_WHEN $FLEETD_HOST $FLEETD_STATE" >>"$0/said"'
HOLD = 'echo $$ >"$0/pid-$FLEETD_HOST"; while [ -e "$0/hold-$FLEETD_HOST" ]; do sleep 0.1; done'
DRAIN = f'{SAY}; {HOLD}; touch "$0/drained-$FLEETD_HOST"'
RETURN = f'{SAY}; rm -f "$0/drained-$FLEETD_HOST"'
THERE = f'echo "$FLEETD_WHEN $FLEETD_STATE" >>{ON_HOST}'


def hook(when: str, *command: str, where: str = "controller") -> str:
    """Return a hook of every host as the fleet file has it."""
    keys = {"on": "*", "when": when, "where": where, "timeout": "1m", "command": command}
    return "\n[[hooks]]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items())


def hooks_in(place: Path) -> str:
    """Return checks and hooks, which write into a directory and on their hosts."""
    return CHECKS + "".join(
        [
            hook("before", "sh", "-c", DRAIN, str(place)),
            hook("before", "sh", "-c", THERE, where="host"),
            hook("after-commit", "sh", "-c", SAY, str(place)),
            hook("after-revert", "sh", "-c", SAY, str(place)),
            hook("always-after", "sh", "-c", THERE, where="host"),
            hook("always-after", "sh", "-c", RETURN, str(place)),
        ]
    )


def said(place: Path, host: str) -> list[str]:
    """Return when the hooks of a host ran on the control node, and how it stood."""
    lines = [line.split() for line in (place / "said").read_text().splitlines()]
    return [f"{when} {state}" for when, name, state in lines if name == host]


def is_running(place: Path) -> bool:
    """Whether the first hook of web1 has begun and said as what."""
    file = place / "pid-web1"
    return file.exists() and file.read_text().endswith("\n")


def lives(pid: int) -> bool:
    """Whether a process runs."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


def order_of(control: Control, host: str) -> list[str]:
    """Return the records of hooks and trials of a host; a run that ended well is not told apart."""
    kinds = ("HookIntended", "HookEnded", "TrialIntended")
    return [event["kind"] for event in control.events() if event["host"] == host and event["kind"] in kinds]


def given_back(scene: Scene, control: Control, place: Path, hosts: list[LabHost]) -> None:
    """Check that no host is drained any more: in the load balancer, on the host, and for people."""
    assert not list(place.glob("drained-*"))
    for host in hosts:
        assert host.read(ON_HOST).splitlines()[-1].startswith("always-after ")
        assert control.host(host.name)["drained"] is None
    assert " drained" not in control.ctl("hosts").stdout


def test_a_daemon_killed_while_hosts_are_drained_gives_all_of_them_back(scene: Scene, tmp_path: Path) -> None:
    hosts = scene.hosts(*NAMES)
    control = scene.control(NAMES, checks=hooks_in(tmp_path))
    revision = scene.build(systems.good, NAMES, "v2")
    (tmp_path / "hold-web1").touch()
    name = control.deploy_detached(revision)

    # Killed in a hook: what it left running is over before the hook runs again, and what people see says it all.
    scene.until(lambda: is_running(tmp_path), "the first hook runs")
    (waits,) = control.host("web1")["blocked_by"]
    assert (waits["reason"], waits["text"]) == ("hook", "its hook before-1 (before) runs")
    assert control.host("web1")["drained"]["rollout"] == name
    assert "web1  copied  " in control.ctl("status").stdout
    assert "  drained" in control.ctl("hosts").stdout.splitlines()[0]
    left = int((tmp_path / "pid-web1").read_text())
    control.kill()
    assert lives(left), "a hook goes on without its controller, so it has to be ended by the next one"
    control.start()
    scene.until(lambda: len(said(tmp_path, "web1")) == 2, "the first hook runs again")
    assert not lives(left)
    assert scene.switches(hosts[0]) == 0
    (tmp_path / "hold-web1").unlink()

    # Killed between before and after: the host is in its trial.
    control.wait_for(name, "web1", "switching", "trial")
    assert (tmp_path / "drained-web1").exists()
    control.kill()
    control.start()

    # And once more while it is given back.
    control.wait_for(name, "web1", "committed")
    control.kill()
    control.start()
    final = control.wait_final(name)
    assert final["phase"] == "succeeded", final["finish_reason"]
    for host in hosts:
        assert scene.runs(host) == (revision[host.name],) * 3
        assert scene.switches(host) == 1
        assert set(said(tmp_path, host.name)) == {"before copied", "after-commit committed", "always-after committed"}
        assert host.read(ON_HOST).splitlines()[0] == "before copied"
    run = ["HookIntended", "HookEnded"]
    assert order_of(control, "web3") == [*run * 2, "TrialIntended", *run * 3]
    given_back(scene, control, tmp_path, hosts)
    logs = control.ctl("logs", name, "web3").stdout
    assert "== hook before-1 (before), try 1: sh ended with 0" in logs


def test_a_host_that_goes_back_is_given_back_and_one_that_cannot_be_drained_is_left_alone(
    scene: Scene, tmp_path: Path
) -> None:
    hosts = {host.name: host for host in scene.hosts(*NAMES)}
    before = {name: scene.runs(host) for name, host in hosts.items()}
    refuses = hook("before", "sh", "-c", '[ "$FLEETD_HOST" != web3 ] || { echo "web3 is the last one"; exit 1; }')
    policy = policy_with(failure_budget={"canary": 0, "wave": 1, "total": 1})
    control = scene.control(NAMES, checks=hooks_in(tmp_path) + refuses, policy=policy)
    revision = scene.build(systems.good, NAMES, "v2") | scene.build(systems.answers_500, ["web2"], "v2")
    plan = control.ctl("plan", *control.toplevel_words(revision)).stdout
    assert "before before-1: sh on the controller, at most 1m, else skip-host (web1, web2, web3)" in plan
    done = control.deploy(revision)
    assert done.returncode == 5, done.stdout + control.log()
    rollout = control.rollout("r-1")
    states = {name: host["state"] for name, host in rollout["hosts"].items()}
    assert states == {"web1": "committed", "web2": "reverted", "web3": "deferred"}
    assert rollout["hosts"]["web3"]["reason"].endswith("did not succeed: sh ended with 1: web3 is the last one")
    assert said(tmp_path, "web2") == ["before copied", "after-revert reverted", "always-after reverted"]
    assert said(tmp_path, "web3") == ["before copied", "always-after deferred"]
    assert (scene.runs(hosts["web2"]), scene.runs(hosts["web3"])) == (before["web2"], before["web3"])
    assert scene.switches(hosts["web3"]) == 0
    given_back(scene, control, tmp_path, list(hosts.values()))


def test_an_abort_gives_back_what_is_drained(scene: Scene, tmp_path: Path) -> None:
    (host,) = scene.hosts("web1")
    control = scene.control(["web1"], checks=hooks_in(tmp_path))
    (tmp_path / "hold-web1").touch()
    name = control.deploy_detached(scene.build(systems.good, ["web1"], "v2"))
    scene.until(lambda: is_running(tmp_path), "the first hook runs")
    assert control.ctl("abort", name).returncode == 0
    (tmp_path / "hold-web1").unlink()
    assert control.wait_final(name)["phase"] == "aborted"
    assert scene.switches(host) == 0
    given_back(scene, control, tmp_path, [host])
