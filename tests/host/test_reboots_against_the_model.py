"""The real helper beside the reference model, where trials may be reboots: the machine of orders, guard and commit,
with a boot loader that can start a system once. What kills the helper between two writes is left to the other machine.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule, run_state_machine_as_test

from fleetd.model.facts import HelperState as S
from fleetd.model.facts import Verdict
from fleetd.model.order import Order, Verb
from tests.host.rig import toplevel
from tests.host.test_helper_against_the_model import LIMIT_S, SYSTEMS, TIMES, HelperMachine
from tests.simulation.sim_host import ENDED

POLICIES = ("never", "when-needed", "always")


class RebootMachine(HelperMachine):
    """One host, twice. Of its systems 3 and 4 have another kernel, and all but 4 bring the guard of a reboot."""

    def __init__(self) -> None:
        super().__init__()
        self.rig.use_systemd_boot()
        self.rig.guard_boots("1", "2", "3")
        for name in ("3", "4"):
            self.rig.kernel(name, "another\n")
        self.model.kernels = {toplevel("3"): "another", toplevel("4"): "another"}
        self.model.guarded = {toplevel(name) for name in ("1", "2", "3")}
        self.policy = "always"

    # What the other machine does with deaths, disks, people and wrong orders is not done here.
    wrong_order = late = None  # type: ignore[assignment]
    helper_dies_in_an_order = disk_is_full_in_an_order = None  # type: ignore[assignment]
    switch_is_killed_or_lost = None  # type: ignore[assignment]
    the_world = None  # type: ignore[assignment]

    def an_order(self, verb: Verb, system: str = "2") -> Order:
        """Return an order of the present policy."""
        order = super().an_order(verb, system)
        times = replace(TIMES, reboot_timeout_s=60) if order.times is not None else None
        return replace(order, reboot=self.policy if times is not None else "never", times=times)

    @initialize(policy=st.sampled_from(POLICIES), steps=st.integers(0, 5))
    def begin(self, policy: str, steps: int) -> None:
        """A sequence begins anywhere on the way of a trial."""
        self.policy = policy
        self.send(self.an_order(Verb.TRIAL, "3"))
        walk: tuple[Callable[[], object], ...] = (
            lambda: self.switch_ends(""),
            lambda: self.reboots(""),
            self.boot_service,
            lambda: self.switch_ends(""),
        )
        for step in walk[:steps] if policy != "never" else ():
            step()

    @rule(policy=st.sampled_from(POLICIES))
    def another_policy(self, policy: str) -> None:
        """The next order has another word for reboots."""
        self.policy = policy

    @precondition(lambda self: self.model.units.switch)
    @rule(how=st.sampled_from(["", "", "fail", "unlisted", "bootctl", "broken"]))
    def switch_ends(self, how: str) -> None:
        """The switch unit runs: a switch, the way down, or what follows the boot."""
        model, record = self.model, self.model.record
        assert record is not None
        if not record.by_reboot:
            HelperMachine.switch_ends(self, "broken" if how == "broken" else "")
        elif model.state is S.SWITCHING:
            self.goes_down("" if how == "broken" or record.old == record.new else how)
        else:
            self.rig.set("failed", "bad.service" if how == "broken" else "")
            self.rig.run_switch()
            model.switch_ends(Verdict.FAILED if how == "broken" else Verdict.LIVE, self.rig.now)

    def goes_down(self, how: str) -> None:
        """The host is made ready and reboots, or something of it fails."""
        if how == "bootctl":
            self.rig.set("bootctl-fails", "yes")
        else:
            self.order_next("loader", how)
        self.rig.run_switch()
        self.rig.clear("bootctl-fails", "loader")
        self.model.goes_down(self.rig.now, ready=not how)

    @rule(starts=st.sampled_from(["", "", "", *SYSTEMS]))
    def reboots(self, starts: str) -> None:
        """Power is lost, or the reboot happens; somebody may stand at the boot menu."""
        chosen = toplevel(starts) if starts else ""
        self.rig.reboot(chosen)
        self.model.reboots(self.rig.boot_id, chosen)

    @precondition(lambda self: self.model.current in self.model.guarded)
    @rule()
    def boot_service(self) -> None:
        """What fleetd-boot.service does, once or again."""
        self.rig.boot_service()
        self.model.comes_up(self.rig.now)

    @precondition(lambda self: self.model.units.revert and self.model.state not in ENDED)
    @rule(how=st.just(""))
    def revert_runs(self, how: str) -> None:
        """One run of the revert unit; where the way back is a reboot it asks for one, and waits in vain here."""
        self.rig.run_revert()
        self.model.revert_begins()
        self.model.revert_ends(well=True)


HERE = "tests.host.test_reboots_against_the_model"
SETTINGS = settings(
    max_examples=int(os.environ.get("FLEETD_SEQUENCES", "80")),
    derandomize="FLEETD_SEQUENCES" not in os.environ,
    stateful_step_count=12,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    database=None,
)


@pytest.mark.timeout(LIMIT_S + 60)
def test_the_helper_reboots_as_the_model_does() -> None:
    """In a process of its own, as the other machine."""
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
    run_state_machine_as_test(RebootMachine, settings=SETTINGS)
