"""Children end in time, with all that they started, and what they say is bounded and plain."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetd import process
from fleetd.process import ChildOutputTooLong, ChildTimeout, excerpt, plain, run


def sh(script: str) -> list[str]:
    return ["sh", "-c", script]


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def ends(pid: int) -> bool:
    """A process that was killed closes its files a moment before it is gone."""
    until = time.monotonic() + 1
    while is_alive(pid) and time.monotonic() < until:
        time.sleep(0.005)
    return not is_alive(pid)


def number_in(file: Path) -> int:
    until = time.monotonic() + 5
    while not (file.exists() and file.read_text().strip()):
        assert time.monotonic() < until, "the child wrote no number"
        time.sleep(0.01)
    return int(file.read_text())


@pytest.mark.asyncio
async def test_outcome_and_environment() -> None:
    done = await run(sh('echo "$GREETING"; echo oh >&2; exit 3'), timeout_s=5, env={"GREETING": "hi"})
    assert (done.status, done.stdout, done.stderr) == (3, b"hi\n", "oh\n")


@pytest.mark.asyncio
async def test_it_has_no_input() -> None:
    assert (await run(["cat"], timeout_s=5)).stdout == b""


@pytest.mark.parametrize("script", ["sleep 60 & echo $! >{0}; wait", "sleep 60 & echo $! >{0}", "trap '' TERM; {1}"])
@pytest.mark.asyncio
async def test_a_child_out_of_time_ends_with_its_children(
    script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "KILL_AFTER_S", 0.3)
    file = tmp_path / "pid"
    stubborn = f"sleep 60 & echo $! >{file}; while :; do sleep 60; done"
    begun = time.monotonic()
    with pytest.raises(ChildTimeout, match=r"sh did not end within 0\.5 s"):
        await run(sh(script.format(file, stubborn)), timeout_s=0.5)
    assert time.monotonic() - begun < 4
    assert ends(number_in(file))


@pytest.mark.asyncio
async def test_a_cancelled_wait_ends_the_child(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    task = asyncio.create_task(run(sh(f"echo $$ >{file}; exec sleep 60"), timeout_s=60))
    pid = await asyncio.to_thread(number_in, file)
    assert is_alive(pid)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ends(pid)


@pytest.mark.asyncio
async def test_output_is_bounded(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    with pytest.raises(ChildOutputTooLong, match="1000000"):
        await run(sh("yes | head -c 5000000"), timeout_s=20, output_limit_bytes=1_000_000)
    with pytest.raises(ChildOutputTooLong, match="1000000"):
        await run(sh(f"echo $$ >{file}; exec yes"), timeout_s=20, output_limit_bytes=1_000_000)
    assert ends(number_in(file))
    done = await run(sh("yes | head -c 3000000 >&2; echo end >&2"), timeout_s=20)
    assert len(done.stderr) <= process.STDERR_TAIL_BYTES
    assert done.stderr.endswith("end\n")


@pytest.mark.asyncio
async def test_what_cannot_be_started_is_an_oserror() -> None:
    with pytest.raises(OSError, match="no-such-program"):
        await run(["no-such-program"], timeout_s=5)


@pytest.mark.asyncio
async def test_no_descriptor_is_left() -> None:
    await run(["true"], timeout_s=5)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        await run(["true"], timeout_s=5)
    assert len(os.listdir("/proc/self/fd")) <= before


@pytest.mark.asyncio
async def test_what_a_killed_child_has_started_in_groups_of_its_own_ends_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "KILL_AFTER_S", 0.5)
    file = tmp_path / "pid"
    script = f"trap '' TERM; setsid sh -c 'echo $$ > {file}; exec sleep 1000' >/dev/null 2>&1 & while :; do wait; done"
    running = asyncio.create_task(run(sh(script), timeout_s=50))
    pid = await asyncio.to_thread(number_in, file)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert ends(pid)


@given(st.text())
def test_nothing_a_terminal_obeys_is_left(text: str) -> None:
    assert not set(plain(text)) & {chr(n) for n in (*range(9), *range(11, 32), 127)}


def test_colours_and_links_are_dropped_whole() -> None:
    assert plain("\x1b[31;1merror:\x1b[0m a\x1b]8;;http://x\x07b\x1b]8;;\x1b\\\tc\r\n") == "error: ab\tc\n"


def test_an_excerpt_has_both_ends_of_the_error() -> None:
    warnings = "warning: something\n" * 500
    assert excerpt(warnings + "error: short\n  at line 1\n") == "error: short\n  at line 1"
    long = excerpt("error: first\n" + "trace\n" * 5000 + "error: last")
    assert len(long) < 3600
    assert long.startswith("error: first")
    assert long.endswith("error: last")
    assert excerpt("no such word") == "no such word"
