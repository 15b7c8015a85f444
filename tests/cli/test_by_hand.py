"""Commands for a person at a terminal: what happened, the way onto hosts, first files, and what is wrong here."""

from __future__ import annotations

import asyncio
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from fleetd.api.hooks import HookSpec
from fleetd.cli.hosts import ssh_words
from fleetd.config import load
from fleetd.controller.commands import (
    ApproveWave,
    DenyWave,
    PauseRollout,
    PromoteRollout,
    ResumeRollout,
    RetryHost,
    SkipHost,
)
from fleetd.ports import Record
from tests.cli.conftest import FLEETCTL, Daemon
from tests.fakes.control import record, rollout_document

SPEC = {"kind": "deploy", "requested_by": "kim", "reason": "why", "revision": "rev", "on": "*"}


@pytest.mark.asyncio
async def test_what_happened_to_a_host_and_what_people_asked_for(daemon: Daemon) -> None:
    daemon.history.records = [
        Record(1, 1, 0.0, "r-1", "", "RolloutRequested", 1, {"spec": SPEC}),
        *(record(n) for n in range(2, 302)),
        Record(302, 1, 0.0, "r-1", "web2", "odd", 1, {}),
        Record(303, 1, 0.0, "r-1", "web2", "HostSkipped", 1, {"reason": "skipped by ben: broken"}),
        Record(304, 1, 0.0, "r-1", "", "AbortRequested", 1, {"by": "ann", "reason": "no"}),
        Record(305, 1, 0.0, "r-1", "web3", "HostSkipped", 1, {"reason": "r-1 was aborted"}),
    ]
    code, out, _err = await daemon.run("history", "web1")
    assert (code, len(out.splitlines())) == (0, 300)
    assert (await daemon.run("history", "web9"))[0] == 1
    _code, out, _err = await daemon.run("audit")
    assert [line.split("  ")[1:3] for line in out.splitlines()] == [
        ["kim", "deploy r-1 of rev to *"],
        ["ben", "skip web2 in r-1"],
        ["ann", "abort r-1"],
    ]
    _code, out, _err = await daemon.run("events", "--host", "web2", "--rollout", "r-1")
    assert [line.split()[0] for line in out.splitlines()] == ["302", "303"]


@pytest.mark.asyncio
async def test_events_are_followed(daemon: Daemon) -> None:
    daemon.history.records = [record(1)]
    process = await daemon.start("--json", "events", "--follow")
    assert process.stdout is not None
    assert json.loads(await asyncio.wait_for(process.stdout.readline(), 30))["seq"] == 1
    daemon.history.records.append(record(2))
    assert json.loads(await asyncio.wait_for(process.stdout.readline(), 30))["seq"] == 2
    process.terminate()
    await process.communicate()


@pytest.mark.asyncio
async def test_a_reader_that_has_enough_is_no_error(daemon: Daemon) -> None:
    daemon.history.records = [record(n) for n in range(1, 5000)]
    words = f"fleetctl --server unix:{daemon.socket} events | head -n 1; echo ${{PIPESTATUS[0]}}"
    path = f"{Path(FLEETCTL).parent}:{os.environ['PATH']}"
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *("bash", "-c", words), stdout=pipe, stderr=pipe, env={**os.environ, "PATH": path}
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert (out.decode().splitlines()[-1], err) == ("0", b"")


