"""Deliveries of CI, end to end: genuine or not, new or not, allowed or not; nothing starts unless all is right."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import io
import json
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from fleetd.api.hooks import within
from fleetd.controller.commands import RequestKey, SubmitRollout
from fleetd.errors import OverloadedError
from tests.api.conftest import HOOKS, SECRET, STANDARD, Served

COMMIT = "a" * 40
PUSH = json.dumps({"ref": "refs/heads/main", "after": COMMIT, "repository": {"clone_url": "https://evil"}}).encode()
Headers = dict[str, str]
Signer = Callable[[bytes], Headers]


def hub(body: bytes, secret: bytes = SECRET, event: str = "push", delivery: str = "d-1") -> Headers:
    signature = "sha256=" + hmac.new(secret, body, hashlib.sha256).hexdigest()
    return {"X-Hub-Signature-256": signature, "X-GitHub-Event": event, "X-GitHub-Delivery": delivery}


def tea(body: bytes) -> Headers:
    signature = hmac.new(SECRET, body, hashlib.sha256).hexdigest()
    return {"X-Gitea-Signature": signature, "X-Gitea-Event": "push", "X-Gitea-Delivery": "d-1"}


def forge(body: bytes) -> Headers:
    signature = hmac.new(SECRET, body, hashlib.sha256).hexdigest()
    return {"X-Forgejo-Signature": signature, "X-Forgejo-Event": "push", "X-Forgejo-Delivery": "d-1"}


def lab_token(_body: bytes) -> Headers:
    return {"X-Gitlab-Token": SECRET.decode(), "X-Gitlab-Event": "Push Hook", "Idempotency-Key": "d-1"}


def standard(body: bytes, at: float | None = None, delivery: str = "d-1") -> Headers:
    when = str(int(time.time() if at is None else at))
    key = base64.b64decode(STANDARD.removeprefix(b"whsec_"))
    total = hmac.new(key, f"{delivery}.{when}.".encode() + body, hashlib.sha256).digest()
    signature = "v1a,bm90IG91cnM= v1," + base64.b64encode(total).decode()
    return {"webhook-id": delivery, "webhook-timestamp": when, "webhook-signature": signature}


def lab(body: bytes) -> Headers:
    return {**standard(body), "X-Gitlab-Event": "Push Hook"}


def bearer(_body: bytes) -> Headers:
    return {"Authorization": f"Bearer {SECRET.decode()}", "Idempotency-Key": "d-1"}


SENDERS: dict[str, tuple[Signer, str]] = {
    "hub": (hub, "X-Hub-Signature-256"),
    "tea": (tea, "X-Gitea-Signature"),
    "forge": (forge, "X-Forgejo-Signature"),
    "lab-token": (lab_token, "X-Gitlab-Token"),
    "lab": (lab, "webhook-signature"),
}
NATIVE: dict[str, tuple[Signer, str]] = {"ci": (bearer, "Authorization"), "std": (standard, "webhook-signature")}
EVERY = SENDERS | NATIVE


def body_for(name: str) -> bytes:
    return PUSH if name in SENDERS else json.dumps({"revision": COMMIT, "ref": "refs/heads/main"}).encode()


async def send(served: Served, name: str, body: bytes, headers: Headers) -> tuple[int, dict[str, object]]:
    status, document, _headers = await served.ask("POST", f"/v1/hooks/{name}", scope=None, data=body, headers=headers)
    return status, document


@pytest.mark.asyncio
@pytest.mark.parametrize("name", EVERY)
async def test_a_genuine_delivery_starts_one_rollout_however_often_it_comes(served: Served, name: str) -> None:
    sign, _header = EVERY[name]
    body = body_for(name)
    first = await send(served, name, body, sign(body))
    again = await send(served, name, body, sign(body))
    assert (first[0], again[0]) == (202, 200)
    assert first[1]["id"] == again[1]["id"] == "r-1"
    (command,) = served.control.commands
    assert isinstance(command, SubmitRollout)
    assert command.key == RequestKey(f"hook:{name}:d-1", hashlib.sha256(body).hexdigest())
    assert command.revision == COMMIT
    assert command.requested_by == f"hook {name}"
    assert "evil" not in repr(command)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("name", "change"),
    [(name, change) for name in EVERY for change in ("missing", "empty", "wrong", "not-ascii")]
    + [(name, "other-body") for name in EVERY if name not in ("lab-token", "ci")],
)
async def test_a_delivery_that_is_not_genuine_starts_nothing(served: Served, name: str, change: str) -> None:
    sign, header = EVERY[name]
    body = body_for(name)
    headers = sign(body)
    match change:
        case "missing":
            del headers[header]
        case "empty":
            headers[header] = ""
        case "wrong":
            headers[header] = headers[header][:-6] + "AAAAAA"
        case "not-ascii":
            headers[header] += "\u00e9"
        case _:
            headers = sign(body + b" ")
    status, document = await send(served, name, body, headers)
    assert (status, document["kind"]) == (401, "unauthorized")
    assert document["detail"] == "the delivery is not signed as this hook demands"
    assert served.control.commands == []


@pytest.mark.asyncio
@pytest.mark.parametrize("name", EVERY)
async def test_bytes_that_are_no_text_are_a_wrong_signature_and_no_crash(served: Served, name: str) -> None:
    sign, header = EVERY[name]
    headers = {**sign(b""), "Host": "x", "Content-Length": "0", "Connection": "close", header: "RAW"}
    value = b"Bearer \xff\xfe" if header == "Authorization" else b"sha256=v1,\xff\xfe"
    lines = [f"{key}: {text}".encode().replace(b"RAW", value) for key, text in headers.items()]
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(b"\r\n".join([f"POST /v1/hooks/{name} HTTP/1.1".encode(), *lines, b"", b""]))
    assert b" 401 " in await asyncio.wait_for(reader.readline(), 10)
    writer.close()
    await writer.wait_closed()


@pytest.mark.asyncio
@pytest.mark.parametrize("name", ["lab", "std"])
async def test_a_signature_has_an_age_either_way(served: Served, name: str) -> None:
    body = body_for(name)
    event = {"X-Gitlab-Event": "Push Hook"}
    for off_s, expected in ((-400, 401), (400, 401), (-200, 202), (200, 200)):
        assert (await send(served, name, body, {**standard(body, time.time() + off_s), **event}))[0] == expected
    for at in ("\u00b2", "", "1e9", "9" * 5000, "-5"):
        headers = {**standard(body), **event, "webhook-timestamp": at}
        assert (await send(served, name, body, headers))[0] == 401


@pytest.mark.asyncio
@pytest.mark.parametrize("name", ["lab", "std"])
async def test_a_recorded_delivery_is_no_new_one_under_an_unsigned_header(served: Served, name: str) -> None:
    body = body_for(name)
    headers = {**standard(body), "X-Gitlab-Event": "Push Hook"}
    assert (await send(served, name, body, headers))[0] == 202
    for header in ("X-GitHub-Delivery", "X-Gitea-Delivery", "Idempotency-Key"):
        assert (await send(served, name, body, {**headers, header: "fresh"}))[0] == 200
    assert len(served.control.commands) == 1


@pytest.mark.asyncio
async def test_a_token_is_no_way_round_a_signature(served: Served) -> None:
    headers = {"X-Gitlab-Token": STANDARD.decode(), "X-Gitlab-Event": "Push Hook"}
    assert (await send(served, "lab", PUSH, headers))[0] == 401
    assert (await send(served, "hub", PUSH, bearer(PUSH)))[0] == 401


@pytest.mark.asyncio
async def test_both_secrets_of_a_rotation_hold(served: Served) -> None:
    assert (await send(served, "hub", PUSH, hub(PUSH, b"the newer one")))[0] == 202
    assert (await send(served, "hub", PUSH, hub(PUSH, b"an older one")))[0] == 401


@pytest.mark.asyncio
async def test_without_an_id_the_content_is_the_delivery(served: Served) -> None:
    headers = hub(PUSH)
    del headers["X-GitHub-Delivery"]
    assert [(await send(served, "hub", PUSH, headers))[0] for _ in range(2)] == [202, 200]
    assert set(served.control.keys) == {f"hook:hub:{hashlib.sha256(PUSH).hexdigest()}"}


@pytest.mark.asyncio
async def test_a_repeat_is_answered_also_when_its_hook_was_changed(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (await send(served, "hub", PUSH, hub(PUSH)))[0] == 202
    monkeypatch.setitem(HOOKS, "hub", replace(HOOKS["hub"], refs=("refs/heads/other",), policy="gone", on="@db"))
    status, document = await send(served, "hub", PUSH, hub(PUSH))
    assert (status, document["id"]) == (200, "r-1")
    assert (await send(served, "hub", PUSH, hub(PUSH, delivery="d-2")))[0] == 403
    assert (await send(served, "hub", PUSH, hub(PUSH, b"x")))[0] == 401
    assert len(served.control.commands) == 1


@pytest.mark.asyncio
async def test_another_body_under_a_known_delivery_is_refused(served: Served) -> None:
    assert (await send(served, "hub", PUSH, hub(PUSH)))[0] == 202
    other = PUSH.replace(COMMIT.encode(), b"b" * 40)
    status, document = await send(served, "hub", other, hub(other))
    assert (status, document["kind"]) == (400, "usage")
    assert "asked for something else" in str(document["detail"])
    assert len(served.control.commands) == 1


@pytest.mark.asyncio
async def test_an_unknown_hook_is_not_found(served: Served) -> None:
    status, document = await send(served, "other", PUSH, hub(PUSH))
    assert (status, document["kind"]) == (404, "not-found")


@pytest.mark.asyncio
@pytest.mark.parametrize("name", ["hub", "any-ref"])
async def test_a_ref_that_is_not_allowed_starts_nothing(served: Served, name: str) -> None:
    body = PUSH.replace(b"heads/main", b"heads/feature")
    status, document = await send(served, name, body, hub(body))
    assert (status, document["kind"]) == (403, "ref-not-allowed")
    assert "refs/heads/feature" in str(document["detail"])
    assert served.control.commands == []


@pytest.mark.asyncio
async def test_a_body_over_the_limit(served: Served) -> None:
    body = b" " * (1024 * 1024 + 1)
    path = "/v1/hooks/hub"
    status, document, _headers = await served.ask("POST", path, scope=None, data=io.BytesIO(body), headers=hub(body))
    assert (status, document["kind"]) == (413, "too-large")


@pytest.mark.asyncio
@pytest.mark.parametrize("body", [b"payload=%7B%7D", b"", b"\xff\xff", b"[" * 100_000])
async def test_no_json_is_told_only_to_who_signed_it(served: Served, body: bytes) -> None:
    status, document = await send(served, "hub", body, hub(body))
    assert (status, document["kind"]) == (400, "bad-json")
    assert (await send(served, "hub", body, hub(body, b"x")))[0] == 401


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("event", "body"),
    [
        ("ping", {"zen": "x"}),
        ("issues", {"action": "opened"}),
        ("push", {"ref": "refs/heads/main", "after": "0" * 40, "deleted": True}),
        ("push", {"ref": "refs/heads/feature", "after": "0" * 40}),
    ],
)
async def test_what_is_no_deploy_is_ignored(served: Served, event: str, body: dict[str, object]) -> None:
    raw = json.dumps(body).encode()
    status, document = await send(served, "hub", raw, hub(raw, event=event))
    assert (status, document["result"]) == (200, "ignored")
    assert document["reason"]
    assert served.control.commands == []


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "body",
    [[], "x", 3, {"ref": "refs/heads/main"}, {"ref": "refs/heads/main", "after": "--upload-pack=x"}, {"after": COMMIT}],
)
async def test_a_push_that_makes_no_sense_is_usage(served: Served, body: object) -> None:
    raw = json.dumps(body).encode()
    status, document = await send(served, "hub", raw, hub(raw))
    assert (status, document["kind"]) == (400, "usage")


@pytest.mark.asyncio
async def test_a_payload_stays_within_the_hosts_of_its_hook(served: Served) -> None:
    body = json.dumps({"on": "web1, @db", "toplevels": {"web1": "/nix/store/x"}, "reason": "build 7"}).encode()
    assert (await send(served, "ci", body, bearer(body)))[0] == 202
    (command,) = served.control.commands
    assert isinstance(command, SubmitRollout)
    assert (command.on, command.policy) == ("web1&@staging,@db&@staging", "careful")
    assert (command.reason, dict(command.toplevels)) == ("build 7", {"web1": "/nix/store/x"})


@pytest.mark.asyncio
async def test_toplevels_alone_stay_just_their_hosts_inside_the_border(served: Served) -> None:
    body = json.dumps({"toplevels": {"web1": "/nix/store/x"}}).encode()
    assert (await send(served, "ci", body, bearer(body)))[0] == 202
    (command,) = served.control.commands
    assert isinstance(command, SubmitRollout)
    assert command.on == "web1&@staging"


@pytest.mark.parametrize(
    ("asked", "allowed", "both"),
    [("", "", ""), ("a", "", "a"), ("", "@x", "@x"), ("a,b", "@x,@y", "a&@x,a&@y,b&@x,b&@y"), ("a&b", "!c", "a&b&!c")],
)
def test_the_hosts_of_both(asked: str, allowed: str, both: str) -> None:
    assert within(asked, allowed) == both


@pytest.mark.asyncio
@pytest.mark.parametrize("key", ["policy", "goal", "url"])
async def test_the_native_body_can_ask_for_no_more_than_it_may(served: Served, key: str) -> None:
    body = json.dumps({key: "x"}).encode()
    status, document = await send(served, "ci", body, bearer(body))
    assert (status, document["kind"]) == (400, "usage")
    assert key in str(document["detail"])


@pytest.mark.asyncio
async def test_what_is_not_on_disk_is_not_accepted(served: Served) -> None:
    served.control.error = OverloadedError("full")
    assert (await send(served, "hub", PUSH, hub(PUSH)))[0] == 503
    served.control.error = None
    assert (await send(served, "hub", PUSH, hub(PUSH)))[0] == 202


@pytest.mark.asyncio
@pytest.mark.parametrize("key", ["reason", "on", "ref"])
async def test_a_text_that_is_too_long_for_the_journal_is_refused(served: Served, key: str) -> None:
    body = json.dumps({key: "x" * 10_001}).encode()
    status, document = (await send(served, "ci", body, bearer(body)))[:2]
    assert (status, document["kind"]) == (400, "usage")
    assert served.control.commands == []


@pytest.mark.asyncio
async def test_a_body_that_is_not_encoded_as_it_says_is_the_sender_s_mistake(served: Served) -> None:
    status, document = (await send(served, "ci", b"abc", {**bearer(b"abc"), "Content-Encoding": "gzip"}))[:2]
    assert (status, document["kind"]) == (400, "usage")
