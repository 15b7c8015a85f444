"""Whether a host is silent, or the controller hears nobody; and a fleet of which too much is unwell."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleetd.model.check import CheckOutcome, CheckResult
from fleetd.model.facts import HelperState, Verdict
from fleetd.rollout import events as e
from fleetd.rollout.blocked import Reason, host_waits, rollout_waits
from fleetd.rollout.contact import ASK_AGAIN_S, LONG_LOST_S, WITNESSES
from fleetd.rollout.decision import Decision, Witness
from fleetd.rollout.observations import Inspected, Probed, Reached, Witnessed, note, witnesses
from fleetd.rollout.seen import Unheard
from fleetd.rollout.spec import Wave
from fleetd.rollout.states import Committed, Deferred, Lost, Reverted, Trial
from tests.rollout.test_planner import decide, hosts_of
from tests.rollout.worlds import Built, spec_of, system

FLEET = ("h1", "h2", "h3", "h4", "h5", "h6")
WAVES = (Wave("canary", ("h1",), 600.0), Wave("rest", FLEET[1:]))
FAILED = (CheckResult("login", CheckOutcome.FAIL, "no answer"), CheckResult("web", CheckOutcome.FAIL, "no answer"))
PASSED = (CheckResult("login", CheckOutcome.PASS), CheckResult("web", CheckOutcome.PASS))


def soaking(hosts: tuple[str, ...] = FLEET, waves: tuple[Wave, ...] = WAVES) -> Built:
    """Return a world whose canary h1 soaks."""
    built = Built()
    built.rollout("r-1", *hosts, waves=waves)
    built.bring("r-1", "h1", "committed")
    built.apply(e.SoakStarted(built.now, "r-1", 0))
    return built


def carry_out(built: Built, decision: Decision) -> None:
    """Do with a decision what the loop does."""
    for event in decision.events:
        built.apply(event)
    for question in decision.questions:
        if isinstance(question, Witness):
            built.world.contacts.asked(question.host, built.now)


def probe(built: Built, host: str, results: tuple[CheckResult, ...] = FAILED) -> None:
    """Let a round of checks end."""
    built.now += 1
    step = built.world.observation("r-1", host).step
    note(built.world, Probed(built.now, "r-1", host, step, results, ("login", "web"), 1.0))


def ask_witnesses(built: Built, *heard: str) -> list[str]:
    """Let the planner ask, and the witnesses answer, or not."""
    decision = decide(built)
    carry_out(built, decision)
    asked = [question.host for question in decision.questions if isinstance(question, Witness)]
    for host in asked:
        built.now += 0.1
        note(built.world, Witnessed(built.now, host, "" if host in heard else "no answer"))
    return asked


def cut_off() -> Built:
    """Return a world in whose canary's soak nobody is heard any more."""
    built = soaking()
    for _ in range(2):
        probe(built, "h1")
    ask_witnesses(built)
    carry_out(built, decide(built))
    assert built.world.fleetwide.isolated is not None
    return built


def test_a_host_that_is_silent_while_others_answer_is_unwell() -> None:
    built = soaking()
    for _ in range(2):
        probe(built, "h1")
    assert hosts_of(decide(built), e.HostUnhealthy) == [], "others are asked first"
    assert ask_witnesses(built, "h2", "h3") == list(FLEET[1:])
    assert hosts_of(decide(built), e.HostUnhealthy) == ["h1"]


def test_nothing_is_held_against_hosts_while_nobody_is_heard() -> None:
    built = cut_off()
    for _ in range(5):
        probe(built, "h1")
        decision = decide(built)
        assert not any(isinstance(event, e.HostUnhealthy) for event in decision.events)
        carry_out(built, decision)
    (blocked, *_more) = rollout_waits(built.world, built.world.rollouts["r-1"], built.now)
    assert blocked.reason is Reason.ISOLATED
    waits = host_waits(built.world, "r-1", "h2", built.now)
    assert waits is not None
    assert waits.reason is Reason.ISOLATED


