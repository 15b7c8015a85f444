"""While the control node's own host is on trial, the release before this one must be able to go on with the journal."""

from __future__ import annotations

import pytest

from fleetd.rollout import events as e
from fleetd.rollout.blocked import rollout_waits
from fleetd.rollout.decision import Capacity, Draft
from fleetd.rollout.owed import OWN_AGAIN_S
from fleetd.rollout.spec import Wave
from fleetd.rollout.versions import NEW_KINDS
from tests.rollout.test_unasked_checks import ERROR, decide, probed, went_back
from tests.rollout.worlds import POLICY, Built


def world_with(own: str) -> Built:
    """Return a world in which another host is on trial, and the control node's own one has come as far as said."""
    built = Built()
    built.rollout("r-2", "h2")
    built.bring("r-2", "h2", "trial")
    built.rollout("r-1", "own", waves=(Wave("own", ("own",), apart=True),))
    built.bring("r-1", "own", own)
    return built


def power_cycle(built: Built) -> e.PowerCycleIntended:
    return e.PowerCycleIntended(built.now, "r-2", "h2", built.fence(), built.now + 99)


@pytest.mark.parametrize("own", ["copied", "switching", "trial", "committing", "committed"])
def test_a_record_that_it_could_not_read_waits_until_that_trial_has_ended(own: str) -> None:
    built = world_with(own)
    draft = Draft(built.world, Capacity(), built.now, everything=True)
    assert type(power_cycle(built)).__name__ in NEW_KINDS
    draft.add(power_cycle(built))
    revert = e.RevertIntended(built.now, "r-2", "h2", draft.fence(), built.now + 99, "bad")
    draft.add(revert)
    is_on_trial = own in ("switching", "trial", "committing")
    assert [type(event).__name__ for event in draft.done().events] == [
        *([] if is_on_trial else ["PowerCycleIntended"]),
        "RevertIntended",
    ]
    seq = built.world.seq + (1 if is_on_trial else 2)
    assert revert.fence.seq == seq, "what is held back takes no place in the journal"


def test_a_rollout_that_owes_something_ends_when_that_may_be_written() -> None:
    built = Built()
    built.rollout("r-2", "h1", "h2")
    built.bring("r-2", "h1", "committed")
    built.apply(e.HostDeferred(built.now, "r-2", "h2", "unreachable", "no answer"))
    built.rollout("r-1", "own", waves=(Wave("own", ("own",), apart=True),))
    built.bring("r-1", "own", "trial")
    for _ in range(3):
        decide(built, 1.0)
    assert not built.world.rollouts["r-2"].header.phase.is_final
    told = [blocked.text for blocked in rollout_waits(built.world, built.world.rollouts["r-2"], built.now)]
    assert any("has ended its trial, and then it ends" in text for text in told)
    built.bring_on("r-1", "own", "committing", "committed")
    decide(built, OWN_AGAIN_S)
    assert built.world.rollouts["r-2"].header.phase is e.Phase.INCOMPLETE
    assert list(built.world.owing) == ["h2"]


def test_its_own_system_is_blamed_when_nothing_can_be_asked_from_there() -> None:
    built = Built()
    built.rollout("r-1", "own", waves=(Wave("own", ("own",), apart=True),))
    built.bring("r-1", "own", "trial")
    built.now += POLICY.healthy_deadline_s - 1
    probed(built, "own", ERROR)
    (revert,) = decide(built, 1.0).events
    assert isinstance(revert, e.RevertIntended)
    assert not revert.unjudged
    went_back(built, "own")
    assert type(built.world.rollouts["r-1"].hosts["own"]).__name__ == "Reverted"
