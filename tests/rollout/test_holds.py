"""Locks and the freeze gate starts alone: what is under way goes on, and what must go back goes back."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleetd.rollout import events as e
from fleetd.rollout.blocked import Reason, explain, host_waits, rollout_waits
from fleetd.rollout.brakes import freeze_of
from fleetd.rollout.spec import Kind
from fleetd.rollout.transitions import IllegalTransition
from tests.rollout.test_planner import decide, hosts_of
from tests.rollout.worlds import Built, spec_of, system

STARTS = (e.CopyIntended, e.TrialIntended)


def starts(built: Built, after_s: float = 0.0) -> list[str]:
    decision = decide(built, after_s)
    return [host for kind in STARTS for host in hosts_of(decision, kind)]


def ready(kind: Kind = Kind.DEPLOY) -> Built:
    """Return a world in which h2 may be tried and h3 be copied to: h1 is committed."""
    built = Built()
    hosts = ("h1", "h2", "h3")
    built.roll("r-1", replace(spec_of(hosts), kind=kind), {host: system(host, 2) for host in hosts})
    built.bring("r-1", "h1", "committed")
    built.bring("r-1", "h2", "copied")
    for host in ("h2", "h3"):
        built.inspected("r-1", host)
    return built


def freeze(built: Built, until: float | None = None) -> None:
    built.apply(e.FreezeSet(built.now, "kim", "ops", "the holidays", until))


def lock(built: Built, host: str, until: float | None = None) -> None:
    built.apply(e.HostLocked(built.now, host, "kim", "ops", "disk swap", until))


def test_without_any_of_it_both_start() -> None:
    assert starts(ready()) == ["h3", "h2"]


def test_a_freeze_lets_nothing_start_and_says_so() -> None:
    built = ready()
    freeze(built, built.now + 3600)
    assert starts(built) == []
    (blocked,) = rollout_waits(built.world, built.world.rollouts["r-1"], built.now)
    assert (blocked.reason, blocked.until, blocked.todo) == (Reason.FROZEN, built.now + 3600, "fleetctl unfreeze")
    assert "by ops" in blocked.text
    assert "the holidays" in blocked.text
    assert "nothing is deployed or rebooted" in explain(built.world, "r-1", built.now)


def test_a_lock_holds_its_host_alone() -> None:
    built = ready()
    lock(built, "h2")
    assert starts(built) == ["h3"]
    waits = host_waits(built.world, "r-1", "h2", built.now)
    assert waits is not None
    assert (waits.reason, waits.todo) == (Reason.LOCKED, "fleetctl unlock h2, or fleetctl skip r-1 h2")
    lock(built, "h3")
    assert starts(built) == []
    blocked = next(b for b in rollout_waits(built.world, built.world.rollouts["r-1"], built.now))
    assert (blocked.reason, blocked.hosts) == (Reason.LOCKED, ("h2", "h3"))


def test_what_is_under_way_goes_on() -> None:
    built = ready()
    built.bring_on("r-1", "h2", "switching", "trial")
    freeze(built)
    lock(built, "h2")
    decision = decide(built, 100.0)
    assert hosts_of(decision, e.RevertIntended) == ["h2"], "it was never seen to be healthy"


def test_what_must_go_back_passes_a_freeze_and_a_lock() -> None:
    built = ready()
    freeze(built)
    lock(built, "h1")
    built.apply(e.RollbackRequested(built.now, "r-1", "kim", ""))
    for event in decide(built).events:
        built.apply(event)
    built.inspected("r-1", "h1", system("h1", 2))
    assert hosts_of(decide(built), e.TrialIntended) == ["h1"]


def test_a_rollback_by_a_persons_word_passes_a_freeze_and_no_lock() -> None:
    built = ready(Kind.ROLLBACK)
    freeze(built)
    assert starts(built) == ["h3", "h2"]
    lock(built, "h2")
    assert starts(built) == ["h3"]


def test_a_reboot_is_held_as_a_deploy_is() -> None:
    for kind, holds in ((Kind.DEPLOY, True), (Kind.REBOOT, True), (Kind.ROLLBACK, False)):
        built = ready(kind)
        freeze(built)
        assert (freeze_of(built.world, built.world.rollouts["r-1"]) is not None) is holds


def test_their_time_ends_them() -> None:
    built = ready()
    freeze(built, built.now + 10)
    lock(built, "h2", built.now + 20)
    assert decide(built).wake_at == built.now + 10
    (lifted,) = decide(built, 10.0).events
    assert isinstance(lifted, e.FreezeLifted)
    assert lifted.by == ""
    built.apply(lifted)
    assert starts(built) == ["h3"]
    (unlocked, *_) = decide(built, 10.0).events
    assert isinstance(unlocked, e.HostUnlocked)
    built.apply(unlocked)
    assert "h2" in starts(built)


@pytest.mark.parametrize("held", [freeze, lambda built: lock(built, "h2")])
def test_the_progress_clock_stands_still_meanwhile_and_begins_anew(held: object) -> None:
    built = ready()
    held(built)  # type: ignore[operator]
    assert not any(isinstance(event, e.RolloutFailing) for event in decide(built, 100_000.0).events)
    if built.world.fleetwide.freeze is not None:
        built.apply(e.FreezeLifted(built.now, "kim", ""))
    else:
        built.apply(e.HostUnlocked(built.now, "h2", "kim", ""))
    assert not any(isinstance(event, e.RolloutFailing) for event in decide(built, 10.0).events)
    failing = [event for event in decide(built, 4000.0).events if isinstance(event, e.RolloutFailing)]
    assert len(failing) == 1


def test_what_is_not_held_cannot_be_ended() -> None:
    built = ready()
    for event in (e.FreezeLifted(built.now, "kim", ""), e.HostUnlocked(built.now, "h1", "kim", "")):
        with pytest.raises(IllegalTransition):
            built.apply(event)