def test_nothing_starts_while_nobody_is_heard() -> None:
    built = Built()
    built.rollout("r-1", *FLEET)
    built.bring("r-1", "h1", "committed")
    built.bring("r-1", "h2", "copied")
    built.inspected("r-1", "h2")
    assert hosts_of(decide(built), e.TrialIntended) == ["h2"]
    built.apply(e.ControllerIsolated(built.now, built.now, 3, 0, ("h1",)))
    decision = decide(built)
    assert decision.events == () or all(isinstance(event, e.ContactRestored) for event in decision.events)


def test_hosts_that_answer_again_end_it_and_what_was_missed_is_forgotten() -> None:
    built = cut_off()
    built.now += ASK_AGAIN_S
    asked = ask_witnesses(built, "h2", "h3", "h4")
    assert asked == list(FLEET[1:]), "they are asked again"
    (restored,) = [event for event in decide(built).events if isinstance(event, e.ContactRestored)]
    built.apply(restored)
    assert restored.away_s > ASK_AGAIN_S
    assert built.world.fleetwide.isolated is None
    assert hosts_of(decide(built), e.HostUnhealthy) == []
    probe(built, "h1", PASSED)
    assert hosts_of(decide(built), e.HostUnhealthy) == []


def test_half_of_the_hosts_is_not_more_than_half() -> None:
    built = soaking()
    probe(built, "h1")
    for host in ("h2", "h3"):
        built.world.contacts.hear(host, built.now)
    ask_witnesses(built, "h4", "h5", "h6")
    assert built.world.contacts.doubt is None
    assert built.world.contacts.counts("h1")


def test_an_answer_from_before_a_host_fell_silent_does_not_speak_against_it() -> None:
    built = soaking(waves=(Wave("canary", ("h1", "h2"), 600.0), Wave("rest", FLEET[2:])))
    built.bring("r-1", "h2", "committed")
    probe(built, "h1")
    carry_out(built, decide(built))
    for host in FLEET[2:]:
        note(built.world, Witnessed(built.now + 0.1, host, ""))
    probe(built, "h2")
    assert built.world.contacts.counts("h1")
    assert not built.world.contacts.counts("h2"), "who answered before it fell silent is asked anew"


def test_the_silence_of_a_host_in_trial_is_no_evidence_against_the_controller() -> None:
    built = Built()
    built.rollout("r-1", *FLEET)
    built.bring("r-1", "h1", "committed")
    built.bring("r-1", "h2", "trial")
    built.bring("r-1", "h3", "trial")
    for host in ("h2", "h3"):
        probe(built, host)
    ask_witnesses(built, "h1")
    assert built.world.fleetwide.isolated is None
    assert built.world.contacts.counts("h2")
    assert built.world.contacts.counts("h3")


def test_a_trial_is_not_taken_back_because_the_controller_hears_nobody() -> None:
    built = Built()
    built.rollout("r-1", *FLEET)
    built.bring("r-1", "h1", "committed")
    built.bring("r-1", "h2", "trial")
    for host in ("h2", "h1"):
        probe(built, host)
    ask_witnesses(built)
    carry_out(built, decide(built))
    assert built.world.fleetwide.isolated is not None
    assert hosts_of(decide(built, 100.0), e.RevertIntended) == []
    since = built.now
    built.now += 100.0
    for host in FLEET:
        note(built.world, Witnessed(built.now, host, ""))
    carry_out(built, decide(built))
    state = built.world.rollouts["r-1"].hosts["h2"]
    assert isinstance(state, Trial)
    assert state.live.absent, "that its guard fires would say nothing about its system"
    assert state.since >= since - 100.0
    assert hosts_of(decide(built), e.RevertIntended) == [], "its deadline moved by the time"


def test_a_host_whose_guard_fired_meanwhile_is_tried_once_more() -> None:
    built = Built()
    built.rollout("r-1", *FLEET)
    built.bring("r-1", "h1", "trial")
    built.apply(e.ControllerIsolated(built.now, built.now, 3, 0, ()))
    built.now += 500.0
    built.apply(e.ContactRestored(built.now, 500.0))
    fence = built.fence()
    built.apply(e.SettleIntended(built.now, "r-1", "h1", fence, built.now + 9))
    built.apply(
        e.HostReported(built.now, "r-1", "h1", fence, HelperState.REVERTED, True, Verdict.LIVE, "guard", "no contact")
    )
    assert not isinstance(built.world.rollouts["r-1"].hosts["h1"], Reverted)


