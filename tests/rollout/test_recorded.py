"""Journals that an earlier release wrote are read, and say the same as they did then.

The files were written by the code of that release, never by today's: they are not to be written anew.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fleetd.controller.loop import Controller
from fleetd.ports import Record
from fleetd.rollout.states import Lost, shown
from fleetd.rollout.world import World
from tests.controller.test_loop import Rig
from tests.fakes.journal import Disk

RECORDED = Path(__file__).parent / "recorded"


def records(name: str) -> list[Record]:
    return [Record(**json.loads(line)) for line in (RECORDED / f"{name}.jsonl").read_text().splitlines()]


def world_of(name: str) -> World:
    """Start a controller on a recorded journal."""
    rig = Rig(Disk(records(name), 1))
    rig.run(rig.controller.start())
    controller: Controller = rig.controller
    return controller.world


@pytest.mark.parametrize(
    ("name", "phase"),
    [
        ("release-0.1-rolled-back", "rolled-back"),
        ("release-0.1-incomplete", "incomplete"),
        ("release-0.1-given-up", "failed"),
    ],
)
def test_a_rollout_of_an_earlier_release_ended_as_it_ended_then(name: str, phase: str) -> None:
    world = world_of(name)
    assert world.rollouts["r-1"].header.phase.value == phase
    assert world.seq == len(records(name)) + 1


def test_what_was_said_of_each_host_is_still_said() -> None:
    hosts = world_of("release-0.1-rolled-back").rollouts["r-1"].hosts
    assert {host: shown(state) for host, state in hosts.items()} == {
        "web1": "rolled-back",
        "web2": "rolled-back",
        "web3": "rolled-back",
        "web4": "rolled-back",
        "web5": "rolled-back",
        "web6": "reverted",
    }


def test_a_host_that_an_earlier_release_gave_up_is_unproven_from_now_on() -> None:
    """That release freed its slot. Nobody has seen how it ended, so this one asks before anything else starts."""
    world = world_of("release-0.1-given-up")
    assert isinstance(world.rollouts["r-1"].hosts["web2"], Lost)
    assert list(world.unproven()) == [("r-1", "web2")]
