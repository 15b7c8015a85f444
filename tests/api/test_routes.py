"""The routes of version 1, as a caller sees them: documents, pages, and a problem document for whatever is wrong."""

from __future__ import annotations

import asyncio
import io
import json
from typing import Any

import pytest

from fleetd.api import problems
from fleetd.controller.commands import (
    AbortRollout,
    AdoptHost,
    ApproveWave,
    ClearHost,
    DenyWave,
    PauseRollout,
    PromoteRollout,
    RebootHosts,
    RequestKey,
    RestoreHost,
    ResumeRollout,
    RetryHost,
    RollBackHosts,
    RollBackRollout,
    SkipHost,
    SubmitRollout,
    digest_of,
)
from fleetd.errors import FleetdError
from fleetd.model.goal import Goal
from tests.api.conftest import Served
from tests.fakes.control import host_document, record, refusals, rollout_document


@pytest.mark.asyncio
async def test_a_rollout_is_accepted_once_under_its_key(served: Served) -> None:
    body = {"toplevels": {"web1": "/nix/store/x"}, "on": "@web", "reason": "why", "policy": "p", "goal": "boot"}
    first = await served.ask("POST", "/v1/rollouts", scope="deploy", json=body, headers={"Idempotency-Key": "k"})
    again = await served.ask("POST", "/v1/rollouts", scope="deploy", json=body, headers={"Idempotency-Key": "k"})
    assert (first[0], first[1]["id"], first[2]["Location"]) == (202, "r-1", "/v1/rollouts/r-1")
    assert (again[0], again[1]["id"], again[2]["Location"]) == (200, "r-1", "/v1/rollouts/r-1")
    toplevels = {"web1": "/nix/store/x"}
    key = RequestKey("api:k", digest_of("/v1/rollouts", body))
    expected = SubmitRollout("the deploy one", key, None, toplevels, "@web", "p", Goal.BOOT, "why")
    assert served.control.commands == [expected]


@pytest.mark.asyncio
async def test_a_key_belongs_to_one_request(served: Served) -> None:
    key = {"Idempotency-Key": "k"}
    assert (await served.ask("POST", "/v1/rollouts", json={"on": "web1"}, headers=key))[0] == 202
    same = b'{ "on" : "web1", "reason": "", "policy": "default" }'
    assert (await served.ask("POST", "/v1/rollouts", data=same, headers=key))[0] == 200
    for path, body in (("/v1/rollouts", {"on": "web2"}), ("/v1/rollouts", {}), ("/v1/rollback", {"on": "web1"})):
        status, document, _headers = await served.ask("POST", path, json=body, headers=key)
        assert (status, document["kind"]) == (400, "usage")
    assert len(served.control.commands) == 1


@pytest.mark.asyncio
async def test_the_verbs_become_commands(served: Served) -> None:
    assert (await served.ask("POST", "/v1/rollouts/r-9/abort", scope="deploy", json={"reason": "no"}))[0] == 202
    assert (await served.ask("POST", "/v1/rollouts/r-9/rollback", scope="deploy"))[0] == 202
    assert (await served.ask("POST", "/v1/rollback", scope="deploy", json={"on": "web1", "to": "r-2"}))[0] == 202
    reboot = {"on": "@web", "when_needed": True}
    assert (await served.ask("POST", "/v1/reboots", scope="deploy", json=reboot))[0] == 202
    assert (await served.ask("POST", "/v1/reboots", scope="deploy", json={}))[0] == 400
    assert served.control.commands == [
        AbortRollout("r-9", "the deploy one", "no"),
        RollBackRollout("r-9", "the deploy one", ""),
        RollBackHosts("the deploy one", None, "web1", "r-2", ""),
        RebootHosts("the deploy one", None, "@web", "default", True, ""),
    ]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("word", "scope", "command"),
    [
        ("pause", "deploy", PauseRollout),
        ("resume", "deploy", ResumeRollout),
        ("promote", "deploy", PromoteRollout),
        ("approve", "approve", ApproveWave),
        ("deny", "approve", DenyWave),
    ],
)
async def test_what_is_said_to_a_rollout(served: Served, word: str, scope: str, command: Any) -> None:
    place = f"/v1/rollouts/r-9/{word}"
    assert (await served.ask("POST", place, scope=scope, json={"reason": "why"}))[0] == 202
    assert served.control.commands == [command("r-9", f"the {scope} one", "why")]


