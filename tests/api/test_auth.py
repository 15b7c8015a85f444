"""Who may do what: every route times every kind of caller, generated from the application itself."""

from __future__ import annotations

import grp
import os
import pwd
import stat
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from aiohttp import web

from fleetd.api import auth
from fleetd.api.app import Api
from fleetd.api.auth import Caller, peer_of
from fleetd.api.tokens import SCOPES, BrokenTokens, Tokens
from fleetd.errors import ForbiddenError
from tests.api.conftest import Served
from tests.fakes.control import FakeBlobs, FakeControl, FakeHistory, host_document, rollout_document

NEEDS = {
    ("GET", "/v1/health"): None,
    ("GET", "/v1/ready"): None,
    ("GET", "/v1/openapi.json"): None,
    ("GET", "/v1/fleet"): "read",
    ("GET", "/v1/hosts"): "read",
    ("GET", "/v1/hosts/{name}"): "read",
    ("POST", "/v1/hosts/{name}/clear"): "deploy",
    ("POST", "/v1/hosts/{name}/adopt"): "deploy",
    ("POST", "/v1/hosts/{name}/restore"): "deploy",
    ("PUT", "/v1/hosts/{name}/lock"): "deploy",
    ("DELETE", "/v1/hosts/{name}/lock"): "deploy",
    ("GET", "/v1/freeze"): "read",
    ("PUT", "/v1/freeze"): "deploy",
    ("DELETE", "/v1/freeze"): "deploy",
    ("POST", "/v1/hosts/{name}/diff"): "deploy",
    ("POST", "/v1/plan"): "read",
    ("POST", "/v1/rollouts"): "deploy",
    ("GET", "/v1/rollouts"): "read",
    ("GET", "/v1/rollouts/{id}"): "read",
    ("GET", "/v1/rollouts/{id}/hosts"): "read",
    ("GET", "/v1/rollouts/{id}/hosts/{name}/log"): "read",
    ("GET", "/v1/rollouts/{id}/progress"): "read",
    ("GET", "/v1/rollouts/{id}/explain"): "read",
    ("POST", "/v1/rollouts/{id}/pause"): "deploy",
    ("POST", "/v1/rollouts/{id}/resume"): "deploy",
    ("POST", "/v1/rollouts/{id}/promote"): "deploy",
    ("POST", "/v1/rollouts/{id}/approve"): "approve",
    ("POST", "/v1/rollouts/{id}/deny"): "approve",
    ("POST", "/v1/rollouts/{id}/hosts/{name}/retry"): "deploy",
    ("POST", "/v1/rollouts/{id}/hosts/{name}/skip"): "deploy",
    ("POST", "/v1/rollouts/{id}/abort"): "deploy",
    ("POST", "/v1/rollouts/{id}/rollback"): "deploy",
    ("POST", "/v1/rollback"): "deploy",
    ("POST", "/v1/reboots"): "deploy",
    ("GET", "/v1/events"): "read",
    ("GET", "/metrics"): "read",
    ("POST", "/v1/hooks/{name}"): "its own",
}
GUARDED = [(method, path, scope) for (method, path), scope in NEEDS.items() if scope in SCOPES]
CALLERS = [None, "fltd_wrong", "", "expired", *SCOPES]


def routes(application: web.Application) -> set[tuple[str, str]]:
    return {(r.method, r.resource.canonical) for r in application.router.routes() if r.resource and r.method != "HEAD"}


def test_no_route_is_missing_from_this_matrix(tmp_path: Path) -> None:
    application = Api(FakeControl(), FakeHistory(), Tokens(tmp_path), {}, FakeBlobs()).application()
    assert routes(application) == set(NEEDS)


@pytest.mark.asyncio
@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize(("method", "path", "scope"), GUARDED)
async def test_each_route_for_each_caller(
    served: Served, method: str, path: str, scope: str, caller: str | None
) -> None:
    served.history.add(rollout_document("r-1"), host_document("web1"))
    served.blobs.texts["r-1", "web1"] = "said"
    place = path.replace("{name}", "web1").replace("{id}", "r-1")
    # What nobody means by saying nothing.
    needed = {
        "/v1/reboots": {"on": "web1"},
        "/v1/freeze": {"reason": "work"},
        "/v1/hosts/{name}/lock": {"reason": "work"},
    }
    body = {"json": needed[path]} if path in needed and method in ("POST", "PUT") else {}
    status, document, headers = await served.ask(method, place, scope=caller, **body)
    if caller not in SCOPES:
        assert (status, document["kind"]) == (401, "unauthorized")
        assert headers["WWW-Authenticate"].startswith("Bearer")
    elif caller in (scope, "admin") or scope == "read":
        assert status in (200, 202)
    else:
        assert (status, document["kind"], document["exit_code"]) == (403, "forbidden", 4)
    if status >= 400:
        assert headers["Content-Type"].startswith("application/problem+json")
        assert served.control.commands == []


