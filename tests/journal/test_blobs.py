"""Texts beside the journal: bounded, in their directory, and never worth an error."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from fleetd.journal import blobs
from fleetd.journal.blobs import LIMIT_BYTES, FileBlobs


@pytest.mark.asyncio
async def test_texts_are_added_and_the_newest_are_kept(tmp_path: Path) -> None:
    made = FileBlobs(tmp_path / "logs")
    assert await made.get("r-1", "web1") is None
    await asyncio.gather(*(made.add("r-1", "web1", f"line {n}\n") for n in range(20)))
    assert sorted(str(await made.get("r-1", "web1")).splitlines()) == sorted(f"line {n}" for n in range(20))
    await made.add("r-1", "web1", "\N{EURO SIGN}" * LIMIT_BYTES + "the end")
    kept = await made.get("r-1", "web1")
    assert kept is not None
    assert kept.endswith("the end")
    assert (tmp_path / "logs/r-1/web1.log").stat().st_size == LIMIT_BYTES
    assert [file.name for file in (tmp_path / "logs/r-1").iterdir()] == ["web1.log"]


def test_the_oldest_rollouts_are_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blobs, "ROLLOUTS_LIMIT", 3)

    async def fill() -> None:
        made = FileBlobs(tmp_path)
        for number in range(8, 13):
            await made.add(f"r-{number}", "web1", "x")

    asyncio.run(fill())
    assert {place.name for place in tmp_path.iterdir()} == {"r-10", "r-11", "r-12"}


@pytest.mark.asyncio
async def test_no_name_leads_out_of_the_directory(tmp_path: Path) -> None:
    (tmp_path / "secret.log").write_text("secret")
    made = FileBlobs(tmp_path / "logs")
    await made.add("r-1", "web1", "x")
    for rollout, host in (("r-1", "../../secret"), ("..", "secret"), ("r-1", ""), ("r-1/..", "x"), (".", ".")):
        assert await made.get(rollout, host) is None
        with pytest.raises(ValueError, match="is no name"):
            await made.add(rollout, host, "x")


@pytest.mark.asyncio
async def test_a_disk_that_refuses_is_told_and_stops_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "logs").write_text("")
    await FileBlobs(tmp_path / "logs").add("r-1", "web1", "x")
    assert "a log could not be kept" in "".join(capsys.readouterr())
