"""Deliveries are genuine or they are not; vectors are those of GitHub's documentation and of Standard Webhooks."""

from __future__ import annotations

import hashlib
import hmac

import pytest

from fleetd.config import AUTH
from fleetd.webhook.payloads import Ask, Ignore, delivery_key, read
from fleetd.webhook.signatures import is_genuine, signed

GITHUB = (b"It's a Secret to Everybody",)
BODY = b"Hello, World!"
SUM = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
STANDARD = (b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",)
SIGNED = {
    "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
    "webhook-timestamp": "1614265330",
    "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
}
STANDARD_BODY = b'{"test": 2432232314}'
THEN = 1614265330.0


def test_a_signature_of_github() -> None:
    assert is_genuine("github", "signature", GITHUB, {"x-hub-signature-256": SUM}, BODY, 0)
    assert is_genuine("github", "signature", (b"new", *GITHUB), {"x-hub-signature-256": SUM}, BODY, 0)


@pytest.mark.parametrize("header", ["", "sha256=", SUM[:-1] + "0", SUM.removeprefix("sha256=")])
def test_a_wrong_missing_or_empty_signature_of_github(header: str) -> None:
    assert not is_genuine("github", "signature", GITHUB, {"x-hub-signature-256": header}, BODY, 0)
    assert not is_genuine("github", "signature", GITHUB, {}, BODY, 0)


def test_a_standard_signature_and_its_age() -> None:
    assert is_genuine("standard", "signature", STANDARD, SIGNED, STANDARD_BODY, THEN)
    assert is_genuine("gitlab", "signature", STANDARD, SIGNED, STANDARD_BODY, THEN)
    assert not is_genuine("standard", "signature", STANDARD, SIGNED, STANDARD_BODY, THEN + 301)
    assert not is_genuine("standard", "signature", STANDARD, SIGNED, STANDARD_BODY + b" ", THEN)


def test_a_token_never_replaces_a_signature() -> None:
    token = {"x-gitlab-token": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}
    assert is_genuine("gitlab", "token", STANDARD, token, b"", 0)
    assert not is_genuine("gitlab", "signature", STANDARD, token, b"", 0)
    assert not is_genuine("gitlab", "token", STANDARD, {"x-gitlab-token": ""}, b"", 0)


def test_gitea_signs_without_a_prefix() -> None:
    digest = hmac.new(b"s", BODY, hashlib.sha256).hexdigest()
    assert is_genuine("gitea", "signature", (b"s",), {"x-gitea-signature": digest}, BODY, 0)
    assert not is_genuine("gitea", "signature", (b"s",), {"x-gitea-signature": ""}, BODY, 0)


def test_a_push_asks_for_its_commit_and_nothing_else_of_it() -> None:
    headers = {"x-github-event": "push", "x-github-delivery": "d-1"}
    payload = {"ref": "refs/heads/main", "after": "a" * 40, "repository": {"clone_url": "https://evil.example"}}
    assert read("github", headers, payload) == Ask("refs/heads/main", "a" * 40, reason="push to refs/heads/main")
    assert isinstance(read("github", {"x-github-event": "ping"}, {}), Ignore)
    assert isinstance(read("github", headers, {**payload, "after": "0" * 40}), Ignore)
    assert delivery_key("h", "github", "signature", headers, b"") == "hook:h:d-1"


@pytest.mark.parametrize("ref", ["refs/heads/../x", "--upload-pack=x", "main"])
def test_an_odd_ref_is_refused(ref: str) -> None:
    with pytest.raises(ValueError, match="needs a ref"):
        read("github", {"x-github-event": "push"}, {"ref": ref, "after": "a" * 40})


PIPELINE = {"id": 9, "status": "success", "source": "push", "ref": "main", "tag": False, "sha": "b" * 40}


@pytest.mark.parametrize(
    ("change", "ref"),
    [
        ({}, "refs/heads/main"),
        ({"tag": True, "ref": "v1"}, "refs/tags/v1"),
        ({"status": "running"}, None),
        ({"status": "failed"}, None),
        ({"source": "merge_request_event"}, None),
        ({"source": None}, None),
    ],
)
def test_only_a_trusted_pipeline_that_succeeded_asks(change: dict[str, object], ref: str | None) -> None:
    payload = {"object_kind": "pipeline", "object_attributes": {**PIPELINE, **change}}
    asked = read("gitlab", {"x-gitlab-event": "Pipeline Hook"}, payload)
    assert asked == Ask(ref, "b" * 40, reason=f"pipeline 9 of {ref}") if ref else isinstance(asked, Ignore)


@pytest.mark.parametrize("change", [{"ref": "../x"}, {"ref": None, "sha": None}, {"ref": "a b"}, {"sha": "main"}])
def test_an_odd_pipeline_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="a pipeline needs"):
        read("gitlab", {"x-gitlab-event": "Pipeline Hook"}, {"object_attributes": {**PIPELINE, **change}})
    with pytest.raises(ValueError, match="object_attributes"):
        read("gitlab", {"x-gitlab-event": "Pipeline Hook"}, {})


def test_another_forge_s_event_header_is_not_read() -> None:
    asked = read("github", {"x-gitlab-event": "Push Hook"}, {"ref": "refs/heads/main", "after": "a" * 40})
    assert isinstance(asked, Ignore)


@pytest.mark.parametrize(("provider", "auth"), [(name, auth) for name, allowed in AUTH.items() for auth in allowed])
def test_what_is_made_here_is_genuine_there_and_nothing_else_is(provider: str, auth: str) -> None:
    secret, now = b"whsec_c2VjcmV0IG9mIGEgdGVzdA==", 1_700_000_000.0
    headers = signed(provider, auth, secret, b"{}", now, "d-1")
    assert is_genuine(provider, auth, (secret,), headers, b"{}", now)
    assert delivery_key("ci", provider, auth, headers, b"{}") == "hook:ci:d-1"
    assert not is_genuine(provider, auth, (b"whsec_b3RoZXI=",), headers, b"{}", now)
    if auth == "signature":
        assert not is_genuine(provider, auth, (secret,), headers, b"{ }", now)
