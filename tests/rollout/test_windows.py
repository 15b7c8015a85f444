"""Windows gate starts alone, as instants that the planner is given."""

from __future__ import annotations

from dataclasses import replace

from fleetd.model.window import Window
from fleetd.rollout import events as e
from fleetd.rollout.blocked import Reason, host_waits, rollout_waits
from fleetd.rollout.openings import Openings
from fleetd.rollout.spec import Kind
from tests.rollout.test_holds import starts
from tests.rollout.test_planner import decide, hosts_of
from tests.rollout.worlds import POLICY, Built, spec_of, system

NIGHT = Window("Europe/Berlin", 22 * 60, 4 * 60, (0, 4))


def ready(kind: Kind = Kind.DEPLOY) -> Built:
    """Return a world at 1000 s in which h2 may be tried and h3 be copied to, from 2000 s to 3000 s."""
    built = Built()
    hosts = ("h1", "h2", "h3")
    spec = replace(spec_of(hosts, replace(POLICY, windows=(NIGHT,))), kind=kind)
    built.roll("r-1", spec, {host: system(host, 2) for host in hosts})
    built.bring("r-1", "h1", "committed")
    built.bring("r-1", "h2", "copied")
    built.world.openings = Openings({NIGHT: ((2000.0, 3000.0), (9000.0, 9500.0))}, 99999.0)
    look(built)
    return built


def look(built: Built) -> None:
    for host in ("h2", "h3"):
        built.inspected("r-1", host)


def test_nothing_starts_before_a_window_opens_and_the_planner_wakes_for_it() -> None:
    built = ready()
    decision = decide(built)
    assert decision.events == ()
    later = dict(decision.visits.later)
    assert later["r-1", ""] == 2000.0
    (blocked,) = rollout_waits(built.world, built.world.rollouts["r-1"], built.now)
    assert (blocked.reason, blocked.until) == (Reason.WINDOW, 2000.0)
    assert "mon fri 22:00-04:00 Europe/Berlin" in blocked.text
    waits = host_waits(built.world, "r-1", "h3", built.now)
    assert waits is not None
    assert waits.reason is Reason.WINDOW


def test_hosts_start_while_it_is_open_and_no_longer() -> None:
    built = ready()
    built.now = 2000.0
    look(built)
    assert starts(built) == ["h3", "h2"]
    built.now = 3000.0
    look(built)
    assert starts(built) == []


def test_what_is_under_way_when_it_closes_is_brought_to_its_end() -> None:
    built = ready()
    built.bring_on("r-1", "h2", "switching", "trial")
    built.now = 3500.0
    assert hosts_of(decide(built), e.RevertIntended) == ["h2"], "it was never seen to be healthy"


def test_what_must_go_back_goes_back_at_any_time() -> None:
    built = ready()
    built.apply(e.RollbackRequested(built.now, "r-1", "kim", ""))
    for event in decide(built).events:
        built.apply(event)
    built.inspected("r-1", "h1", system("h1", 2))
    assert hosts_of(decide(built), e.TrialIntended) == ["h1"]
    assert starts(ready(Kind.ROLLBACK)) == ["h3", "h2"]

    reboot = ready(Kind.REBOOT)
    spec = reboot.world.rollouts["r-1"].header.spec
    assert not reboot.world.openings.of(spec, reboot.now).is_open, "a reboot is a start as any other"


def test_a_window_that_nobody_worked_out_is_closed() -> None:
    built = ready()
    built.world.openings = Openings()
    assert starts(built) == []
    (blocked,) = rollout_waits(built.world, built.world.rollouts["r-1"], built.now)
    assert (blocked.reason, blocked.until) == (Reason.WINDOW, None)


def test_the_progress_clock_runs_in_windows_alone() -> None:
    built = ready()
    built.now = 1000.0 + POLICY.progress_deadline_s
    assert not any(isinstance(event, e.RolloutFailing) for event in decide(built).events)
    built.now = 9400.0
    assert not any(isinstance(event, e.RolloutFailing) for event in decide(built).events), "it has just opened"
