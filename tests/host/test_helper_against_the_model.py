"""The real helper beside the reference model: after every step both must tell the same story.

Hypothesis makes the sequences: orders with every kind of fence, late and wrong ones, guard, switch, commit and revert
in each of their ways to end, kills between any two durable writes, a full disk, reboots, an operator, the console.
"""

from __future__ import annotations

import copy
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, event, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from fleetd.model.facts import HelperState as S
from fleetd.model.facts import Verdict
from fleetd.model.fence import Fence
from fleetd.model.order import Order, OrderTimes, Verb
from tests.host.rig import HOST, MACHINE_ID, Died, Rig, Shown, toplevel
from tests.simulation.sim_host import ENDED, Answer, SimHost

TIMES = OrderTimes(switch_timeout_s=20, contact_timeout_s=30, cap_s=150, commit_timeout_s=20, revert_timeout_s=40)
SYSTEMS = ("1", "2", "3", "4")
"""Enough to tell OLD, NEW, what an operator chose and what nobody asked for apart."""

ORDERS = (Verb.COMMIT, Verb.RELEASE, Verb.REVERT, Verb.SETTLE)
STARTS = (
    "idle",
    "switching",
    "trial",
    "trial",
    "committing",
    "reverting",
    "committed",
    "released",
    "staging",
    "staged",
)
BEGINNINGS = (Verb.TRIAL, Verb.STAGE)
SHM = Path("/dev/shm")
WRITES = st.integers(min_value=1, max_value=12) | st.integers(min_value=13, max_value=45)
"""A trial makes about forty durable writes, everything else fewer than twelve."""


def place() -> Path:
    """Return a new directory, in memory where there is some: what is tested is order, not the disk."""
    return Path(tempfile.mkdtemp(prefix="fleetd-rig-", dir=SHM if SHM.is_dir() else None))


def shown_by(model: SimHost) -> Shown:
    """Return what a host would show that is in the model's state."""
    record, units = model.record, model.units
    names = ("guard", "switch", "commit", "revert", "stage")
    ended = record is None or record.state in ENDED
    return Shown(
        state=model.state.value,
        id=model.active,
        fence=str(model.fence),
        deadline=str(record.deadline) if record is not None and record.deadline else "",
        current=model.current,
        profile=model.profile,
        boot_default=model.boot_default,
        boot_id=model.boot_id,
        units=frozenset() if ended else frozenset(name for name in names if getattr(units, name)),
    )


def comparable(shown: Shown) -> Shown:
    """Leave out units that only still notice that all is over."""
    return replace(shown, units=frozenset()) if shown.state in {state.value for state in ENDED} else shown


