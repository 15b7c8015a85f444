"""Rounds of checks over a real ssh connection and real sockets: three answers, and never an exception."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import asyncssh
import pytest
import pytest_asyncio
from aiohttp import web

from fleetd.host.port import SshHosts
from fleetd.model.check import (
    BUILT_IN_CHECKS,
    Check,
    CheckOutcome,
    CheckResult,
    CommandCheck,
    HttpCheck,
    TcpCheck,
    UnitCheck,
    Via,
)
from fleetd.model.facts import UNREADABLE
from fleetd.model.fleet import BootKind, Host
from fleetd.model.store_path import StorePath
from fleetd.ports import ProbeRequest
from fleetd.probes.rounds import Probes, judge_http, url_for
from tests.fakes.ssh_server import Answer, SshServer, cut_after, reply, silence

PASS, FAIL, ERROR = CheckOutcome.PASS, CheckOutcome.FAIL, CheckOutcome.ERROR
SYSTEM = StorePath(f"/nix/store/{'1' * 32}-nixos-system-web1-1")
OTHER = StorePath(f"/nix/store/{'2' * 32}-nixos-system-web1-2")
FACTS = {
    "id": "r-1.web1.1",
    "state": "trial",
    "current": str(SYSTEM),
    "booted": str(SYSTEM),
    "profile": str(SYSTEM),
    "boot_kind": "systemd-boot",
    "boot_default": str(SYSTEM),
    "boot_id": "boot-1",
    "uptime_s": "100",
    "machine_id": "m" * 32,
    "hostname": "web1",
    "system": "x86_64-linux",
    "needs_reboot": "no",
    "state_durable": "yes",
    "nix_free_bytes": "1",
    "nix_free_inodes": "1",
    "boot_free_bytes": "1",
    "nix_version": "2.26.3",
    "clock": "1.0",
    "failed": "",
    "active": "",
    "other_actors": "",
}
GREETING = b"".join(number.to_bytes(8, "little") for number in (0x5452EECB, 0x0207, 0))


class RealClock:
    """Loop time."""

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def document(**changes: str) -> Answer:
    """Return the helper's answer to ``facts`` or ``status``."""
    lines = "".join(f"{key}={value}\n" for key, value in (FACTS | changes).items())
    return reply(f"fleetd-host 1 1.7\n{lines}end ok facts\n".encode())


def serve(text: bytes, *, status: int = 0) -> Answer:
    """Return what greets without waiting for the end of its input, as a server does."""

    async def answer(process: asyncssh.SSHServerProcess[bytes]) -> None:
        await process.stdin.read(8)
        process.stdout.write(text)
        process.exit(status)

    return answer


@pytest_asyncio.fixture
async def server(tmp_path: Path) -> AsyncIterator[SshServer]:
    async with SshServer(tmp_path) as made:
        made.answers |= {"facts": document(), "status": document(), "--write": serve(GREETING)}
        yield made


@pytest_asyncio.fixture
async def probes(server: SshServer) -> AsyncIterator[Probes]:
    hosts = SshHosts(server.identity(), RealClock(), lambda _name: None)
    made = Probes(hosts)
    yield made
    await made.close()
    await hosts.close()


@pytest_asyncio.fixture
async def site() -> AsyncIterator[web.TCPSite]:
    """A web site whose page comes in two pieces."""

    async def page(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=500 if "bad" in request.path else 200)
        await response.prepare(request)
        await response.write(b"first, ")
        await asyncio.sleep(0.05)
        await response.write(b"then healthy")
        return response

    application = web.Application()
    application.router.add_get("/{tail:.*}", page)
    runner = web.AppRunner(application)
    await runner.setup()
    made = web.TCPSite(runner, "127.0.0.1", 0)
    await made.start()
    yield made
    await runner.cleanup()


@pytest.mark.asyncio
async def test_a_host_that_moved_is_asked_where_it_was_just_reached(
    server: SshServer, probes: Probes, site: web.TCPSite
) -> None:
    host = server.host(addresses=("127.0.0.2", "127.0.0.1"))
    port = port_of(site)
    checks = (
        Check("tcp", "*", TcpCheck(port)),
        Check("http", "*", HttpCheck(f"http://{{address}}:{port}/", contains="healthy")),
        Check("through it", "*", HttpCheck(f"http://{{address}}:{port}/", contains="healthy", via=Via.HOST)),
    )
    await probes.round(host, ProbeRequest((), ("login",), None, None))
    found = await probes.round(host, ProbeRequest(checks, (), None, None))
    assert {result.check: result.outcome for result in found if result.outcome is not CheckOutcome.PASS} == {}


def port_of(site: web.TCPSite) -> int:
    assert site._server is not None
    return int(site._server.sockets[0].getsockname()[1])  # type: ignore[attr-defined]


async def one(probes: Probes, host: Host, kind: object, timeout_s: float = 10) -> CheckResult:
    check = Check("it", "*", kind, timeout_s=timeout_s)  # type: ignore[arg-type]
    (result,) = await probes.round(host, ProbeRequest((check,), (), None, None))
    return result


