"""What ``fleetctl`` asks, what it prints, and how it ends."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path

import asyncssh
import pytest
from aiohttp import web

from fleetd.controller.commands import (
    AbortRollout,
    AdoptHost,
    RebootHosts,
    RestoreHost,
    RollBackHosts,
    SubmitRollout,
)
from fleetd.errors import (
    FleetdError,
    ForbiddenError,
    OverloadedError,
    RefusedError,
    SourceError,
    UnauthorizedError,
)
from fleetd.model.goal import Goal
from tests.cli.conftest import FLEETCTL, Daemon
from tests.fakes.control import doing_document, host_document, record, rollout_document

PATH = f"/nix/store/{'1' * 32}-nixos-system-web1-2"


ENDS = [
    ("succeeded", {}, 0),
    ("rolled-back", {}, 2),
    ("failed", {"error": {"kind": "failing", "detail": ""}}, 3),
    ("needs-operator", {}, 3),
    ("rolling", {"paused": True}, 3),
    ("incomplete", {}, 5),
    ("aborted", {}, 5),
    ("superseded", {}, 5),
    ("failed", {"error": {"kind": "source", "detail": ""}}, 7),
]


@pytest.mark.asyncio
@pytest.mark.parametrize(("phase", "changes", "code"), ENDS)
async def test_a_deploy_is_followed_to_its_end(
    daemon: Daemon, phase: str, changes: dict[str, object], code: int
) -> None:
    process = await daemon.start("deploy", "--toplevel", f"web1={PATH}", "--reason", "a test")
    assert process.stdout is not None
    first = await asyncio.wait_for(process.stdout.readline(), 30)
    assert first == b"web1  canary  trial  nixos-system-web1-2\n"
    document = rollout_document("r-1", phase, counts={"committed": 1}, **changes)
    daemon.history.add(document, host_document("web1", "committed"))
    out, err = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == code
    assert b"web1  canary  committed" in out
    shown = f"{phase}, paused" if changes.get("paused") else phase
    assert out.decode().splitlines()[-1].startswith(f"r-1  {shown}  1 committed")
    assert err == b""
    (command,) = daemon.control.commands
    assert isinstance(command, SubmitRollout)
    assert (dict(command.toplevels), command.reason, command.requested_by) == ({"web1": PATH}, "a test", "kim")


@pytest.mark.asyncio
async def test_following_in_json_is_a_document_a_line(daemon: Daemon) -> None:
    daemon.history.add(rollout_document("r-1", "succeeded", counts={"committed": 1}), host_document("web1"))
    code, out, _err = await daemon.run("--json", "deploy")
    lines = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [line.get("id") or line["name"] for line in lines] == ["web1", "r-1"]


@pytest.mark.asyncio
async def test_a_pipe_is_told_how_far_builds_are_and_why_one_failed(daemon: Daemon) -> None:
    daemon.history.add(rollout_document("r-1", "building"), host_document("web1", "pending", to=None))
    daemon.control.doing = [doing_document("web1")]
    process = await daemon.start("watch", "r-1")
    assert process.stdout is not None
    told = [await asyncio.wait_for(process.stdout.readline(), 30) for _ in range(3)]
    far = "3 of 12 built, 5 of 20 copied, 1.0 KiB of 4.0 KiB downloaded, now linux-6.6 +1"
    assert told[2].decode() == f"web1  building  {far}\n"
    reason = "x.drv does not build: error: builder failed\nthe end of its log:\nlinux> no \x1b[2J space"
    failed = host_document("web1", "failed", to=None, kind="source", reason=reason)
    daemon.history.add(rollout_document("r-1", "failed", error={"kind": "source", "detail": ""}), failed)
    out, _err = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 7
    assert out.decode().splitlines()[:3] == [
        "web1  canary  failed  -  (source: x.drv does not build: error: builder failed …)",
        "    the end of its log:",
        "    linux> no \N{REPLACEMENT CHARACTER}[2J space",
    ]


@pytest.mark.asyncio
async def test_in_json_progress_is_a_document_of_its_own(daemon: Daemon) -> None:
    daemon.control.doing = [doing_document("web1", step="copying")]
    process = await daemon.start("--json", "watch", "r-1")
    assert process.stdout is not None
    lines = [json.loads(await asyncio.wait_for(process.stdout.readline(), 30)) for _ in range(3)]
    assert lines[2] == {"progress": doing_document("web1", step="copying")}
    daemon.history.add(rollout_document("r-1", "succeeded", counts={"committed": 1}), host_document("web1"))
    await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 0


@pytest.mark.asyncio
async def test_detached_at_once_or_by_time_or_by_hand(daemon: Daemon) -> None:
    code, out, _err = await daemon.run("deploy", "--detach")
    assert (code, out.startswith("r-1  rolling")) == (0, True)
    code, _out, err = await daemon.run("watch", "r-1", "--timeout", "0")
    assert (code, "r-1 goes on (fleetctl watch r-1" in err) == (6, True)
    process = await daemon.start("watch", "r-1")
    assert process.stdout is not None
    await asyncio.wait_for(process.stdout.readline(), 30)
    process.send_signal(signal.SIGINT)
    _rest, told = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 130
    assert b"detached; r-1 goes on" in told


@pytest.mark.asyncio
async def test_a_lost_daemon_leaves_the_outcome_unknown(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    script = "import fleetd.cli.main as m, fleetd.cli.follow as f; f.LOST_DAEMON_S = 1.0; m.main()"
    argv = (sys.executable, "-c", script, "--server", f"unix:{daemon.socket}", "watch", "r-1")
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*argv, stdout=pipe, stderr=pipe)
    assert process.stdout is not None
    await asyncio.wait_for(process.stdout.readline(), 30)
    await daemon.runner.cleanup()
    _out, err = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 6
    assert b"the daemon does not answer; r-1 goes on" in err


@pytest.mark.asyncio
@pytest.mark.parametrize("error", [FleetdError("inside"), UnauthorizedError("expired")])
async def test_what_was_accepted_never_ends_as_if_nothing_was_started(daemon: Daemon, error: FleetdError) -> None:
    daemon.history.errors = [error] * 2
    code, _out, err = await daemon.run("deploy")
    assert (code, err) == (6, f"fleetctl: {error}; r-1 goes on (fleetctl watch r-1, fleetctl abort r-1)\n")
    assert (await daemon.run("watch", "r-1"))[0] == 1


@pytest.mark.asyncio
async def test_a_daemon_that_is_busy_is_asked_again(daemon: Daemon) -> None:
    daemon.history.add(rollout_document("r-1", "succeeded", counts={"committed": 1}), host_document("web1"))
    daemon.history.errors = [OverloadedError("200 connections")] * 2
    assert (await daemon.run("deploy"))[::2] == (0, "")


@pytest.mark.asyncio
async def test_a_daemon_that_dies_before_it_answers_is_asked_again_under_the_same_key(daemon: Daemon) -> None:
    keys: list[str] = []
    place = daemon.socket.with_name("dying")

    async def die_twice(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        sent = dict(line.split(": ", 1) for line in head.splitlines() if ": " in line)
        keys.append(sent["Idempotency-Key"])
        # Closing with a body unread would reset the connection, and with it an answer that is on its way.
        await reader.readexactly(int(sent["Content-Length"]))
        if len(keys) > 2:
            body = json.dumps(rollout_document("r-1")).encode()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            await writer.drain()
        writer.close()

    async with await asyncio.start_unix_server(die_twice, place):
        argv = (FLEETCTL, "--server", f"unix:{place}", "deploy", "--detach")
        process = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE)
        out, _err = await asyncio.wait_for(process.communicate(), 30)
    assert (process.returncode, out.startswith(b"r-1")) == (0, True)
    assert len(keys) == 3
    assert len(set(keys)) == 1


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RefusedError("frozen"), 4),
        (ForbiddenError("scope"), 4),
        (SourceError("nix says"), 7),
        (OverloadedError("f"), 6),
    ],
)
async def test_a_refusal_has_its_code_and_its_words(daemon: Daemon, error: Exception, code: int) -> None:
    daemon.control.error = error
    for words in (("deploy",), ("plan",), ("rollback",), ("abort", "r-1")):
        found, _out, err = await daemon.run(*words)
        assert (found, err) == (code, f"fleetctl: {error}\n")


@pytest.mark.asyncio
async def test_what_is_asked_arrives(daemon: Daemon) -> None:
    done = rollout_document("r-1", "succeeded", counts={})
    daemon.history.add(done)
    assert (await daemon.run("rollback", "--on", "@web", "--to", "r-0", "--reason", "x"))[0] == 0
    assert (await daemon.run("abort", "r-1", "--reason", "y"))[0] == 0
    assert (await daemon.run("plan", "a" * 40, "--on", "web1"))[0] == 0
    assert "openssl  3.0.1 -> 3.0.2" in (await daemon.run("diff", "web1", "a" * 40))[1]
    assert (await daemon.run("reboot", "--on", "@db", "--policy", "slow", "--when-needed", "--detach"))[0] == 0
    assert (await daemon.run("reboot"))[0] == 1
    assert (await daemon.run("adopt", "web1", "--reason", "it is right"))[0] == 0
    assert (await daemon.run("restore", "web2", "--detach"))[0] == 0
    back, abort, reboot, adopt, restore = daemon.control.commands
    assert adopt == AdoptHost("web1", "kim", "it is right")
    assert isinstance(restore, RestoreHost)
    assert (restore.host, restore.key is not None) == ("web2", True)
    assert isinstance(reboot, RebootHosts)
    assert (reboot.on, reboot.policy, reboot.when_needed) == ("@db", "slow", True)
    assert isinstance(back, RollBackHosts)
    assert (back.on, back.to, back.reason) == ("@web", "r-0", "x")
    assert back.key is not None
    assert abort == AbortRollout("r-1", "kim", "y")
    assert (daemon.control.plans[0].revision, daemon.control.plans[0].on) == ("a" * 40, "web1")


@pytest.mark.asyncio
async def test_what_hosts_say_of_a_dry_activation_is_printed_at_its_end(daemon: Daemon) -> None:
    daemon.history.add(
        rollout_document("r-1", "succeeded", goal="dry-activate", counts={"dry-activated": 1}),
        host_document("web1", "dry-activated"),
    )
    daemon.blobs.texts["r-1", "web1"] = "== dry-activate r-1.web1.1\nwould restart web.service\x1b\n"
    code, out, err = await daemon.run("deploy", "--goal", "dry-activate", "--yes")
    assert (code, err) == (0, "")
    assert "web1: == dry-activate r-1.web1.1\nwould restart web.service\N{REPLACEMENT CHARACTER}\n" in out
    (asked,) = daemon.control.commands
    assert isinstance(asked, SubmitRollout)
    assert asked.goal is Goal.DRY_ACTIVATE
    code, _out, err = await daemon.run("deploy", "--goal", "explode")
    assert (code, "goal" in err) == (1, True)


@pytest.mark.asyncio
async def test_lists(daemon: Daemon) -> None:
    daemon.history.records = [record(n) for n in range(1, 302)]
    daemon.history.add(rollout_document("r-2"), *(host_document(f"h{n:03}") for n in range(250)))
    code, out, _err = await daemon.run("rollout", "r-2")
    assert (code, len(out.splitlines())) == (0, 254)
    _code, out, _err = await daemon.run("--json", "rollouts")
    assert [document["id"] for document in json.loads(out)["rollouts"]] == ["r-2", "r-1"]
    _code, out, _err = await daemon.run("hosts", "--on", "web2")
    assert out == "web2  idle  -\n"
    _code, out, _err = await daemon.run("status")
    assert out.splitlines()[-1] == "3 hosts, 0 need a look"
    _code, out, _err = await daemon.run("events", "--after", "1")
    assert len(out.splitlines()) == 300
    code, _out, err = await daemon.run("rollout", "../hosts?x")
    assert (code, err) == (1, "fleetctl: there is no rollout '../hosts?x'\n")


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("deploy", "--toplevel", "web1"), "write HOST=PATH"),
        (("--token-file", "/nonexistent", "rollouts"), "--token-file /nonexistent"),
        (("--token-file", "/dev/null", "rollouts"), "holds no token"),
        (("--server", "https://x:1", "rollouts"), "write unix:/path or http://host:port"),
        (("--server", "http://127.0.0.1:x", "rollouts"), "--server"),
        (("--server", "http://127.0.0.1:1", "rollouts"), "is it running?"),
        (("token", "create", "x", "--scope", "root"), "there are: read, deploy, approve, admin"),
        (("token", "create", "x", "--scope", "read", "--expires", "soon"), "--expires"),
        (("check", "--config", "/nonexistent"), "/nonexistent: cannot be read"),
    ],
)
async def test_a_mistake_is_1_and_says_what_would_be_right(daemon: Daemon, words: tuple[str, ...], told: str) -> None:
    code, out, err = await daemon.run(*words)
    assert (code, out) == (1, "")
    assert told in err


@pytest.mark.asyncio
async def test_what_is_no_fleetd_is_told(daemon: Daemon) -> None:
    async def words(_request: web.Request) -> web.Response:
        return web.json_response(["not", "found"], status=404)

    application = web.Application()
    application.router.add_get("/v1/rollouts/{name}", words)
    runner = web.AppRunner(application)
    await runner.setup()
    place = daemon.socket.with_name("other")
    await web.UnixSite(runner, str(place)).start()
    code, _out, err = await daemon.run("--server", f"unix:{place}", "rollouts")
    assert (code, "is no fleetd (HTTP 404)" in err) == (1, True)
    code, _out, err = await daemon.run("--server", f"unix:{place}", "rollout", "r-1")
    await runner.cleanup()
    assert (code, "is no fleetd (HTTP 404)" in err) == (1, True)


@pytest.mark.asyncio
async def test_a_token_made_here_opens_the_door_there(daemon: Daemon, tmp_path: Path) -> None:
    words = ("token", "create", "ci", "--scope", "read", "--state-directory", str(tmp_path), "--expires", "1h")
    code, out, _err = await daemon.run(*words)
    assert (code, out.startswith("fltd_")) == (0, True)
    elsewhere = (*words[:6], str(tmp_path / "nowhere"))
    code, _out, err = await daemon.run(*elsewhere)
    assert (code, f"there is no {tmp_path}/nowhere" in err) == (1, True)
    assert not (tmp_path / "nowhere").exists()
    file = tmp_path / "token"
    file.write_text(json.loads((await daemon.run("--json", *words))[1])["token"])
    assert (await daemon.run("--token-file", str(file), "rollouts"))[0] == 0
    file.write_text(out)
    assert (await daemon.run("--token-file", str(file), "rollouts"))[0] == 0
    code, _out, err = await daemon.run("--token-file", str(file), "deploy")
    assert (code, "ci has read; this needs deploy" in err) == (4, True)
    file.write_text("fltd_other")
    assert (await daemon.run("--token-file", str(file), "rollouts"))[0] == 1


@pytest.mark.asyncio
async def test_check_tells_every_mistake_with_its_place(daemon: Daemon, tmp_path: Path) -> None:
    asyncssh.generate_private_key("ssh-ed25519").write_private_key(tmp_path / "key")
    config = tmp_path / "config.toml"
    config.write_text('[fleet]\npath = "fleet.toml"\n[ssh]\nidentity = "key"\n')
    (tmp_path / "fleet.toml").write_text('[hosts.web1]\nadress = "10.0.0.1"\n[hosts.web2]\nport = "x"\n')
    code, out, err = await daemon.run("check", "--config", str(config))
    assert (code, out) == (1, "")
    assert "hosts.web1.adress" in err
    assert "hosts.web2.port" in err
    (tmp_path / "fleet.toml").write_text('[hosts.web1]\nhost_key = "ssh-ed25519 AAAAC3Nza"\n')
    code, out, _err = await daemon.run("check", "--config", str(config))
    assert (code, out) == (0, "1 hosts, 0 checks: all good\n")


@pytest.mark.asyncio
async def test_help_is_fast_because_nothing_heavy_is_imported(daemon: Daemon) -> None:
    script = (
        "import sys, fleetd.cli.main as m\n"
        "try: m.main()\n"
        "finally: print([n for n in ('rich', 'aiohttp', 'pydantic', 'asyncio') if n in sys.modules], file=sys.stderr)"
    )
    started = time.monotonic()
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", script, "--help", stdout=pipe, stderr=pipe)
    out, err = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 0
    assert b"deploy" in out
    assert err == b"[]\n"
    assert time.monotonic() - started < 10, "0.2 s on an idle machine"


@pytest.mark.asyncio
async def test_a_socket_of_others_is_told(daemon: Daemon) -> None:
    daemon.socket.chmod(0)
    # Without these two, root is refused like anybody else (capabilities(7)).
    bounded = ("setpriv", "--bounding-set=-dac_override,-dac_read_search") if os.geteuid() == 0 else ()
    code, _out, err = await daemon.run("rollouts", prefix=bounded)
    assert (code, "in the group fleetd" in err) == (1, True)