@pytest.mark.asyncio
@pytest.mark.parametrize(("word", "command"), [("retry", RetryHost), ("skip", SkipHost)])
async def test_what_is_said_of_a_host_in_a_rollout(served: Served, word: str, command: Any) -> None:
    place = f"/v1/rollouts/r-9/hosts/web1/{word}"
    assert (await served.ask("POST", place, scope="deploy", json={"reason": "why"}))[0] == 202
    assert served.control.commands == [command("r-9", "web1", "the deploy one", "why")]


@pytest.mark.asyncio
async def test_a_host_is_adopted_and_another_restored(served: Served) -> None:
    place, body = "/v1/hosts/web1/adopt", {"reason": "it is right"}
    status, host, _headers = await served.ask("POST", place, scope="deploy", json=body)
    assert (status, host["name"], host["seen"]["state"]) == (202, "web1", "unknown")
    key = {"Idempotency-Key": "k"}
    for expected in (202, 200):
        asked = await served.ask("POST", "/v1/hosts/web2/restore", scope="deploy", json={}, headers=key)
        assert (asked[0], asked[2]["Location"]) == (expected, "/v1/rollouts/r-2")
    adopt, restore = served.control.commands
    assert adopt == AdoptHost("web1", "the deploy one", "it is right")
    assert isinstance(restore, RestoreHost)
    assert (restore.host, restore.requested_by, restore.reason) == ("web2", "the deploy one", "")
    for word in ("adopt", "restore"):
        assert (await served.ask("POST", f"/v1/hosts/nobody/{word}", scope="deploy"))[0] == 404


@pytest.mark.asyncio
async def test_a_host_is_cleared_by_its_name_alone(served: Served) -> None:
    place, body = "/v1/hosts/web1/clear", {"reason": "gone"}
    status, document, _headers = await served.ask("POST", place, scope="deploy", json=body)
    assert (status, document["name"]) == (202, "web1")
    assert served.control.commands == [ClearHost("web1", "the deploy one", "gone")]
    for odd in ("*", "web9"):
        assert (await served.ask("POST", f"/v1/hosts/{odd}/clear"))[0] == 404
    assert len(served.control.commands) == 1


@pytest.mark.asyncio
async def test_a_difference_is_of_one_host_and_may_be_of_a_toplevel(served: Served) -> None:
    toplevel = f"/nix/store/{'1' * 32}-nixos-system-web1-2"
    for body in ({"revision": "a" * 40}, {"toplevel": toplevel}):
        status, document, _headers = await served.ask("POST", "/v1/hosts/web1/diff", scope="deploy", json=body)
        assert (status, document["host"]) == (200, "web1")
    first, second = served.control.plans
    assert (first.on, first.revision, dict(first.toplevels)) == ("web1", "a" * 40, {})
    assert (second.on, second.revision, dict(second.toplevels)) == ("web1", None, {"web1": toplevel})
    # It builds: who may only read may not.
    assert (await served.ask("POST", "/v1/hosts/web1/diff", scope="read", json={}))[0] == 403
    assert (await served.ask("POST", "/v1/hosts/nowhere/diff", scope="deploy", json={}))[0] == 404


@pytest.mark.asyncio
async def test_a_plan_of_a_named_revision_is_more_than_looking(served: Served) -> None:
    asked = {"revision": "path:/var/lib/fleetd"}
    for scope in ("read", "approve"):
        status, document, _headers = await served.ask("POST", "/v1/plan", scope=scope, json=asked)
        assert (status, document["kind"]) == (403, "forbidden")
    assert served.control.plans == []
    assert (await served.ask("POST", "/v1/plan", scope="deploy", json=asked))[0] == 200


@pytest.mark.asyncio
async def test_a_plan_does_nothing(served: Served) -> None:
    status, document, _headers = await served.ask("POST", "/v1/plan", scope="read", json={"on": "web1"})
    assert (status, document["waves"][0]["name"]) == (200, "canary")
    assert served.control.plans[0].on == "web1"
    assert served.control.commands == []