@pytest.mark.asyncio
@pytest.mark.parametrize("header", ["Basic eA==", "Bearer", "Bearer \u00e9\u00e9", "bearer  ", "fltd_x"])
async def test_an_odd_authorization_is_nobody(served: Served, header: str) -> None:
    for session in (served.tcp, served.unix):
        async with session.get("/v1/fleet", headers={"Authorization": header}) as response:
            assert response.status == 401


@pytest.mark.asyncio
async def test_health_and_ready_need_nobody(served: Served) -> None:
    assert (await served.ask("GET", "/v1/health", scope=None))[0] == 200
    assert (await served.ask("GET", "/v1/ready", scope=None))[0] == 200
    served.control.not_ready = ("the journal is being read",)
    status, document, _headers = await served.ask("GET", "/v1/ready", scope=None)
    assert (status, document["problems"]) == (503, ["the journal is being read"])


@pytest.mark.asyncio
async def test_the_peer_of_the_unix_socket_is_asked_for_by_its_user(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, int]] = []

    def peer(uid: int, gid: int) -> Caller | None:
        seen.append((uid, gid))
        return Caller("kim", ("admin",)) if len(seen) == 1 else None

    monkeypatch.setattr(auth, "peer_of", peer)
    async with served.unix.post("/v1/rollouts", json={}) as response:
        assert response.status == 202
    assert seen == [(os.getuid(), os.getgid())]
    assert served.control.commands[0].requested_by == "kim"
    async with served.unix.get("/v1/fleet") as response:
        assert response.status == 401
    async with served.tcp.get("/v1/fleet") as response:
        assert response.status == 401
    assert len(seen) == 2, "a TCP peer has no user to ask for"


def test_a_peer_is_root_or_of_the_group_or_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    kim = pwd.getpwuid(65534)
    assert peer_of(0, 0) == Caller("root", ("admin",))
    assert peer_of(kim.pw_uid, kim.pw_gid) is None
    monkeypatch.setattr(grp, "getgrnam", lambda _name: SimpleNamespace(gr_gid=4711))
    assert peer_of(kim.pw_uid, kim.pw_gid) is None
    monkeypatch.setattr(os, "getgrouplist", lambda _user, gid: [gid, 4711])
    assert peer_of(kim.pw_uid, kim.pw_gid) == Caller(kim.pw_name, ("admin",))
    assert peer_of(4_000_000_000, 1) is None


def test_a_token_is_kept_as_a_hash_for_its_owner_alone(tmp_path: Path) -> None:
    token = Tokens(tmp_path).create("ci", ("deploy",), 60)
    file = tmp_path / "tokens.json"
    assert token.startswith("fltd_")
    assert len(token) >= 5 + 43
    assert token not in file.read_text()
    assert token.removeprefix("fltd_") not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    found = Tokens(tmp_path).find(token, file.stat().st_mtime)
    assert found is not None
    assert (found.name, found.scopes) == ("ci", ("deploy",))
    assert Tokens(tmp_path).find(token, file.stat().st_mtime + 61) is None
    assert Tokens(tmp_path).find(token + "x", 0) is None


def test_two_that_create_at_once_lose_nothing(tmp_path: Path) -> None:
    made: list[str] = []
    threads = [
        threading.Thread(target=lambda n=n: made.append(Tokens(tmp_path).create(f"t{n}", ("read",), None)))
        for n in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sum(Tokens(tmp_path).find(token, 0) is not None for token in made) == 12


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_root_makes_tokens_that_the_daemon_can_read(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    os.chown(state, 65534, 65534)
    Tokens(state).create("ci", ("read",), None)
    assert (state / "tokens.json").stat().st_uid == 65534


@pytest.mark.parametrize("text", ["", "{", "{}", '[{"name": "x"}]', '["x"]'])
def test_a_damaged_file_lets_nobody_in_and_says_where(tmp_path: Path, text: str) -> None:
    (tmp_path / "tokens.json").write_text(text)
    with pytest.raises(BrokenTokens, match=r"tokens\.json"):
        Tokens(tmp_path).find("fltd_x", 0)
    assert BrokenTokens.http_status == 500


def test_no_scope_may_do_nothing() -> None:
    with pytest.raises(ForbiddenError):
        Caller("x", ()).require("read")
