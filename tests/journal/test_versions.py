"""Records across releases: today's program reads what was written before, and the release before reads today's."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetd.controller.folding import fold, records_of
from fleetd.errors import CorruptJournal, JournalError, NewerJournal
from fleetd.model.policy import Policy
from fleetd.ports import Record
from fleetd.rollout import events as e
from fleetd.rollout import versions
from fleetd.rollout.codec import EVENT_KINDS, encode_event
from fleetd.rollout.documents import host_document, record_document, rollout_document
from fleetd.rollout.spec import HostPlan, Kind, RolloutSpec
from fleetd.rollout.versions import NEW_KINDS, TooNew, needs_this_release, upcast
from fleetd.rollout.world import World
from tests.fakes.journal import Disk
from tests.journal.earlier import NAMES, read_by_it, recorded
from tests.rollout.worlds import spec_of
from tests.simulation.scenario import draw
from tests.simulation.simulation import simulate


def world_of(records: Sequence[Record]) -> World:
    world = World()
    for record in records:
        fold(world, record)
    return world


def as_that_release_tells(world: World) -> dict[str, Any]:
    """Return a world in the words of ``read.py``."""
    told = {
        "seq": world.seq,
        "term": world.term,
        "rollouts": {name: rollout_document(world, rollout, world.last_at) for name, rollout in world.rollouts.items()},
        "hosts": {
            name: {host: host_document(rollout, host) for host in rollout.hosts}
            for name, rollout in world.rollouts.items()
        },
        "records": {host: record_document(record) for host, record in world.records.items()},
        "unproven": list(world.unproven()),
    }
    found: dict[str, Any] = json.loads(json.dumps(told))
    return found


def assert_same(mine: Any, theirs: Any, place: str = "") -> None:
    """What that release says must be said today as well; today's documents may say more."""
    if isinstance(theirs, dict):
        for key, value in theirs.items():
            assert_same(mine[key], value, f"{place}.{key}")
    else:
        assert mine == theirs, place


@pytest.mark.parametrize("name", NAMES)
def test_a_journal_of_the_release_before_says_today_what_it_said_then(name: str) -> None:
    records = recorded(name)
    assert_same(as_that_release_tells(world_of(records)), read_by_it(records))


@pytest.mark.parametrize("seed", [3, 5, 8, 9, 12, 34])
def test_the_release_before_takes_over_what_today_s_program_wrote(seed: int) -> None:
    disk = Disk()
    simulate(replace(draw(Random(seed), seed=seed), observe_s=None, hooked=None), disk=disk)
    assert not any(needs_this_release(record.kind, record.data) for record in disk.records)
    assert_same(as_that_release_tells(world_of(disk.records)), read_by_it(disk.records))


@pytest.mark.parametrize(("seed", "kind"), [(17, "HostFoundUnwell"), (13, "HostOwed")])
def test_the_release_before_reads_all_up_to_what_is_found_or_owed_between_rollouts(seed: int, kind: str) -> None:
    disk = Disk()
    simulate(replace(draw(Random(seed), seed=seed), hooked=None), disk=disk)
    (first, *_more) = (record for record in disk.records if needs_this_release(record.kind, record.data))
    assert first.kind == kind
    before = disk.records[: first.seq - 1]
    assert_same(as_that_release_tells(world_of(before)), read_by_it(before))
    with pytest.raises(ValueError, match=f"unknown kind of record '{kind}'"):
        read_by_it(disk.records)


@pytest.mark.parametrize("kind", Kind)
def test_a_rollout_of_a_kind_that_the_release_before_does_not_know_is_told_as_such(kind: Kind) -> None:
    name, _rollout, _host, data = encode_event(e.RolloutRequested(1.0, "r-1", replace(spec_of(("h1",)), kind=kind)))
    record = Record(1, 1, 1.0, "r-1", "", name, 1, data)
    assert needs_this_release(name, data) == kind.pays
    if kind.pays:
        with pytest.raises(ValueError, match=f"'{kind.value}' is not a valid Kind"):
            read_by_it([record])
    else:
        read_by_it([record])


def test_the_recorded_journals_have_every_kind_that_was_written_then() -> None:
    kinds = {record.kind for name in NAMES for record in recorded(name)}
    # Told only where a host's systems are in the store, asked of people only, and of rollouts with approvals.
    unwritten = {"ChangesTold", "PromoteRequested", "HostRetried"} | {kind for kind in EVENT_KINDS if "Approv" in kind}
    unwritten |= {"RevisionLocked", "RevisionRefused", "FoundCurrent"} | set(NEW_KINDS)
    assert set(EVENT_KINDS) - kinds <= unwritten


def test_the_reader_of_the_release_before_refuses_what_it_does_not_know() -> None:
    """Else it would show nothing that it reads today's journals."""
    first, *rest = recorded(NAMES[0])
    odd = replace(first, data={**first.data, "odd": 1})
    with pytest.raises(ValueError, match=r"record 1 .*unknown fields \['odd'\]"):
        read_by_it([odd, *rest])
    with pytest.raises(ValueError, match="unknown kind of record 'Odd'"):
        read_by_it([replace(first, kind="Odd"), *rest])


# -- what a change of the records has to keep to -------------------------------------------------------------------


@pytest.fixture
def added(monkeypatch: pytest.MonkeyPatch) -> RolloutSpec:
    """Take a field for one that the release before does not know; returns a spec in which it says its default."""
    monkeypatch.setattr("fleetd.rollout.codec.ADDED", {"RolloutSpec": ("brake",)})
    monkeypatch.setattr(versions, "ADDED", {"RolloutSpec": ("brake",)})
    return spec_of(("web1",))


