"""A daemon that is told to end gives each trial the whole of the silence that it survives, and its guard the rest."""

from __future__ import annotations

import asyncio
import subprocess
import time
from pathlib import Path

import pytest

from fleetd.config import load
from fleetd.daemon import Daemon
from fleetd.rollout import events as e
from fleetd.rollout.decision import Extend, Question
from tests.rollout.worlds import Built


def stopped(place: Path, built: Built, monkeypatch: pytest.MonkeyPatch) -> list[Question]:
    """Return what a daemon asks of hosts whose world this is, from when it serves to its end."""
    (place / "fleet.toml").write_text('[hosts.h1]\naddress = "127.0.0.1"\nport = 1\n')
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(place / "key")], check=True)
    (place / "config.toml").write_text(
        f'[server]\nlisten = ["unix:{place}/s"]\n[state]\ndirectory = "state"\n[ssh]\nidentity = "key"\n'
    )
    daemon, asked, stop = Daemon(load(str(place / "config.toml"))), list[Question](), asyncio.Event()
    monkeypatch.setattr(daemon.executor, "ask", lambda question, _spec: asked.append(question))

    def is_ready() -> None:
        # Of a controller that has just begun every trial is unheard of; this one has heard of them all.
        daemon.controller.world = built.world
        stop.set()

    asyncio.run(asyncio.wait_for(daemon.serve(stop, is_ready), timeout=60))
    return asked


def test_each_trial_is_renewed_once_more_with_the_fence_that_its_host_obeys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = Built(now=time.time())
    built.rollout("r-1", "h1", "h2", "h3")
    for host in ("h1", "h2"):
        built.bring("r-1", host, "trial")
    fences = {host: built.world.rollouts["r-1"].hosts[host].live.fence for host in ("h1", "h2")}  # type: ignore[union-attr]
    asked = [question for question in stopped(tmp_path, built, monkeypatch) if isinstance(question, Extend)]
    assert {question.host: question.fence for question in asked} == fences


def test_a_host_of_which_nobody_knows_how_it_is_gets_no_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built = Built(now=time.time())
    built.rollout("r-1", "h1")
    built.bring("r-1", "h1", "trial")
    fence = built.fence()
    built.apply(e.CommitIntended(built.now, "r-1", "h1", fence, built.now + 99))
    built.apply(e.OrderNotSent(built.now, "r-1", "h1", fence, "the link is down"))
    asked = stopped(tmp_path, built, monkeypatch)
    assert [question for question in asked if isinstance(question, Extend)] == []