@pytest.mark.asyncio
async def test_one_host_and_a_broken_fleet(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, _err = await daemon.run("host", "web1")
    assert (code, out.splitlines()[0]) == (0, "name: web1")
    daemon.control.problem = "fleet.toml: line 3"
    code, out, _err = await daemon.run("status")
    assert (code, out.splitlines()[0]) == (0, "the fleet is broken, nothing new starts: fleet.toml: line 3")


@pytest.mark.asyncio
async def test_what_a_host_wrote_is_printed_and_steers_no_terminal(daemon: Daemon) -> None:
    daemon.blobs.texts["r-1", "web1"] = "== trial\nstarting\x1b[2J web\n"
    code, out, _err = await daemon.run("logs", "r-1", "web1")
    assert (code, out) == (0, "== trial\nstarting\N{REPLACEMENT CHARACTER}[2J web\n")
    code, _out, err = await daemon.run("logs", "r-1", "web2")
    assert (code, "r-1 has no log of 'web2'" in err) == (1, True)
    assert (await daemon.run("logs", "r-9", "web1"))[0] == 1
    daemon.blobs.texts["r-1", "web1.build"] = "gcc> CC\n"
    assert (await daemon.run("logs", "r-1", "web1", "--build"))[:2] == (0, "gcc> CC\n")
    code, _out, err = await daemon.run("logs", "r-1", "web2", "--build")
    assert (code, "nothing was built for it" in err) == (1, True)
    # The name under which the other kind of log is kept is no host's.
    assert (await daemon.run("logs", "r-1", "web1.build"))[0] == 1


def fleet_host(name: str, **changes: Any) -> dict[str, Any]:
    return {"name": name, "addresses": [name], "port": 22, "user": "root", "jump": None, **changes}


def test_the_way_onto_a_host() -> None:
    hosts = {
        "web1": fleet_host("web1", addresses=["10.0.0.1", "x"], port=2222, user="deploy", jump="gw2"),
        "gw2": fleet_host("gw2", addresses=["fd00::2"], jump="gw1"),
        "gw1": fleet_host("gw1", port=2200),
        "loop": fleet_host("loop", jump="loop"),
    }
    assert ssh_words(hosts["gw1"], hosts) == ["ssh", "-p", "2200", "-o", "HostKeyAlias=gw1", "--", "root@gw1"]
    assert ssh_words(hosts["web1"], hosts)[5:] == ["-J", "root@gw1:2200,root@[fd00::2]:22", "--", "deploy@10.0.0.1"]
    assert ssh_words(hosts["loop"], hosts)[-1] == "root@loop"
    hosts["nat1"] = {**hosts["gw1"], "name": "nat1", "addresses": ["unix:/run/a b"]}
    assert ssh_words(hosts["nat1"], hosts)[5:] == ["-o", "ProxyCommand=nc -U '/run/a b'", "--", "root@nat1"]
    hosts["nat1"]["addresses"].append("10.0.0.9")
    assert ssh_words(hosts["nat1"], hosts)[5:] == ["--", "root@10.0.0.9"]


@pytest.fixture
def ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An ssh that only says what it was called with; on web2 it fails."""
    program = tmp_path / "bin" / "ssh"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\necho "$@"\ncase "$*" in *root@web2*) exit 3;; esac\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")


@pytest.mark.asyncio
@pytest.mark.usefixtures("ssh")
async def test_ssh_and_exec_use_the_fleet_s_addresses(daemon: Daemon) -> None:
    code, out, _err = await daemon.run("ssh", "web1", "--", "uptime", "-p")
    assert (code, out) == (0, "-p 22 -o HostKeyAlias=web1 -- root@web1 uptime -p\n")
    code, _out, err = await daemon.run("ssh", "web9")
    assert (code, "there is no host 'web9'" in err) == (1, True)
    code, out, err = await daemon.run("exec", "--on", "web1", "--", "uptime")
    assert (code, err) == (0, "")
    assert out.startswith("web1  -o BatchMode=yes -o ConnectTimeout=10 -p 22")
    code, out, err = await daemon.run("--json", "exec", "--", "true")
    assert code == 1
    assert err == "fleetctl: 1 of 3 hosts did not end with 0\n"
    assert {(line["host"], line["status"]) for line in map(json.loads, out.splitlines())} == {
        *(("web1", 0), ("web2", 3), ("db1", 0))
    }


@pytest.mark.asyncio
async def test_exec_says_what_it_cut_and_takes_no_input_from_its_caller(
    daemon: Daemon, tmp_path: Path, ssh: None
) -> None:
    del ssh
    (tmp_path / "bin" / "ssh").write_text("#!/bin/sh\ncat\nhead -c 1048579 /dev/zero | tr '\\0' x\n")
    words = ("--json", "exec", "--on", "web1", "--", "true")
    code, out, _err = await daemon.run(*words, prefix=("sh", "-c", 'echo typed | "$@"', "sh"))
    output = json.loads(out)["output"]
    assert (code, output[:1]) == (0, "x")
    assert output.endswith("x\n(cut: 3 bytes more)")


@pytest.mark.asyncio
async def test_first_files_are_good_and_never_written_over(daemon: Daemon, tmp_path: Path) -> None:
    place = tmp_path / "new"
    words = ("init", str(place), "--host", "gw=127.0.0.1", "--host", "web1=127.0.0.1")
    code, out, _err = await daemon.run(*words)
    assert code == 0
    assert "ssh-ed25519 " in out
    assert load(str(place / "config.toml"), {}).identity == place / "id_ed25519"
    assert stat.S_IMODE((place / "id_ed25519").stat().st_mode) == 0o600
    code, out, err = await daemon.run("check", "--config", str(place / "config.toml"))
    assert (code, out.splitlines()[0], err) == (0, "2 hosts, 0 checks", "")
    assert "no contact is made with gw, web1: no host_key" in out
    before = {file.name: file.read_text() for file in place.iterdir()}
    code, _out, err = await daemon.run(*words)
    assert (code, "is there already; nothing was written" in err) == (1, True)
    assert {file.name: file.read_text() for file in place.iterdir()} == before
    for odd in ("web1", "=x", "web1=", "web1=-x", 'web1="'):
        assert (await daemon.run("init", str(tmp_path / "other"), "--host", odd))[0] == 1
    assert not (tmp_path / "other").exists()


@pytest.mark.asyncio
async def test_doctor_says_what_is_wrong(daemon: Daemon, tmp_path: Path) -> None:
    await daemon.run("init", str(tmp_path / "new"), "--host", "web1=127.0.0.1")
    words = ("--json", "doctor", "--config", str(tmp_path / "new" / "config.toml"))
    code, out, _err = await daemon.run(*words)
    assert (code, "no contact is made with web1" in out) == (1, True)
    (tmp_path / "new" / "known").write_text("")
    with (tmp_path / "new" / "config.toml").open("a") as file:
        file.write('known_hosts = "known"\n')
    code, out, _err = await daemon.run(*words)
    looked = {one["name"]: one for one in json.loads(out)["checks"]}
    assert (code, [name for name, one in looked.items() if not one["ok"]]) == (0, []), out
    (tmp_path / "new" / "fleet.toml").write_text("[hosts.web1\n")
    daemon.control.problem = "fleet.toml: line 1"
    code, out, _err = await daemon.run(*words)
    looked = {one["name"]: one for one in json.loads(out)["checks"]}
    assert (code, [name for name, one in looked.items() if not one["ok"]]) == (1, ["configuration", "daemon"])
    await daemon.runner.cleanup()
    code, out, _err = await daemon.run("doctor", "--config", str(tmp_path / "new" / "config.toml"))
    assert code == 1
    assert [line.split()[0] for line in out.splitlines()] == ["WRONG", "ok", "ok", "WRONG", "WRONG"]


@pytest.mark.asyncio
async def test_a_rollout_is_taken_back_by_its_name(daemon: Daemon) -> None:
    daemon.history.add(rollout_document("r-1", "rolled-back", counts={"rolled-back": 1}))
    code, out, _err = await daemon.run("revert", "r-1", "--reason", "bad")
    assert (code, out.startswith("r-1  rolled-back")) == (2, True)
    assert "web1 is named twice" in (await daemon.run("plan", "--toplevel", "web1=/a", "--toplevel", "web1=/b"))[2]


@pytest.mark.asyncio
async def test_tokens_are_listed_and_taken_away(daemon: Daemon, tmp_path: Path) -> None:
    place = ("--state-directory", str(tmp_path))
    for name in ("ci", "ci", "kim"):
        assert (await daemon.run("token", "create", name, "--scope", "read", *place))[0] == 0
    file = tmp_path / "token"
    file.write_text((await daemon.run("token", "create", "last", "--scope", "read", "--scope", "deploy", *place))[1])
    _code, out, _err = await daemon.run("token", "list", *place)
    lines = [line.split("  ") for line in out.splitlines()]
    assert [(line[1], line[2]) for line in lines][2:] == [("kim", "read"), ("last", "read,deploy")]
    assert "fltd_" not in out
    assert (await daemon.run("--token-file", str(file), "rollouts"))[0] == 0
    assert (await daemon.run("token", "revoke", lines[3][0], *place))[1] == "1 revoked\n"
    assert (await daemon.run("--token-file", str(file), "rollouts"))[0] == 1
    assert (await daemon.run("token", "revoke", "ci", *place))[1] == "2 revoked\n"
    code, _out, err = await daemon.run("token", "revoke", "ci", *place)
    assert (code, "there is no token 'ci'" in err) == (1, True)
    shown = json.loads((await daemon.run("--json", "token", "list", *place))[1])["tokens"]
    assert [entry["name"] for entry in shown] == ["kim"]
    assert "sha256" not in shown[0]


@pytest.mark.asyncio
async def test_a_delivery_made_by_hand_is_one_as_its_sender_makes_it(daemon: Daemon, tmp_path: Path) -> None:
    await daemon.run("init", str(tmp_path / "new"), "--host", "web1=127.0.0.1")
    config = tmp_path / "new" / "config.toml"
    (tmp_path / "new" / "secret").write_text("whsec_c2VjcmV0")
    hooks = {"hub": ("github", "signature"), "lab": ("gitlab", "signature"), "old": ("gitlab", "token")}
    hooks |= {"tea": ("gitea", "signature"), "forge": ("forgejo", "signature")}
    hooks |= {"ci": ("bearer", "token"), "std": ("standard", "signature")}
    with config.open("a") as file:
        for name, (provider, auth) in hooks.items():
            file.write(f'[webhooks.{name}]\nprovider = "{provider}"\nauth = "{auth}"\nsecrets = ["secret"]\n')
            file.write('refs = ["refs/heads/main"]\n')
    daemon.hooks.update(
        {
            name: HookSpec(provider, auth, (b"whsec_c2VjcmV0",), ("refs/heads/main",), "default", "")
            for name, (provider, auth) in hooks.items()
        }
    )
    words = ("--config", str(config))
    _code, out, _err = await daemon.run("hook", "list", *words)
    assert len(out.splitlines()) == len(hooks)
    for name in hooks:
        first = await daemon.run("hook", "send", name, "a" * 40, "--delivery", "d-1", *words)
        assert (first[0], first[2]) == (0, "")
        assert (await daemon.run("hook", "send", name, "a" * 40, "--delivery", "d-1", *words))[1] == first[1]
    assert len(daemon.control.commands) == len(hooks)
    code, _out, err = await daemon.run("hook", "send", "hub", "a" * 40, "--ref", "refs/heads/x", *words)
    assert (code, "refs/heads/x is not one of" in err) == (4, True)
    code, _out, err = await daemon.run("hook", "send", "none", "a" * 40, *words)
    assert (code, "no webhook 'none' is configured" in err) == (1, True)
    assert (await daemon.run("hook", "send", "hub", "main", *words))[0] == 1


@pytest.mark.asyncio
async def test_a_rollout_is_explained(daemon: Daemon) -> None:
    assert (await daemon.run("explain", "r-1"))[:2] == (0, "r-1: rolling\n  waits (soak): a while\n")
    code, _out, err = await daemon.run("explain", "r-9")
    assert (code, err) == (1, "fleetctl: there is no rollout 'r-9'\n")


@pytest.mark.asyncio
async def test_what_a_person_says_arrives(daemon: Daemon) -> None:
    for word in ("pause", "resume", "promote", "approve", "deny"):
        assert (await daemon.run(word, "r-1", "--reason", "why"))[0] == 0
    for word in ("retry", "skip"):
        assert (await daemon.run(word, "r-1", "web1", "--reason", "why"))[0] == 0
    assert daemon.control.commands == [
        PauseRollout("r-1", "kim", "why"),
        ResumeRollout("r-1", "kim", "why"),
        PromoteRollout("r-1", "kim", "why"),
        ApproveWave("r-1", "kim", "why"),
        DenyWave("r-1", "kim", "why"),
        RetryHost("r-1", "web1", "kim", "why"),
        SkipHost("r-1", "web1", "kim", "why"),
    ]