@pytest.mark.asyncio
async def test_pages_are_of_200_and_lose_nobody(served: Served) -> None:
    hosts = [host_document(f"h{n:03}", "trial" if n % 2 else "pending") for n in range(450)]
    for n in range(1, 402):
        served.history.add(rollout_document(f"r-{n}"), *hosts)
    served.control.known = (*tuple(f"h{n:03}" for n in range(400)), "db1")
    for path, name, key, total in (
        ("/v1/hosts", "hosts", "name", 401),
        ("/v1/hosts?on=*&state=idle", "hosts", "name", 400),
        ("/v1/hosts?state=trial", "hosts", "name", 1),
        ("/v1/rollouts", "rollouts", "id", 401),
        ("/v1/rollouts/r-1/hosts", "hosts", "name", 450),
        ("/v1/rollouts/r-1/hosts?state=trial", "hosts", "name", 225),
        ("/v1/rollouts/r-1/hosts?wave=other", "hosts", "name", 0),
    ):
        seen: list[str] = []
        cursor = ""
        while True:
            place = f"{path}{'&' if '?' in path else '?'}cursor={cursor}" if cursor else path
            status, page, _headers = await served.ask("GET", place)
            assert status == 200
            assert len(page[name]) <= 200
            seen += [entry[key] for entry in page[name]]
            if not page["next"]:
                break
            cursor = page["next"]
        assert len(set(seen)) == len(seen) == total


@pytest.mark.asyncio
async def test_a_host_is_asked_for_by_its_name_and_never_by_a_selector(served: Served) -> None:
    assert (await served.ask("GET", "/v1/hosts/web2"))[1]["name"] == "web2"
    for odd in ("*", "none", "%40web"):
        status, document, _headers = await served.ask("GET", f"/v1/hosts/{odd}")
        assert (status, document["kind"]) == (404, "not-found")
    assert len((await served.ask("GET", "/v1/hosts"))[1]["hosts"]) == 3
    found = (await served.ask("GET", "/v1/hosts?on=*&state=trial"))[1]["hosts"]
    assert [host["name"] for host in found] == ["db1"]


@pytest.mark.asyncio
async def test_events_are_polled_by_number(served: Served) -> None:
    served.history.records = [record(n) for n in range(1, 302)]
    _status, first, _headers = await served.ask("GET", "/v1/events")
    assert (len(first["events"]), first["next"]) == (200, 200)
    assert first["events"][0]["at"] == "2026-01-01T00:00:01.000Z"
    _status, rest, _headers = await served.ask("GET", "/v1/events?after=200")
    assert [event["seq"] for event in rest["events"]] == list(range(201, 302))
    _status, end, _headers = await served.ask("GET", "/v1/events?after=301")
    assert end == {"events": [], "next": 301}


@pytest.mark.asyncio
@pytest.mark.parametrize("after", ["x", "-1", "", "\u00b2", "9" * 30, "9" * 5000])
async def test_an_odd_number_is_a_problem_and_no_crash(served: Served, after: str) -> None:
    status, document, _headers = await served.ask("GET", "/v1/events", params={"after": after})
    assert (status, document["kind"]) == (400, "usage")


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b" ", "bad-json"),
        (b"{", "bad-json"),
        (b"\xff\xfe{}", "bad-json"),
        (b"[" * 100_000, "bad-json"),
        (b"[]", "usage"),
        (b'"text"', "usage"),
        (b'{"goal": "explode"}', "usage"),
        (b'{"revison": "x"}', "usage"),
        (b'{"on": 3}', "usage"),
        (b'{"reason": "' + b"x" * 10_001 + b'"}', "usage"),
    ],
)
async def test_a_bad_body_starts_nothing(served: Served, body: bytes, kind: str) -> None:
    status, document, headers = await served.ask("POST", "/v1/rollouts", data=body)
    assert (status, document["kind"]) == (400, kind)
    assert headers["Content-Type"].startswith("application/problem+json")
    assert served.control.commands == []


@pytest.mark.asyncio
@pytest.mark.parametrize("key", ["", "k" * 201, "a\tb", "\u00e9"])
async def test_an_odd_idempotency_key_is_refused(served: Served, key: str) -> None:
    status, document, _headers = await served.ask("POST", "/v1/rollouts", headers={"Idempotency-Key": key})
    assert (status, document["kind"]) == (400, "usage")