class HelperMachine(RuleBasedStateMachine):
    """One host, twice."""

    def __init__(self) -> None:
        super().__init__()
        self.root = place()
        self.rig = Rig(self.root / "host", *SYSTEMS)
        self.model = SimHost(HOST, toplevel("1"), machine_id=MACHINE_ID)
        self.model.valid = {toplevel(name) for name in SYSTEMS}
        self.sequence = 0
        self.attempt = 0
        self.sent: list[Order] = []

    def teardown(self) -> None:
        """Leave nothing behind."""
        shutil.rmtree(self.root)

    # -- the two sides ------------------------------------------------------------------------------------------

    @invariant()
    def they_agree(self) -> None:
        """The heart of it."""
        event(f"reached {self.model.state.value}")
        assert comparable(self.rig.shown()) == shown_by(self.model)

    def adopt(self, *candidates: SimHost) -> None:
        """After a death: the host must show one of these, and from here on the model is that one."""
        shown = comparable(self.rig.shown())
        fit = [model for model in candidates if shown_by(model) == shown]
        assert fit, f"{shown} is none of {[shown_by(model) for model in candidates]}"
        self.model = fit[-1]
        # What a release that was cut short had written down is no state of its own.
        kept = self.rig.root / "nix/var/fleetd-host/kept"
        self.model.kept = kept.read_text().strip() if kept.exists() else ""
        if self.model.record is not None:
            self.model.record.attempts = self.rig_attempts()

    def variant(self, change: Callable[[SimHost], object]) -> SimHost:
        """Return the model as it would be after a change."""
        made = copy.deepcopy(self.model)
        change(made)
        return made

    def new_fence(self) -> Fence:
        """Return a higher fence than any before."""
        self.sequence += 1
        return Fence(1, self.sequence)

    def an_order(self, verb: Verb, system: str = "2") -> Order:
        """Return an order as a controller would write it now."""
        starts = verb in (Verb.TRIAL, Verb.STAGE)
        if starts:
            self.attempt += 1
        return Order(
            verb=verb,
            id=f"r-1.{HOST}.{self.attempt}" if starts else self.model.active or "r-1.none",
            fence=self.model.fence if verb is Verb.EXTEND else self.new_fence(),
            host=HOST,
            machine_id=MACHINE_ID,
            boot_id=self.model.boot_id,
            uptime_limit_s=self.rig.now + 60,
            toplevel=toplevel(system) if starts else "",
            expect_current=self.model.current if starts else "",
            expect_profile=self.model.profile if starts else "",
            times=TIMES if starts else None,
        )

    def send(self, order: Order) -> None:
        """Give both the same order and compare the answers."""
        self.sent.append(order)
        expected = self.model.order(order, self.rig.now)
        reply = self.rig.order(order)
        assert Answer(reply.end, reply.code) == expected
        assert reply.fence == self.model.fence

    # -- orders -------------------------------------------------------------------------------------------------

    @initialize(start=st.sampled_from(STARTS))
    def begin(self, start: str) -> None:
        """A sequence begins anywhere on the way: what is rare in the world is where the most can break."""
        if start in ("staging", "staged"):
            self.send(self.an_order(Verb.STAGE))
        elif start != "idle":
            self.send(self.an_order(Verb.TRIAL))
        if start == "staged":
            self.stage_runs("", "")
        if start in ("trial", "committing", "committed", "released", "reverting"):
            self.switch_ends("")
        if start == "released":
            self.send(self.an_order(Verb.RELEASE))
        if start in ("committing", "committed"):
            self.send(self.an_order(Verb.COMMIT))
        if start == "committed":
            self.commit_ends("", "")
        if start == "reverting":
            self.guard_is_killed()

    @rule(verb=st.sampled_from([*BEGINNINGS, Verb.EXTEND, *ORDERS]), system=st.sampled_from(SYSTEMS[1:]))
    def order(self, verb: Verb, system: str) -> None:
        """An order as it should be; a trial of another system, or of what runs already."""
        self.send(self.an_order(verb, system))

    @precondition(lambda self: self.sent)
    @rule(pick=st.integers(min_value=0, max_value=50))
    def late(self, pick: int) -> None:
        """An order of before comes again: delayed by a network, or repeated by a library."""
        self.send(self.sent[-1 - pick % len(self.sent)])

    @rule(
        verb=st.sampled_from([*BEGINNINGS, Verb.EXTEND, *ORDERS]),
        wrong=st.sampled_from(["machine", "boot", "uptime", "fence", "conflict", "id", "current", "profile", "store"]),
    )
    def wrong_order(self, verb: Verb, wrong: str) -> None:
        """An order that something forbids."""
        order = self.an_order(verb)
        match wrong:
            case "machine":
                order = replace(order, machine_id="f" * 32)
            case "boot":
                order = replace(order, boot_id="boot-0")
            case "uptime":
                order = replace(order, uptime_limit_s=self.rig.now - 1)
            case "fence":
                order = replace(order, fence=Fence(0, 10**17))
            case "conflict":
                order = replace(order, fence=self.model.fence)
            case "id":
                order = replace(order, id="r-0.other.1")
            case "current":
                order = replace(order, expect_current=toplevel("9"))
            case "profile":
                order = replace(order, expect_profile=toplevel("9"))
            case _:
                order = replace(order, toplevel=toplevel("8")) if verb in BEGINNINGS else order
        self.send(order)

    @rule(question=st.sampled_from(["facts", "status"]))
    def asks(self, question: str) -> None:
        """Facts mend what an interruption left; status changes nothing."""
        if question == "status":
            self.status()
            return
        self.model.facts(self.rig.now)
        reply = self.rig.ask("facts")
        assert reply.fields["state"] == self.model.state.value
        # Nobody reads a default that a choice for the next boot comes before.
        assert reply.fields["boot_default"] == ("unreadable" if self.model.oneshot else self.model.boot_default)
        assert reply.fields.get("kept", "") == (self.model.kept if self.model.kept == self.model.current else "")

    def status(self) -> None:
        """Ask for the status."""
        reply = self.rig.ask("status")
        assert (reply.fields["state"], reply.fields["id"]) == (self.model.state.value, self.model.active)

    # -- time and the guard -------------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([1, 29, 30, 31, 50, 81]))
    def time_passes(self, seconds: int) -> None:
        """Nothing happens by itself."""
        self.rig.pass_time(seconds)

    @precondition(lambda self: self.model.units.guard)
    @rule()
    def guard_looks(self) -> None:
        """One round of the guard."""
        self.model.guard_looks(self.rig.now)
        goes_on = self.rig.guard_looks()
        assert goes_on or self.model.state in ENDED

    @precondition(lambda self: self.model.units.guard)
    @rule()
    def guard_is_killed(self) -> None:
        """In whatever way: systemd starts the revert."""
        self.model.guard_dies()
        self.rig.kill_unit("guard")

    def goes_on(self, confirmed: bool) -> None:
        """What comes next when nothing disturbs it: without this, sequences rarely get far."""
        units, state = self.model.units, self.model.state
        if units.revert and state not in ENDED:
            self.revert_runs("")
        elif units.stage and state is S.STAGING:
            self.stage_runs("", "")
        elif units.commit:
            self.commit_ends("", "")
        elif units.switch:
            self.switch_ends("")
        elif state is S.TRIAL and units.guard and confirmed:
            self.send(self.an_order(Verb.RELEASE if self.attempt % 3 == 0 else Verb.COMMIT))
        elif units.guard:
            self.rig.pass_time(81)
            self.guard_looks()
        elif state in ENDED:
            verb = Verb.STAGE if self.attempt % 4 == 3 else Verb.TRIAL
            self.send(self.an_order(verb, "2" if self.model.current != toplevel("2") else "3"))
        else:
            self.asks("facts")

    step1 = rule(confirmed=st.booleans())(goes_on)
    step2 = rule(confirmed=st.booleans())(goes_on)
    step3 = rule(confirmed=st.booleans())(goes_on)
    step4 = rule(confirmed=st.booleans())(goes_on)

    # -- the switch ---------------------------------------------------------------------------------------------

    @precondition(lambda self: self.model.units.switch)
    @rule(
        how=st.sampled_from(
            ["", "", "warn", "broken", "refuse-1", "refuse-11", "refuse-100", "cut", "cut-once", "down"]
        )
    )
    def switch_ends(self, how: str) -> None:
        """The switch unit runs to its end."""
        ordered = {"cut": "cut-1\ncut-4", "cut-once": "cut-1", "down": "down\ndown", "refuse-11": "refuse-11\nrefuse-1"}
        self.rig.set("switch", ordered.get(how, how))
        if not how:
            self.rig.clear("switch")
        self.rig.run_switch()
        self.rig.clear("switch")
        if self.model.state is not S.SWITCHING:
            self.model.switch_ends(Verdict.NONE, self.rig.now)
            return
        if not how.startswith(("refuse", "down")):
            self.model.switch_moves()
        verdicts = {
            "": Verdict.LIVE,
            "cut-once": Verdict.LIVE,
            "warn": Verdict.LIVE_WARNING,
            "broken": Verdict.FAILED,
            "cut": Verdict.INTERRUPTED,
            "down": Verdict.INTERRUPTED,
            "refuse-100": Verdict.NEEDS_REBOOT,
        }
        verdict = verdicts.get(how, Verdict.NOT_STARTED)
        if self.model.current == self.model.record.new and how.startswith(("refuse", "down")):  # type: ignore[union-attr]
            # It ran before the switch already, so there is nothing that could not have started.
            # What ends with an error is run once more, and the second run of "refuse-1" and "refuse-100" is a good one.
            verdict = Verdict.FAILED if how == "down" else Verdict.LIVE
        elif not self.model.record.is_known(self.model.current):  # type: ignore[union-attr]
            # Somebody else had switched before, and a switch that refuses leaves what they chose.
            verdict = Verdict.INTERFERED
        self.model.switch_ends(verdict, self.rig.now)
        assert self.rig.record("verdict") == verdict.value

    @precondition(lambda self: self.model.units.switch and self.model.state is S.SWITCHING)
    @rule(how=st.sampled_from(["die", "die-early", "foreign"]))
    def switch_is_killed_or_lost(self, how: str) -> None:
        """The switch is killed before or after it had moved the host, or somebody else switches meanwhile."""
        self.rig.set("switch", how)
        self.rig.run_switch()
        self.rig.clear("switch")
        match how:
            case "die":
                self.model.switch_moves()
                self.model.switch_ends(Verdict.INTERRUPTED, self.rig.now)
            case "die-early":
                # Nobody can tell how far it had come; but somebody else's system is there to be seen.
                record, runs = self.model.record, self.model.current
                ours = record is not None and record.is_known(runs)
                self.model.switch_ends(Verdict.INTERRUPTED if ours else Verdict.INTERFERED, self.rig.now)
            case _:
                self.model.current = f"/nix/store/{'x' * 32}-nixos-system-web1-x"
                self.model.switch_ends(Verdict.INTERFERED, self.rig.now)

    # -- the commit ---------------------------------------------------------------------------------------------

    @precondition(lambda self: self.model.units.commit)
    @rule(
        profile=st.sampled_from(["", "", "fail", "die", "die-after"]),
        loader=st.sampled_from(["", "", "fail", "lie", "die", "die-after"]),
    )
    def commit_ends(self, profile: str, loader: str) -> None:
        """Every step works, fails, or is the last thing before the unit is killed."""
        runs = self.model.record is not None and self.model.current == self.model.record.new
        committing = self.model.state is S.COMMITTING
        self.order_next("profile", profile)
        self.order_next("loader", loader)
        died = False
        try:
            self.rig.run_commit()
        except Died:
            died = True
        self.rig.clear("profile", "loader")
        if committing and runs:
            if profile in ("", "die-after"):
                self.model.commit_sets_profile()
            if profile == "" and loader in ("", "die-after"):
                self.model.commit_sets_boot_default()
        if died:
            self.model.commit_dies()
        else:
            self.model.commit_ends()

    @precondition(lambda self: self.model.units.stage and self.model.state is S.STAGING)
    @rule(
        profile=st.sampled_from(["", "", "fail", "die", "die-after"]),
        loader=st.sampled_from(["", "", "fail", "lie", "die", "die-after"]),
    )
    def stage_runs(self, profile: str, loader: str) -> None:
        """The first run moves the next boot, in each way to end; every later one puts it back, or its loader fails."""
        model, died = self.model, False
        first = model.stage_begins()
        if not first:
            profile, loader = "", "fail" if loader == "fail" else ""
        self.order_next("profile", profile)
        self.order_next("loader", loader)
        try:
            self.rig.run_stage()
        except Died:
            died = True
        self.rig.clear("profile", "loader")
        record = model.record
        assert record is not None
        if first and profile in ("", "die-after"):
            model.stage_sets_profile()
        if first and profile == "" and loader in ("", "die-after"):
            model.stage_sets_boot_default()
        if died:
            return
        if first:
            model.stage_ends()
        well = first or loader == "" or model.boot_default == record.old
        if not well:
            model.profile = record.old
        model.stage_undoes(well=well)

    def order_next(self, name: str, how: str) -> None:
        """Order one way to end for the next call of a stub."""
        if how:
            self.rig.set(name, how)

    # -- the way back -------------------------------------------------------------------------------------------

    @precondition(lambda self: self.model.units.revert and self.model.state not in ENDED)
    @rule(how=st.sampled_from(["", "", "stuck", "loader", "dies"]))
    def revert_runs(self, how: str) -> None:
        """One run of the revert unit; it fails with the old system's switch or loader, or is killed on the way."""
        model = self.model
        if how == "dies":
            self.dies(self.rig.run_revert, self.revert_candidates())
            return
        self.rig.set("switch", "refuse-1") if how == "stuck" else None
        self.rig.set("loader", "fail\nfail") if how == "loader" else None
        self.rig.run_revert()
        self.rig.clear("switch", "loader")
        model.revert_begins()
        record = model.record
        assert record is not None
        if record.state in ENDED:
            return
        loader_fails = how == "loader" and model.boot_default != record.old
        model.profile = record.old
        if not loader_fails:
            model.boot_default = record.old
        if how != "stuck":
            model.current = record.old
        model.revert_ends(well=model.current == record.old and not loader_fails)

    def revert_candidates(self) -> list[SimHost]:
        """Return every state in which a revert may be killed, the last first."""

        def begun(model: SimHost) -> None:
            model.revert_begins()

        def again(model: SimHost) -> None:
            # Killed before it counted itself.
            model.revert_begins()
            if model.record is not None and model.record.attempts:
                model.record.attempts -= 1

        def with_profile(model: SimHost) -> None:
            model.revert_begins()
            if model.record is not None and model.state not in ENDED:
                model.profile = model.record.old

        def with_loader(model: SimHost) -> None:
            with_profile(model)
            if model.record is not None and model.state not in ENDED:
                model.boot_default = model.record.old

        def live(model: SimHost) -> None:
            with_loader(model)
            if model.record is not None and model.state not in ENDED:
                model.current = model.record.old

        def done(model: SimHost) -> None:
            model.revert_begins()
            model.revert_ends(well=True)

        def only_stopped(model: SimHost) -> None:
            model.units.switch = model.units.commit = False

        steps = [lambda _model: None, only_stopped, again, begun, with_profile, with_loader, live, done]
        made = [self.variant(step) for step in steps]
        attempts = self.rig_attempts()
        for model in made:
            if model.record is not None:
                model.record.attempts = attempts
        return made

    def rig_attempts(self) -> int:
        """Return how many runs the host has counted; the model takes over the number after a death."""
        return int(self.rig.record("attempts") or 0)

    # -- deaths and disks ---------------------------------------------------------------------------------------

    def dies(self, step: Callable[[], object], candidates: list[SimHost] | Callable[[], list[SimHost]]) -> bool:
        """Kill a step at its n-th durable write; it may end before."""
        writes = int((self.rig.control / "writes").read_text())
        self.rig.set("die-at", str(writes + self.die_after))
        try:
            step()
        except Died:
            event("killed between two writes")
            return True
        finally:
            self.rig.clear("die-at")
            made = candidates() if callable(candidates) else candidates
            attempts = self.rig_attempts()
            for model in made:
                if model.record is not None:
                    model.record.attempts = attempts
            self.adopt(*made)
        return False

    die_after = 1

    @rule(writes=WRITES, verb=st.sampled_from([*BEGINNINGS, *ORDERS]))
    def helper_dies_in_an_order(self, writes: int, verb: Verb) -> None:
        """The helper is killed while it obeys: the answer is lost, and the host shows a step of the way."""
        order = self.an_order(verb)
        self.sent.append(order)
        now = self.rig.now

        def fenced(model: SimHost) -> None:
            if verb in BEGINNINGS:
                model._mend(now)
            model._admit(order, now)

        def mended(model: SimHost) -> None:
            model._mend(now)

        def without(*units: str) -> Callable[[SimHost], None]:
            def change(model: SimHost) -> None:
                kept = copy.copy(model.units)
                model.order(order, now)
                for unit in units:
                    setattr(model.units, unit, getattr(kept, unit))

            return change

        def mend_without_start(model: SimHost) -> None:
            kept = copy.copy(model.units)
            fenced(model)
            model._mend(now)
            model.units.revert, model.units.stage = kept.revert, kept.stage

        steps: list[Callable[[SimHost], object]] = [lambda _model: None, mended, fenced, mend_without_start]
        steps += [without("guard", "switch", "commit", "revert", "stage"), without("switch"), without()]
        self.die_after = writes
        self.dies(lambda: self.rig.order(order), [self.variant(step) for step in steps])

    @rule(writes=WRITES, verb=st.sampled_from([*BEGINNINGS, Verb.EXTEND, *ORDERS]))
    def disk_is_full_in_an_order(self, writes: int, verb: Verb) -> None:
        """From the n-th write on nothing more can be written: an order is refused whole, or it was obeyed."""
        order = self.an_order(verb)
        self.sent.append(order)
        now = self.rig.now

        def fenced(model: SimHost) -> None:
            if verb in BEGINNINGS:
                model._mend(now)
            model._admit(order, now)

        def unarmed(model: SimHost) -> None:
            """Its name was written, and is not known to be durable: so it never began."""
            kept = copy.copy(model.units)
            model.order(order, now)
            if model.record is not None and model.active == order.id:
                model.record.state = S.IDLE
                model.units = kept

        done = int((self.rig.control / "writes").read_text())
        self.rig.set("full-from", str(done + writes))
        reply = self.rig.order(order)
        self.rig.clear("full-from")
        candidates = [self.variant(step) for step in (lambda _m: None, lambda m: m._mend(now), fenced)]
        if reply.end == "error":
            assert reply.code in ("disk-full", "locked")
            if verb in BEGINNINGS and reply.code == "disk-full":
                candidates += [self.variant(fenced), self.variant(unarmed)]
        else:
            candidates = [*candidates, self.variant(lambda model: model.order(order, now))]
        self.adopt(*candidates, *self.half_mended(order, now))

    def half_mended(self, order: Order, now: int) -> list[SimHost]:
        """A disk that is full keeps the revert from being written down, or, after a reboot, from having its units."""

        def started(model: SimHost) -> None:
            state = model.state
            if order.verb not in BEGINNINGS:
                model._admit(order, now)
            model._mend(now)
            if model.record is not None and model.units.revert:
                model.record.state = state

        def written(model: SimHost) -> None:
            kept = copy.copy(model.units)
            if order.verb not in BEGINNINGS:
                model._admit(order, now)
            model._mend(now)
            model.units.revert, model.units.stage = kept.revert, kept.stage

        return [self.variant(started), self.variant(written)]

    # -- the world ----------------------------------------------------------------------------------------------

    @rule(what=st.sampled_from(["power", "live", "whole"]), system=st.sampled_from(SYSTEMS))
    def the_world(self, what: str, system: str) -> None:
        """Power is lost, and the host boots what its loader says; or a person or another tool switches it."""
        if what == "power":
            self.rig.reboot()
            self.model.reboots(self.rig.boot_id)
            return
        boot_too = what == "whole"
        self.model.operator_switches(toplevel(system), boot_too=boot_too)
        self.rig.point("run/current-system", toplevel(system))
        if boot_too:
            self.rig.point("nix/var/nix/profiles/system", toplevel(system))
            self.rig.set_boot_default(toplevel(system))

    @rule(verb=st.sampled_from(["show", "keep", "revert-now", "finish", "clear"]))
    def console(self, verb: str) -> None:
        """A person at the host."""
        model = self.model
        if verb != "show":
            model._mend(self.rig.now)
        record = model.record
        done = self.rig.console(verb)
        if record is None or verb == "show":
            return
        expected = True
        match verb, record.state:
            case "keep", S.SWITCHING | S.TRIAL:
                record.state = S.INTERFERED
            case "revert-now", S.SWITCHING | S.TRIAL | S.REBOOTING:
                record.state = S.REVERTING
                model.units.revert = True
            case "finish", S.TRIAL:
                expected = model.units.guard and self.rig.now < record.deadline
                if expected:
                    record.commit_deadline = self.rig.now + record.times.commit_timeout_s
                    record.state = S.COMMITTING
                    model.units.commit = True
            case "clear", S.INTERFERED | S.STRANDED:
                model.person_clears()
            case _:
                expected = False
        assert done == expected


HERE = "tests.host.test_helper_against_the_model"
LIMIT_S = 1400
"""About two minutes on two idle cores; a loaded machine is not a broken helper."""

SETTINGS = settings(
    max_examples=int(os.environ.get("FLEETD_SEQUENCES", "200")),
    # The same sequences each time, so that a change is judged by itself; a number of your own explores others.
    derandomize="FLEETD_SEQUENCES" not in os.environ,
    stateful_step_count=14,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    database=None,
)


@pytest.mark.timeout(LIMIT_S + 60)
def test_the_helper_does_what_the_model_does() -> None:
    """In a process of its own: which sequences hypothesis tries depends on what else a process has loaded."""
    done = subprocess.run(
        [sys.executable, "-m", HERE],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-8000:]


if __name__ == "__main__":
    run_state_machine_as_test(HelperMachine, settings=SETTINGS)
