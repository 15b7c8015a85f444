"""What checks said on the old system: which of them count on the new one, and that they have to have said something."""

from __future__ import annotations

from fleetd.model.check import CheckOutcome
from fleetd.model.facts import HostFacts
from fleetd.rollout.decision import FLEETD, Draft
from fleetd.rollout.health import ERRORS_IN_A_ROW, passed
from fleetd.rollout.spec import HostPlan, Kind
from fleetd.rollout.states import Direction
from fleetd.rollout.world import Rollout


def counting(draft: Draft, name: str, rollout: Rollout, plan: HostPlan, facts: HostFacts) -> tuple[str, ...]:
    """Return the checks that count: those that passed on the old system, or all where the new one runs already.

    A rollback by a person's word is judged by what passed on the system that it goes back to, not by what passes on
    the one that it leaves.
    """
    to, record = rollout.hosts[plan.name].task.to, draft.world.record(plan.name)
    if rollout.header.spec.kind is Kind.ROLLBACK and to == record.came_from:
        return record.passed_there
    if facts.current == to and rollout.header.spec.kind is not Kind.REBOOT:
        # What fails now fails on the new system, so nothing can be excused by the old one.
        return plan.checks
    return passed(draft.world.observation(name, plan.name).baseline)


def waits_for_checks(draft: Draft, name: str, rollout: Rollout, host: str) -> bool:
    """Whether a host is not started because a check could not be asked on it; pauses the rollout after some of that.

    Such a check would count for nothing: one that did not pass before is excused. What goes back waits for nobody.
    """
    spec, task = rollout.header.spec, rollout.hosts[host].task
    if spec.kind is Kind.ROLLBACK or task.direction is Direction.ROLLBACK:
        return False
    seen = draft.world.observation(name, host)
    if seen.unasked >= ERRORS_IN_A_ROW:
        results = [result for result in seen.baseline if result.outcome is CheckOutcome.ERROR]
        told = "; ".join(f"{result.check}: {result.text}" for result in results)
        draft.pause(name, FLEETD, f"{host}: could not ask {ERRORS_IN_A_ROW} times in a row: {told}")
    return bool(seen.unasked)
