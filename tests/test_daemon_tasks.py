"""What a daemon does by itself: it keeps its journal short, and at its end leaves each trial to its guard."""

from __future__ import annotations

import asyncio
import subprocess
import time
from pathlib import Path

import pytest

from fleetd.config import load
from fleetd.daemon import Daemon
from fleetd.model.fleet import Fleet
from fleetd.rollout import events as e
from fleetd.rollout.decision import Extend, Question
from tests.rollout.worlds import Built


def daemon_in(place: Path) -> Daemon:
    """Return a daemon of a fleet with one host, h1, to which nothing listens."""
    (place / "fleet.toml").write_text('[hosts.h1]\naddress = "127.0.0.1"\nport = 1\n')
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(place / "key")], check=True)
    (place / "config.toml").write_text(
        f'[server]\nlisten = ["unix:{place}/s"]\n[state]\ndirectory = "state"\nkeep = "2h"\n[ssh]\nidentity = "key"\n'
    )
    return Daemon(load(str(place / "config.toml")))


def stopped(place: Path, built: Built, monkeypatch: pytest.MonkeyPatch) -> list[Question]:
    """Return what a daemon asks of hosts whose world this is, from when it serves to its end."""
    daemon, asked, stop = daemon_in(place), list[Question](), asyncio.Event()
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


# -- retention ----------------------------------------------------------------------------------------------------


class EnoughError(Exception):
    """The test has seen what it wants to see."""


def kept_short(place: Path, monkeypatch: pytest.MonkeyPatch, rounds: int, own: str, built: Built) -> list[object]:
    """Return how a daemon waits, and shortens its journal, in its first rounds."""
    daemon, done = daemon_in(place), list[object]()

    async def sleep(seconds: float) -> None:
        done.append(seconds)
        if len([one for one in done if isinstance(one, float)]) > rounds:
            raise EnoughError

    async def shorten(keep_s: float) -> int:
        done.append(f"what ended {keep_s:.0f} s ago goes")
        return 1

    monkeypatch.setattr(daemon.clock, "sleep", sleep)
    monkeypatch.setattr(daemon.controller, "shorten", shorten)
    monkeypatch.setattr(daemon, "_own", lambda _fleet: own)
    daemon.intake.current = Fleet({})
    daemon.controller.world = built.world
    with pytest.raises(EnoughError):
        asyncio.run(daemon._keep_short())
    return done


def test_the_journal_is_kept_short_soon_after_the_start_and_then_each_hour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = kept_short(tmp_path, monkeypatch, 2, "own", Built())
    assert done == [60.0, "what ended 7200 s ago goes", 3600.0, "what ended 7200 s ago goes", 3600.0]


def test_not_while_its_own_host_is_on_trial_for_the_release_before_knows_no_baselines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = Built()
    built.rollout("r-1", "own")
    built.bring("r-1", "own", "trial")
    assert kept_short(tmp_path, monkeypatch, 2, "own", built) == [60.0, 3600.0, 3600.0]