def test_a_host_that_cannot_be_reached_is_not_passed_over_in_a_doubt() -> None:
    built = soaking()
    built.apply(e.WavePassed(built.now, "r-1", 0))
    probe(built, "h1")
    for _ in range(3):
        step = built.world.observation("r-1", "h2").step
        note(built.world, Inspected(built.now, "r-1", "h2", step, None, (), "no answer"))
    assert hosts_of(decide(built), e.HostDeferred) == []
    ask_witnesses(built, "h3", "h4")
    assert hosts_of(decide(built), e.HostDeferred) == ["h2"]


@pytest.mark.parametrize("kind", Unheard)
def test_only_a_host_that_proves_to_be_itself_was_heard(kind: Unheard) -> None:
    """A refused login is an answer; another host's key is none, since a network may lead to other hosts now."""
    built = cut_off()
    for host in FLEET:
        note(built.world, Witnessed(built.now, host, "its words", kind))
    is_heard = kind in (Unheard.LOGIN_REFUSED, Unheard.DISK_FULL)
    assert built.world.contacts.hears_again(built.now) is is_heard


@pytest.mark.parametrize("kind", Unheard)
def test_a_refused_login_raises_no_doubt_of_the_controllers_network(kind: Unheard) -> None:
    built = soaking()
    built.apply(e.WavePassed(built.now, "r-1", 0))
    built.world.contacts.hear("h2", built.now)
    step = built.world.observation("r-1", "h2").step
    note(built.world, Inspected(built.now, "r-1", "h2", step, None, (), "its words", kind))
    assert (built.world.contacts.doubt is None) is kind.is_answer


def test_a_host_is_not_given_up_while_nobody_is_heard() -> None:
    built = Built()
    built.rollout("r-1", *FLEET)
    built.bring("r-1", "h1", "switching")
    flight = built.world.rollouts["r-1"].hosts["h1"].live.flight  # type: ignore[union-attr]
    assert flight is not None
    built.apply(e.ContactLost(built.now, "r-1", "h1", flight.fence, "no answer"))
    note(built.world, Reached(built.now, "r-1", "h1", built.world.observation("r-1", "h1").step, "no answer"))
    ask_witnesses(built)
    carry_out(built, decide(built))
    assert built.world.fleetwide.isolated is not None
    assert hosts_of(decide(built, 50000.0), e.HostGivenUp) == []


def test_where_there_is_nobody_else_silence_counts() -> None:
    built = soaking(("h1",), (Wave("canary", ("h1",), 600.0),))
    for _ in range(2):
        probe(built, "h1")
    assert hosts_of(decide(built), e.HostUnhealthy) == ["h1"]


def test_hosts_that_are_gone_for_long_do_not_hold_the_fleet_for_ever() -> None:
    built = cut_off()
    probe(built, "h1")
    built.world.contacts.hear("h2", built.now)
    built.world.contacts.doubt.lost |= {"h3": built.now, "h4": built.now}  # type: ignore[union-attr]
    assert not built.world.contacts.hears_again(built.now)
    assert built.world.contacts.hears_again(built.now + LONG_LOST_S + 1)


def test_witnesses_are_of_many_domains_and_nothing_is_tried_on_them() -> None:
    built = Built()
    hosts = tuple(f"h{number}" for number in range(1, 20))
    spec = spec_of(hosts)
    domains = {host: "a" if index < 10 else f"d{index}" for index, host in enumerate(hosts)}
    spec = replace(spec, hosts=tuple(replace(plan, domain=domains[plan.name]) for plan in spec.hosts))
    built.roll("r-1", spec, {host: system(host, 2) for host in hosts})
    built.bring("r-1", "h1", "trial")
    chosen = witnesses(built.world)
    assert len(chosen) == WITNESSES
    assert "h1" not in chosen
    assert len({domains[host] for host in chosen}) == WITNESSES


