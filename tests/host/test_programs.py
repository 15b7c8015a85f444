"""Programs of the control node: run as written, ended in time, and nothing secret of them is shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleetd.host.programs import HIDDEN, TAIL_BYTES, ControlPrograms
from fleetd.model.fleet import Host
from fleetd.model.program import ControlCommand, ProgramEnd

HOST = Host("web1", ("unix:/run/web1", "10.0.0.11"), port=2222)


async def ended(*argv: str, stdin: Path | None = None, timeout_s: float = 20.0) -> ProgramEnd:
    command = ControlCommand(argv, timeout_s, None if stdin is None else str(stdin))
    return await ControlPrograms().run(command, HOST)


def is_running(pid: str) -> bool:
    status = Path(f"/proc/{pid}/status")
    return status.exists() and "State:\tZ" not in status.read_text()


@pytest.mark.asyncio
async def test_the_host_s_name_and_address_and_port_are_put_in_and_other_braces_stay() -> None:
    end = await ended("printf", "%s ", "{name}", "{address}:{port}", '{"ResetType": "On"}')
    assert end == ProgramEnd(True, "printf ended with 0", 'web1 10.0.0.11:2222 {"ResetType": "On"}')


@pytest.mark.asyncio
async def test_both_of_its_outputs_are_kept_as_plain_text_and_how_it_ended() -> None:
    end = await ended("sh", "-c", "echo out; printf '\\033[31mred\\033[0m\\n' >&2; exit 3")
    assert (end.well, end.said) == (False, "sh ended with 3")
    assert sorted(end.output.splitlines()) == ["out", "red"]


@pytest.mark.asyncio
async def test_what_it_is_given_is_never_shown(tmp_path: Path) -> None:
    secret = tmp_path / "passphrase"
    secret.write_text("correct horse\nstaple\n")
    end = await ended("sh", "-c", 'read -r a; echo "bad passphrase: $a"; cat; printf "st\\033[0maple"', stdin=secret)
    assert end == ProgramEnd(True, "sh ended with 0", f"bad passphrase: {HIDDEN}\n{HIDDEN}\n{HIDDEN}")


@pytest.mark.asyncio
async def test_no_end_of_a_secret_is_shown_where_the_output_was_cut(tmp_path: Path) -> None:
    secret = tmp_path / "passphrase"
    secret.write_text("correct horse battery staple\n")
    script = f'read -r a; i=0; while [ $i -lt {TAIL_BYTES} ]; do printf "%s;" "$a"; i=$((i + 20)); done'
    end = await ended("sh", "-c", script, stdin=secret)
    assert end.output.replace(HIDDEN, "").strip(";") == ""


@pytest.mark.asyncio
async def test_the_words_of_a_command_are_not_told_where_it_cannot_be_started(tmp_path: Path) -> None:
    end = await ended(str(tmp_path / "bmc"), "--password", "hunter2")
    assert end == ProgramEnd(False, "bmc cannot be started: No such file or directory", "")
    end = await ended("cat", stdin=tmp_path / "gone")
    assert end.said == f"cat cannot be started: No such file or directory: {tmp_path / 'gone'}"


@pytest.mark.asyncio
async def test_one_that_does_not_end_is_ended_with_what_it_started(tmp_path: Path) -> None:
    end = await ended("sh", "-c", f"echo begun; sleep 1000 & echo $! >{tmp_path}/pid; wait", timeout_s=1.0)
    assert (end.well, end.said, end.output) == (False, "sh did not end within 1s", "begun")
    pid = (tmp_path / "pid").read_text().strip()
    assert not is_running(pid)


@pytest.mark.asyncio
async def test_one_that_goes_on_and_on_is_ended() -> None:
    end = await ended("yes")
    assert (end.well, end.said) == (False, "yes wrote too much, and was ended")
    assert len(end.output) <= TAIL_BYTES