async def built_in(probes: Probes, host: Host, **asked: StorePath) -> dict[str, CheckResult]:
    request = ProbeRequest((), BUILT_IN_CHECKS, asked.get("expect"), asked.get("boot_default"))
    return {result.check: result for result in await probes.round(host, request)}


# -- the built-in checks ----------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_good_host_passes_all_of_them_over_one_fresh_connection(server: SshServer, probes: Probes) -> None:
    results = await built_in(probes, server.host(), expect=SYSTEM, boot_default=SYSTEM)
    assert {name: result.outcome for name, result in results.items()} == dict.fromkeys(BUILT_IN_CHECKS, PASS)
    assert len(server.connections) == 1
    await built_in(probes, server.host())
    assert len(server.connections) == 2


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("refused", "unknown", "outcome", "text"),
    [
        ((), (), PASS, ""),
        ((), ("gone1",), PASS, ""),
        (("here",), (), FAIL, "no other host reaches it: web2: .*refused there"),
        ((), ("gone1", "gone2", "gone3", "web2"), FAIL, "gone1: .*gone3: "),
    ],
    ids=["reached", "reached by the second", "reached by nobody", "more than three are not asked"],
)
async def test_the_login_of_the_control_node_s_own_host_needs_a_witness(
    server: SshServer, refused: tuple[str, ...], unknown: tuple[str, ...], outcome: CheckOutcome, text: str
) -> None:
    """That the control node reaches itself says nothing of its network."""
    if refused:
        server.refused_ports.add(server.port)
    others = [server.host(name, addresses=("127.0.0.9",)) for name in unknown if name != "web2"]
    hosts = SshHosts(server.identity(), RealClock(), lambda _name: None)
    probes = Probes(hosts, lambda _host: [*others, server.host("web2")])
    # What web2 connects to is this server once more, by the name that it has there.
    own = server.host("localhost", addresses=("unix:/nowhere", "127.0.0.1"))
    (result,) = await probes.round(own, ProbeRequest((), ("login",), None, None))
    await hosts.close()
    assert (result.outcome, bool(re.search(text, result.text))) == (outcome, True)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("check", "changes", "text"),
    [
        ("units", {"failed": "bad.service"}, "bad.service failed"),
        ("units", {"down": "web.service"}, "web.service is down"),
        ("units", {"behind": "web.service"}, "web.service still runs what was before the switch"),
        ("route", {"route_ok": "no"}, "route"),
        ("state", {"state_durable": "no"}, "survive"),
        ("state", {"current": str(OTHER)}, f"runs {OTHER}"),
        ("state", {"boot_default": str(OTHER)}, f"boot {OTHER}"),
    ],
)
async def test_what_the_host_shows_fails_its_check(
    server: SshServer, probes: Probes, check: str, changes: dict[str, str], text: str
) -> None:
    server.answers |= {"facts": document(**changes), "status": document(**changes)}
    results = await built_in(probes, server.host(), expect=SYSTEM, boot_default=SYSTEM)
    assert results[check].outcome is FAIL
    assert text in results[check].text
    assert {name for name, result in results.items() if result.outcome is not PASS} == {check}


@pytest.mark.asyncio
async def test_a_systemd_that_does_not_answer_says_nothing_of_the_units(server: SshServer, probes: Probes) -> None:
    server.answers |= {"facts": document(), "status": document(down="init.scope")}
    assert (await built_in(probes, server.host()))["units"].outcome is ERROR


@pytest.mark.asyncio
async def test_a_boot_default_that_nobody_can_read_is_good_only_where_the_fleet_file_says_so(
    server: SshServer, probes: Probes
) -> None:
    server.answers["facts"] = document(boot_default=UNREADABLE)
    for boot, outcome in ((BootKind.AUTO, FAIL), (BootKind.EXTERNAL, PASS)):
        results = await built_in(probes, server.host(boot=boot), boot_default=SYSTEM)
        assert results["state"].outcome is outcome


@pytest.mark.asyncio
async def test_a_login_that_fails_fails_login_and_leaves_the_others_unasked(server: SshServer, probes: Probes) -> None:
    results = await built_in(probes, server.host(user="nobody"))
    assert results["login"].outcome is FAIL
    assert {result.outcome for name, result in results.items() if name != "login"} == {ERROR}


@pytest.mark.asyncio
@pytest.mark.parametrize("answer", [serve(b"Permission denied\n", status=1), serve(b"x" * 24), serve(b"")])
async def test_a_push_path_that_does_not_speak_its_protocol(server: SshServer, probes: Probes, answer: Answer) -> None:
    server.answers["--write"] = answer
    assert (await built_in(probes, server.host()))["redeployable"].outcome is FAIL


@pytest.mark.asyncio
async def test_a_link_that_dies_is_an_error_and_no_failure(server: SshServer, probes: Probes) -> None:
    server.answers["web.service"] = cut_after(b"")
    assert (await one(probes, server.host(), UnitCheck("web.service"))).outcome is ERROR


