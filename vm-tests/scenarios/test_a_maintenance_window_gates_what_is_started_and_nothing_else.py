"""Outside of its windows a rollout starts nothing and says when it will; what is under way, and the way back, go on.

Windows have whole minutes, and a test has no time for that: its zone is made so that the clock there stands right.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from lab import system as systems
from lab.control import policy_with
from lab.scene import Scene

pytestmark = pytest.mark.lab

DAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
ZONE = "Lab/Here"
MakeZone = Callable[[str], None]


@pytest.fixture
def clock_stands_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeZone:
    """Return a function that makes the zone, in which it is this time of day now."""

    def make(here: str) -> None:
        now = datetime.now(UTC).replace(tzinfo=None)
        offset = datetime.combine(now.date(), datetime.strptime(here, "%H:%M:%S").time()) - now
        seconds = round(offset.total_seconds()) % 86400
        (tmp_path / "source").write_text(f"Zone {ZONE} {timedelta(seconds=seconds)} - LAB\n")
        subprocess.run(["zic", "-d", tmp_path / "zones", tmp_path / "source"], check=True, capture_output=True)
        monkeypatch.setenv("PYTHONTZPATH", f"{tmp_path}/zones:/usr/share/zoneinfo")

    return make


def window(start: str, end: str) -> dict[str, object]:
    return {"days": DAYS, "start": start, "end": end, "zone": ZONE}


def test_a_closed_window_holds_a_rollout_until_it_opens(scene: Scene, clock_stands_at: MakeZone) -> None:
    kept, waiting = scene.hosts("web1", "web2")
    clock_stands_at("21:59:20")
    opens_s = time.time() + 40
    policy = policy_with(waves=[], windows=[window("22:00", "23:00")])
    anytime = policy_with(waves=[]).replace("policies.default", "policies.anytime")
    control = scene.control(["web1", "web2"], policy=policy + anytime)
    before = scene.runs(kept)
    revision = scene.build(systems.good, ["web2"], "v2")
    held = control.deploy_detached(revision)
    scene.until(lambda: waits(control.host("web2"))[0] == "window", "it is told what the host waits for")
    told = datetime.fromisoformat(waits(control.host("web2"))[1]).timestamp()
    assert abs(told - opens_s) < 3
    # Another policy has no windows; and whoever takes a host back by hand does not wait for one.
    done = control.deploy(scene.build(systems.good, ["web1"], "v2"), "--policy", "anytime")
    assert done.returncode == 0, done.stdout + control.log()
    assert scene.orders(waiting) == []
    back = control.ctl("rollback", "--on", "web1", "--reason", "it is slow")
    assert back.returncode == 0, back.stdout + back.stderr
    assert scene.runs(kept) == before
    assert control.wait_final(held)["phase"] == "succeeded"
    assert scene.runs(waiting) == (revision["web2"],) * 3
    _there, took_back, held_one = (began_s(event) for event in control.events() if event["kind"] == "TrialIntended")
    assert took_back < opens_s <= held_one + 1


def test_a_window_that_closes_ends_nothing_that_is_under_way(scene: Scene, clock_stands_at: MakeZone) -> None:
    hosts = scene.hosts("web1", "web2")
    clock_stands_at("22:00:36")
    closes_s = time.time() + 24
    policy = policy_with(
        waves=[], max_parallel=1, windows=[window("21:00", "22:01")], min_healthy="26s", healthy_deadline="45s"
    )
    control = scene.control(["web1", "web2"], policy=policy)
    before = {host.name: scene.runs(host) for host in hosts}
    revision = scene.build(systems.good, ["web1", "web2"], "v2")
    name = control.deploy_detached(revision)
    control.wait_for(name, "web1", "trial")
    control.wait_for(name, "web1", "committed")
    assert time.time() > closes_s, "the trial was over before its window"
    scene.until(lambda: waits(control.host("web2"))[0] == "window", "it is told what the next host waits for")
    assert scene.runs(hosts[0]) == (revision["web1"],) * 3
    assert scene.orders(hosts[1]) == []
    assert control.ctl("abort", name).returncode == 0
    assert control.wait_final(name)["phase"] == "aborted"
    assert scene.runs(hosts[1]) == before["web2"]


def began_s(event: dict[str, object]) -> float:
    return datetime.fromisoformat(str(event["at"])).timestamp()


def waits(host: dict[str, object]) -> tuple[str, str]:
    """Return what a host waits for, and until when."""
    blocked = host["blocked_by"]
    assert isinstance(blocked, list)
    return (str(blocked[0]["reason"]), str(blocked[0]["until"])) if blocked else ("", "")
