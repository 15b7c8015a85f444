"""One request, one rollout: the same delivery again is answered with its rollout, whatever changed in between."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from fleetd.controller.commands import Accepted, RequestKey, RollBackHosts, SubmitRollout, digest_of
from fleetd.controller.intake import Intake
from fleetd.errors import ConfigError, UsageError
from fleetd.journal.sqlite import FILE
from fleetd.schema import answers
from tests.controller.rig import FLEET, controlling, delivery


def change_nothing(_file: Path) -> None:
    pass


def edit(file: Path) -> None:
    file.write_text(FLEET.replace("-2", "-3"))


def drop_the_policy(file: Path) -> None:
    file.write_text(FLEET.split("[policies", maxsplit=1)[0])


def drop_the_host(file: Path) -> None:
    file.write_text("[hosts.db1]\n")


def break_it(file: Path) -> None:
    file.write_text("[hosts.web1\n")


def remove_it(file: Path) -> None:
    file.unlink()


CHANGES = (change_nothing, edit, drop_the_policy, drop_the_host, break_it, remove_it)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "fleet.toml").write_text(FLEET)
    return tmp_path


@pytest.mark.asyncio
@pytest.mark.parametrize("restart", [False, True], ids=["running", "restarted"])
@pytest.mark.parametrize("change", CHANGES)
async def test_the_same_delivery_is_one_rollout(place: Path, change: Callable[[Path], None], restart: bool) -> None:
    async with controlling(place) as intake:
        first = await intake.submit(delivery())
        assert (first.rollout, first.repeated) == ("r-1", False)
        if not restart:
            change(place / "fleet.toml")
            assert_repeats(await intake.submit(delivery()))
    if restart:
        change(place / "fleet.toml")
        async with controlling(place) as intake:
            assert_repeats(await intake.submit(delivery()))


def assert_repeats(again: Accepted) -> None:
    assert (again.rollout, again.repeated, again.document["id"]) == ("r-1", True, "r-1")


@pytest.mark.asyncio
@pytest.mark.parametrize("restart", [False, True], ids=["running", "restarted"])
async def test_the_same_key_with_another_request_is_refused(place: Path, restart: bool) -> None:
    other = delivery(body="another")
    back = RollBackHosts("kim", other.key)
    maker: AbstractAsyncContextManager[Intake] = controlling(place)
    async with maker as intake:
        await intake.submit(delivery())
        if not restart:
            await refused(intake, other, back)
    if restart:
        async with controlling(place) as intake:
            await refused(intake, other, back)


async def refused(intake: Intake, *commands: SubmitRollout | RollBackHosts) -> None:
    for command in commands:
        with pytest.raises(UsageError, match="belongs to r-1, which asked for something else"):
            await intake.submit(command)


@pytest.mark.asyncio
async def test_deliveries_at_one_moment_are_one_rollout(place: Path) -> None:
    async with controlling(place) as intake:
        answers = await asyncio.gather(*(intake.submit(delivery()) for _ in range(20)))
    assert {answer.rollout for answer in answers} == {"r-1"}
    assert sum(not answer.repeated for answer in answers) == 1


@pytest.mark.asyncio
async def test_a_hook_that_got_another_policy_still_knows_its_delivery(place: Path) -> None:
    async with controlling(place) as intake:
        await intake.submit(delivery())
        assert_repeats(await intake.submit(delivery(policy="default")))


@pytest.mark.asyncio
async def test_what_was_refused_is_no_answer_for_later(place: Path) -> None:
    break_it(place / "fleet.toml")
    async with controlling(place) as intake:
        with pytest.raises(ConfigError):
            await intake.submit(delivery())
        assert await intake.repeat(RequestKey("hook:ci:d-1", "")) is None
        (place / "fleet.toml").write_text(FLEET)
        assert not (await intake.submit(delivery())).repeated


@pytest.mark.asyncio
async def test_the_answer_is_on_disk_first(place: Path) -> None:
    """What was answered is found by another process at once, whatever becomes of this one."""
    async with controlling(place) as intake:
        await intake.submit(delivery())
        with contextlib.closing(sqlite3.connect(f"file:{place / FILE}?mode=ro", uri=True)) as disk:
            rows = disk.execute("select data from journal where kind = 'RolloutRequested'").fetchall()
    (spec,) = [json.loads(data)["spec"] for (data,) in rows]
    assert (spec["key"], spec["request"]) == ("hook:ci:d-1", digest_of("test", {"body": "one"}))


@pytest.mark.asyncio
async def test_a_journal_from_before_digests_is_read_and_its_key_is_believed(place: Path) -> None:
    async with controlling(place) as intake:
        await intake.submit(delivery())
    with contextlib.closing(sqlite3.connect(place / FILE)) as disk:
        (seq, data) = disk.execute("select seq, data from journal where kind = 'RolloutRequested'").fetchone()
        old = json.loads(data)
        del old["spec"]["request"]
        disk.execute("update journal set data = ? where seq = ?", (json.dumps(old), seq))
        disk.commit()
    async with controlling(place) as intake:
        assert_repeats(await intake.submit(delivery()))
        assert_repeats(await intake.submit(delivery(body="another")))
        assert (await intake.submit(delivery(key="hook:ci:d-2"))).rollout == "r-2"


@pytest.mark.parametrize("verb", ["a", "b"])
def test_a_digest_is_of_what_was_asked_and_not_of_its_spelling(verb: str) -> None:
    assert digest_of(verb, {"on": "x", "to": "y"}) == digest_of(verb, {"to": "y", "on": "x"})
    assert digest_of(verb, {"on": "x"}) != digest_of("c", {"on": "x"})
    assert digest_of(verb, {"on": "x"}) != digest_of(verb, {"on": "y"})


@pytest.mark.asyncio
async def test_documents_are_what_the_api_says_they_are(place: Path) -> None:
    async with controlling(place) as intake:
        accepted = await intake.submit(delivery())
        answers.Rollout.model_validate(accepted.document)
        answers.Fleet.model_validate(await intake.fleet())


@pytest.mark.asyncio
async def test_who_waits_for_a_change_is_told_when_it_is_on_disk(place: Path) -> None:
    async with controlling(place) as intake:
        assert await intake.changed(0, 10)
        now = intake.figures().seq
        assert not await intake.changed(now, 0.05)
        waiting = asyncio.create_task(intake.changed(now, 30))
        await asyncio.sleep(0)
        await intake.submit(delivery())
        assert await waiting
        figures = intake.figures()
    assert dict(figures.rollouts)["evaluating"] + dict(figures.rollouts)["building"] == 1
    assert dict(figures.rollouts)["failed"] == 0
    assert sum(count for _state, count in figures.hosts) == 2
    assert (figures.term, figures.broken, figures.unproven, figures.stranded) == (1, False, 0, 0)