# -- the fleet file's checks ------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_units_and_commands_are_judged_by_their_exit(server: SshServer, probes: Probes) -> None:
    server.answers |= {"web.service": reply(b"active\n"), "bad.service": reply(b"failed\n", status=3)}
    server.answers |= {"good": reply(b""), "bad": reply(b"", stderr=b"disk is 97 % full\n", status=2)}
    host = server.host()
    assert (await one(probes, host, UnitCheck("web.service"))).outcome is PASS
    assert await one(probes, host, UnitCheck("bad.service")) == CheckResult("it", FAIL, "failed")
    assert (await one(probes, host, CommandCheck(("check", "good")))).outcome is PASS
    assert await one(probes, host, CommandCheck(("check", "bad"))) == CheckResult(
        "it", FAIL, "exit 2: disk is 97 % full"
    )


@pytest.mark.asyncio
async def test_a_command_that_a_signal_ends_has_failed(server: SshServer, probes: Probes) -> None:
    """It could be asked, and crashed; the link is well."""

    async def crash(process: asyncssh.SSHServerProcess[bytes]) -> None:
        await process.stdin.read()
        process.exit_with_signal("SEGV")

    server.answers["crash"] = crash
    result = await one(probes, server.host(), CommandCheck(("crash",)))
    assert (result.outcome, result.text) == (FAIL, "exit 139: ")


@pytest.mark.asyncio
async def test_a_name_that_the_controller_cannot_resolve_is_no_word_about_the_host(probes: Probes) -> None:
    host = Host("web1", ("no-such-host.invalid",))
    for kind in (TcpCheck(80), HttpCheck("http://{address}/")):
        assert (await one(probes, host, kind)).outcome is ERROR


@pytest.mark.asyncio
async def test_a_command_that_says_too_much_still_ends(server: SshServer, probes: Probes) -> None:
    server.answers["chatty"] = reply(b"a" * 200_000, status=0)
    result = await one(probes, server.host(), CommandCheck(("chatty",)))
    assert result.outcome in (PASS, ERROR, FAIL)
    assert len(result.text) <= 400


@pytest.mark.asyncio
async def test_no_answer_in_time_is_a_failure(server: SshServer, probes: Probes) -> None:
    server.answers["slow"] = silence
    result = await one(probes, server.host(), CommandCheck(("slow",)), timeout_s=0.3)
    assert result == CheckResult("it", FAIL, "no answer within 0.3 s")


@pytest.mark.asyncio
@pytest.mark.parametrize("via", list(Via))
async def test_http_reads_the_whole_page(server: SshServer, probes: Probes, site: web.TCPSite, via: Via) -> None:
    server_url = f"http://{{address}}:{port_of(site)}/page?x=1"
    assert (await one(probes, server.host(), HttpCheck(server_url, contains="then healthy", via=via))).outcome is PASS
    wrong = await one(probes, server.host(), HttpCheck(server_url, contains="sick", via=via))
    assert wrong.outcome is FAIL
    assert "does not contain 'sick'" in wrong.text


@pytest.mark.asyncio
@pytest.mark.parametrize("via", list(Via))
async def test_http_of_another_status_fails(server: SshServer, probes: Probes, site: web.TCPSite, via: Via) -> None:
    result = await one(probes, server.host(), HttpCheck(f"http://{{address}}:{port_of(site)}/bad", via=via))
    assert result == CheckResult("it", FAIL, "answered 500, expected 200")


@pytest.mark.asyncio
@pytest.mark.parametrize("via", list(Via))
async def test_nobody_listens(server: SshServer, probes: Probes, unused_tcp_port: int, via: Via) -> None:
    for kind in (HttpCheck(f"http://{{address}}:{unused_tcp_port}/", via=via), TcpCheck(unused_tcp_port, via)):
        assert (await one(probes, server.host(), kind)).outcome is FAIL


@pytest.mark.asyncio
@pytest.mark.parametrize("via", list(Via))
async def test_a_port_that_accepts(server: SshServer, probes: Probes, site: web.TCPSite, via: Via) -> None:
    assert (await one(probes, server.host(), TcpCheck(port_of(site), via))).outcome is PASS


@pytest.mark.asyncio
async def test_what_cannot_be_asked_is_an_error(server: SshServer, probes: Probes) -> None:
    result = await one(probes, server.host(user="nobody"), UnitCheck("web.service"))
    assert result.outcome is ERROR
    assert "could not ask on the host" in result.text


def test_urls_and_pages() -> None:
    host = Host("web1", ("fd00::1",), port=2222)
    kind = HttpCheck("http://{address}:8080/{name}/{port}")
    assert url_for(host, kind, host.addresses[0]) == "http://[fd00::1]:8080/web1/2222"
    assert judge_http(HttpCheck("", (200, 204)), 204, b"") == (PASS, "answered 204")
    assert judge_http(HttpCheck("", (200, 204)), 404, b"") == (FAIL, "answered 404, expected 200 or 204")
