"""What the control node keeps alive at every moment of a rollout: the way forward and the way back."""

from __future__ import annotations

import pytest

from fleetd.rollout import events as e
from fleetd.rollout.roots import wanted_roots
from fleetd.rollout.states import Committed, Pending
from tests.rollout.test_rollout import NEW, OLD, Fleet


class Watched(Fleet):
    """Looks at what is wanted after every event."""

    def apply(self, event: e.Event) -> None:
        super().apply(event)
        wanted = wanted_roots(self.world)
        assert len(set(wanted.paths)) == len(wanted.paths)
        for name, rollout in self.world.active():
            assert name in wanted.rollouts
            for host, state in rollout.hosts.items():
                if state.task.to is not None:
                    assert state.task.to in wanted.paths, (host, event)
                if isinstance(state, Pending) and state.derivation is not None:
                    assert state.derivation in wanted.paths, (host, event)
                if isinstance(state, Committed):
                    assert OLD[host] in wanted.paths, "what it would be rolled back to"
        for host, record in self.world.records.items():
            for path in (record.last_good, record.left, record.wanted):
                assert path is None or path in wanted.paths, (host, event)


@pytest.mark.parametrize("bad", [(), ("web1",), ("web5",)])
def test_every_moment_of_a_rollout(bad: tuple[str, ...]) -> None:
    fleet = Watched(bad=bad)
    assert "r-1" in wanted_roots(fleet.world).rollouts
    fleet.run()
    wanted = wanted_roots(fleet.world)
    assert wanted.rollouts == frozenset(), "a final rollout wants nothing any more"
    for host in OLD:
        if not bad:
            assert {OLD[host], NEW[host]} <= set(wanted.paths), "what it has, and what was good before"
    if bad == ("web1",):
        assert NEW["web1"] not in wanted.paths, "nobody goes back to what failed"
        assert OLD["web1"] in wanted.paths