@pytest.mark.asyncio
@pytest.mark.parametrize("path", ["/v1/hosts?stat=trial", "/v1/rollouts?cursor=", "/v1/rollouts/r-1?x=1", "/v1/fleet?"])
async def test_a_parameter_that_is_not_known_is_no_filter(served: Served, path: str) -> None:
    status, document, _headers = await served.ask("GET", path)
    assert (status, document.get("kind")) == ((200, None) if path.endswith("?") else (400, "usage"))


@pytest.mark.asyncio
async def test_a_caller_cannot_take_a_delivery_s_key(served: Served) -> None:
    await served.ask("POST", "/v1/rollouts", headers={"Idempotency-Key": "hook:hub:1"})
    assert set(served.control.keys) == {"api:hook:hub:1"}


@pytest.mark.asyncio
async def test_errors_of_the_server_itself_are_problems_too(served: Served) -> None:
    status, document, _headers = await served.ask("GET", "/v1/nothing")
    assert (status, document["kind"]) == (404, "not-found")
    status, document, headers = await served.ask("DELETE", "/v1/rollouts")
    assert (status, document["kind"]) == (405, "method-not-allowed")
    assert set(headers["Allow"].split(",")) == {"GET", "POST"}
    status, document, _headers = await served.ask("POST", "/v1/rollouts", data=io.BytesIO(b" " * (1024 * 1024 + 1)))
    assert (status, document["kind"]) == (413, "too-large")
    status, document, _headers = await served.ask("GET", "/v1/rollouts/r-404")
    assert (status, document["kind"]) == (404, "not-found")
    assert (await served.ask("GET", "/v1/rollouts/r-404/hosts"))[0] == 404


@pytest.mark.asyncio
@pytest.mark.parametrize("error", refusals(), ids=lambda error: type(error).__name__)
async def test_what_the_controller_says_is_passed_on(served: Served, error: FleetdError) -> None:
    served.control.error = error
    for path in ("/v1/rollouts", "/v1/plan", "/v1/rollback", "/v1/rollouts/r-1/abort"):
        status, document, headers = await served.ask("POST", path)
        assert (status, document["kind"]) == (error.http_status, error.kind)
        assert (document["detail"], document["exit_code"]) == (str(error), error.exit_code)
        assert ("Retry-After" in headers) == (status == 503)


@pytest.mark.asyncio
async def test_an_error_inside_tells_the_caller_nothing_of_it(
    served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    served.control.error = RuntimeError("the inside")
    status, document, headers = await served.ask("POST", "/v1/rollouts")
    assert (status, document["kind"]) == (500, "internal")
    assert "inside" not in json.dumps(document).replace("an error inside fleetd", "")
    assert headers["Content-Type"].startswith("application/problem+json")
    told = "".join(capsys.readouterr())
    assert "the inside" in told
    assert served.tokens["admin"] not in told


@pytest.mark.asyncio
async def test_a_body_that_drips_is_given_up(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(problems, "BODY_TIMEOUT_S", 0.2)
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    head = f"POST /v1/rollouts HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {served.tokens['deploy']}\r\n"
    writer.write(head.encode() + b"Content-Length: 10\r\n\r\n{")
    line = await asyncio.wait_for(reader.readline(), 10)
    assert b" 408 " in line
    writer.close()
    await writer.wait_closed()


@pytest.mark.asyncio
async def test_a_deploy_may_take_the_place_of_an_earlier_one(served: Served) -> None:
    body = {"on": "web1", "supersede": True}
    assert (await served.ask("POST", "/v1/rollouts", scope="deploy", json=body))[0] == 202
    (command,) = served.control.commands
    assert isinstance(command, SubmitRollout)
    assert command.supersede
    assert (await served.ask("POST", "/v1/rollouts", scope="deploy", json={"supersede": 1}))[0] == 400


@pytest.mark.parametrize("path", ["", "/hosts", "/hosts/web1/log"])
@pytest.mark.asyncio
async def test_a_rollout_that_is_kept_no_more_is_told_as_gone(served: Served, path: str) -> None:
    for rollout, status, kind in (("r-0", 410, "gone"), ("r-99", 404, "not-found")):
        answered, document, _headers = await served.ask("GET", f"/v1/rollouts/{rollout}{path}")
        assert (answered, document["kind"]) == (status, kind)