def test_an_added_field_is_written_only_where_it_says_something(added: RolloutSpec) -> None:
    for brake in (0, 2):
        event = e.RolloutRequested(1.0, "r-1", replace(added, id="r-1", brake=brake))
        kind, _rollout, _host, data = encode_event(event)
        assert ("brake" in data["spec"]) == bool(brake)  # type: ignore[operator]
        assert needs_this_release(kind, data) == bool(brake)
        again = fold(World(), records_of([event], 1, 1)[0])
        assert again == event


def test_an_added_field_has_a_default() -> None:
    for name, fields in versions.ADDED.items():
        cls = next(c for c in (*EVENT_KINDS.values(), RolloutSpec, HostPlan, Policy) if c.__name__ == name)
        defaults = {field.name: field.default for field in dataclasses.fields(cls)}
        assert all(defaults[field] is not dataclasses.MISSING for field in fields)


OLDER = {"Word": 3}
STEPS: dict[tuple[str, int], versions.Upcaster] = {
    ("Word", 1): lambda data: {"text": data["word"]},
    ("Word", 2): lambda data: {**data, "length": len(str(data["text"]))},
}


def test_older_versions_become_today_s_one_step_after_the_other() -> None:
    whole = {"text": "hello", "length": 5}
    assert upcast("Word", 1, {"word": "hello"}, OLDER, STEPS) == whole
    assert upcast("Word", 2, {"text": "hello"}, OLDER, STEPS) == whole
    assert upcast("Word", 3, whole, OLDER, STEPS) == whole
    with pytest.raises(TooNew, match="version 4 of its kind, and this fleetd reads versions up to 3"):
        upcast("Word", 4, whole, OLDER, STEPS)
    with pytest.raises(ValueError, match="versions begin with 1"):
        upcast("Word", 0, whole, OLDER, STEPS)
    with pytest.raises(ValueError, match="its version 1 cannot be read as 2"):
        upcast("Word", 1, {}, OLDER, STEPS)


def test_a_version_that_the_start_finds_is_read_through_its_upcaster(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if aborts had named who asked under another word once."""
    event = e.AbortRequested(2.0, "r-1", "kim", "lunch")
    begun = records_of([e.RolloutRequested(1.0, "r-1", replace(spec_of(("web1",)), id="r-1"))], 1, 1)
    old = Record(2, 1, 2.0, "r-1", "", "AbortRequested", 1, {"who": "kim", "reason": "lunch"})
    with pytest.raises(CorruptJournal, match=r"record 2 \(AbortRequested of r-1\) of the journal is corrupt"):
        world_of([*begun, old])

    def renamed(data: versions.Data) -> versions.Data:
        return {"by": data["who"], "reason": data["reason"]}

    def upcasting(kind: str, version: int, data: versions.Data) -> versions.Data:
        return upcast(kind, version, data, {"AbortRequested": 2}, {("AbortRequested", 1): renamed})

    monkeypatch.setattr("fleetd.rollout.codec.upcast", upcasting)
    world = World()
    assert [fold(world, record) for record in (*begun, old)][-1] == event
    with pytest.raises(NewerJournal, match=r"record 2 .* version 3 of its kind"):
        fold(world_of(begun), replace(old, version=3))


# -- damage --------------------------------------------------------------------------------------------------------


def damaged(value: Any, draw: st.DrawFn) -> Any:
    """Return a value with something in it lost, moved, or turned into something else."""
    odd: st.SearchStrategy[Any] = st.sampled_from([None, -1, 10**20, 1.5, "", "odd", [], {}, True])
    if isinstance(value, dict) and value:
        key = draw(st.sampled_from(sorted(value)))
        rest = {name: inner for name, inner in value.items() if name != key}
        return rest if draw(st.booleans()) else {**value, key: damaged(value[key], draw)}
    if isinstance(value, list) and value:
        index = draw(st.integers(0, len(value) - 1))
        return [*value[:index], damaged(value[index], draw), *value[index + 1 :]]
    return draw(odd)


@st.composite
def damage(draw: st.DrawFn) -> tuple[list[Record], int]:
    """Return a recorded journal with one damaged record, and the number of that."""
    records = recorded(draw(st.sampled_from(NAMES)))
    index = draw(st.integers(0, len(records) - 1))
    record = records[index]
    column = draw(st.sampled_from(["data", "data", "data", "rollout", "host", "kind", "at", "version"]))
    other: Any = damaged(getattr(record, column), draw)
    if column in ("rollout", "host", "kind"):
        other = getattr(draw(st.sampled_from(records)), column)
    records[index] = replace(record, **{column: other})
    return records, record.seq


@given(damage())
@settings(max_examples=300, deadline=None)
def test_a_damaged_record_is_told_with_its_place_and_what_to_do_or_does_no_harm(
    found: tuple[list[Record], int],
) -> None:
    """What still is a possible history is folded; all else ends in one kind of error, at or after the damage."""
    records, seq = found
    world = World()
    for record in records:
        try:
            fold(world, record)
        except JournalError as error:
            assert record.seq >= seq
            assert str(error).startswith(f"record {record.seq} ({record.kind}")
            assert "No record was changed" in str(error)
            assert "fleetd recover" in str(error)
            assert world.seq == record.seq - 1
            return