def test_where_there_is_nobody_else_hosts_in_trial_are_asked() -> None:
    for answers, isolated in (((), True), (("h3",), False)):
        built = Built()
        built.rollout("r-1", "h1", "h2", "h3")
        built.bring("r-1", "h1", "committed")
        built.bring("r-1", "h2", "trial")
        built.bring("r-1", "h3", "trial")
        for _ in range(2):
            probe(built, "h1")
        assert ask_witnesses(built, *answers) == ["h2", "h3"]
        carry_out(built, decide(built))
        assert (built.world.fleetwide.isolated is not None) is isolated


def test_a_new_controller_believes_the_journal_that_hosts_were_well() -> None:
    built = soaking()
    built.apply(e.ControllerStarted(built.now + 5, 2, 5.0))
    built.now += 5
    for _ in range(2):
        probe(built, "h1")
    ask_witnesses(built)
    carry_out(built, decide(built))
    assert built.world.fleetwide.isolated is not None


# -- the brake ----------------------------------------------------------------------------------------------------


def braked(*unwell: str) -> Built:
    """Return a world in which an earlier rollout left hosts unwell, and one that may start hosts."""
    built = Built()
    built.rollout("r-1", "h1", "h2", "h3")
    for host in ("h1", "h2", "h3"):
        built.bring("r-1", host, "committed")
    for host in unwell:
        built.apply(e.HostUnhealthy(built.now, "r-1", host, "web: 500"))
    built.apply(e.RolloutFinished(built.now, "r-1", e.Phase.FAILED, "two are unwell"))
    spec = replace(spec_of(("h1", "h4")), brake=1)
    built.roll("r-2", spec, {"h1": system("h1", 3), "h4": system("h4", 3)})
    for host in ("h1", "h4"):
        built.bring("r-2", host, "copied")
        built.inspected("r-2", host, system("h1", 2) if host == "h1" else None)
    return built


def test_beyond_the_brake_only_hosts_that_are_unwell_start() -> None:
    built = braked("h2", "h3")
    assert hosts_of(decide(built), e.TrialIntended) == []
    (blocked,) = rollout_waits(built.world, built.world.rollouts["r-2"], built.now)
    assert blocked.reason is Reason.BRAKE
    assert blocked.todo == "fleetctl clear h2"
    assert hosts_of(decide(braked("h2")), e.TrialIntended) == ["h1"], "one unwell host is not more than one"


def test_a_fix_may_go_to_a_host_that_is_unwell() -> None:
    built = braked("h1", "h2")
    assert hosts_of(decide(built), e.TrialIntended) == ["h1"]
    waits = host_waits(built.world, "r-2", "h4", built.now)
    assert waits is not None
    assert waits.reason is Reason.BRAKE


def test_a_braked_rollout_does_not_fail_for_want_of_progress() -> None:
    built = braked("h2", "h3")
    assert decide(built, 100000.0).events == ()


def test_a_host_that_is_well_again_releases_the_brake() -> None:
    built = braked("h1", "h2")
    built.bring_on("r-2", "h1", "switching", "trial", "committing", "committed")
    assert built.world.fleetwide.unwell == {"h2": "web: 500"}
    built.inspected("r-2", "h4")
    assert hosts_of(decide(built), e.TrialIntended) == ["h4"]


def test_a_person_who_looked_releases_the_brake() -> None:
    built = braked("h2", "h3")
    built.apply(e.HostCleared(built.now, "r-1", "h2", "kim", "restarted it"))
    assert hosts_of(decide(built), e.TrialIntended) == ["h1"]
    assert isinstance(built.world.rollouts["r-1"].hosts["h2"], Committed)


def test_lost_hosts_count_as_unwell_until_they_are_seen() -> None:
    built = Built()
    built.rollout("r-1", "h1", "h2")
    built.bring("r-1", "h1", "trial")
    built.apply(e.HostGivenUp(built.now, "r-1", "h1", "no answer"))
    assert isinstance(built.world.rollouts["r-1"].hosts["h1"], Lost)
    assert list(built.world.fleetwide.unwell) == ["h1"]
    built.apply(e.HostCleared(built.now, "r-1", "h1", "kim", "scrapped"))
    assert built.world.fleetwide.unwell == {}
    assert not isinstance(built.world.rollouts["r-1"].hosts["h2"], Deferred)
