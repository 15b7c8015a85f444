"""Locks and the freeze, as a caller of the API sees them."""

from __future__ import annotations

import pytest

from fleetd.controller.commands import FreezeFleet, LockHost, UnfreezeFleet, UnlockHost
from fleetd.controller.holds import FrozenError
from tests.api.conftest import Served


@pytest.mark.asyncio
async def test_a_lock_is_put_and_shown_with_its_host(served: Served) -> None:
    body = {"reason": "disk swap", "owner": "ops", "expires_in": "4h"}
    status, host, _headers = await served.ask("PUT", "/v1/hosts/web1/lock", scope="deploy", json=body)
    assert status == 200
    assert host["lock"]["owner"] == "ops"
    assert served.control.commands == [LockHost("web1", "the deploy one", "disk swap", "ops", 14400.0)]
    status, host, _headers = await served.ask("DELETE", "/v1/hosts/web1/lock?reason=done", scope="deploy")
    assert (status, host["lock"]) == (200, None)
    assert served.control.commands[1] == UnlockHost("web1", "the deploy one", "done")


@pytest.mark.asyncio
async def test_the_fleet_is_frozen_and_thawed(served: Served) -> None:
    assert (await served.ask("GET", "/v1/freeze", scope="read"))[1] == {"freeze": None}
    status, document, _headers = await served.ask("PUT", "/v1/freeze", scope="deploy", json={"reason": "the holidays"})
    assert (status, document["freeze"]["reason"]) == (200, "the holidays")
    assert (await served.ask("GET", "/v1/freeze", scope="read"))[1] == document
    assert (await served.ask("DELETE", "/v1/freeze", scope="deploy"))[1] == {"freeze": None}
    expected = [FreezeFleet("the deploy one", "the holidays"), UnfreezeFleet("the deploy one")]
    assert served.control.commands == expected


@pytest.mark.asyncio
@pytest.mark.parametrize("path", ["/v1/hosts/web1/lock", "/v1/freeze"])
@pytest.mark.parametrize("body", [{}, {"reason": ""}, {"reason": "x", "expires_in": "0s"}, {"reason": "x", "until": 1}])
async def test_without_a_reason_or_with_no_time_nothing_is_held(served: Served, path: str, body: object) -> None:
    status, document, _headers = await served.ask("PUT", path, scope="deploy", json=body)
    assert (status, document["kind"]) == (400, "usage")
    assert served.control.commands == []


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/v1/hosts/web1/lock"),
        ("DELETE", "/v1/hosts/web1/lock"),
        ("PUT", "/v1/freeze"),
        ("DELETE", "/v1/freeze"),
    ],
)
async def test_who_may_only_read_holds_nothing(served: Served, method: str, path: str) -> None:
    status, _document, _headers = await served.ask(method, path, scope="read", json={"reason": "x"})
    assert status == 403
    assert served.control.commands == []


@pytest.mark.asyncio
async def test_a_refused_request_says_what_refuses_it(served: Served) -> None:
    served.control.error = FrozenError("the fleet is frozen: by ops: the holidays; fleetctl unfreeze")
    status, document, _headers = await served.ask("POST", "/v1/rollouts", scope="deploy", json={"on": "web1"})
    assert (status, document["kind"], document["exit_code"]) == (409, "frozen", 4)
    assert "fleetctl unfreeze" in document["detail"]
