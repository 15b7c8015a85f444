"""Is this delivery genuine? One rule per provider, fixed by configuration: a header never chooses a weaker one.

Sources: GitHub ("Validating webhook deliveries"), Gitea (``deliver.go``), GitLab ("Webhooks"), Standard Webhooks 1.0.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence

TIMESTAMP_TOLERANCE_S = 300
"""Standard Webhooks' own."""

_TIMESTAMP = re.compile(r"[0-9]{1,12}")
"""Seconds since the epoch. ``str.isdigit`` also takes digits of other scripts, which ``int`` may not."""


def is_genuine(
    provider: str, auth: str, secrets: Sequence[bytes], headers: Mapping[str, str], body: bytes, now: float
) -> bool:
    """Whether one of the secrets signed this body. Header names are lower case. Missing or empty is never genuine."""
    match provider, auth:
        case "github", _:
            return _hex(secrets, headers.get("x-hub-signature-256", ""), body, "sha256=")
        case "gitea", _:
            return _hex(secrets, headers.get("x-gitea-signature", ""), body, "")
        case "forgejo", _:
            return _hex(secrets, headers.get("x-forgejo-signature", ""), body, "")
        case "gitlab", "token":
            return _equal(secrets, _raw(headers.get("x-gitlab-token", "")))
        case (("gitlab" | "standard"), _):
            return _standard(secrets, headers, body, now)
        case "bearer", _:
            word, _, token = headers.get("authorization", "").partition(" ")
            return word.lower() == "bearer" and _equal(secrets, _raw(token.strip()))
        case _:
            return False


def signed(provider: str, auth: str, secret: bytes, body: bytes, now: float, delivery: str) -> dict[str, str]:
    """Return the headers with which this sender would deliver the body: the other side of ``is_genuine``."""
    code = hmac.new(secret, body, hashlib.sha256).hexdigest()
    match provider, auth:
        case "github", _:
            return {"x-hub-signature-256": f"sha256={code}", "x-github-delivery": delivery}
        case (("gitea" | "forgejo"), _):
            return {f"x-{provider}-signature": code, f"x-{provider}-delivery": delivery}
        case "gitlab", "token":
            return {"x-gitlab-token": secret.decode(), "idempotency-key": delivery}
        case "bearer", _:
            return {"authorization": f"Bearer {secret.decode()}", "idempotency-key": delivery}
        case _:
            at = str(int(now))
            total = hmac.new(_standard_key(secret), f"{delivery}.{at}.".encode() + body, hashlib.sha256).digest()
            signature = f"v1,{base64.b64encode(total).decode()}"
            return {"webhook-id": delivery, "webhook-timestamp": at, "webhook-signature": signature}


def _raw(text: str) -> bytes:
    """Return a header as it was sent: bytes that are not UTF-8 arrive as surrogates, and must not be an error."""
    return text.encode("utf-8", "surrogateescape")


def _equal(secrets: Sequence[bytes], given: bytes) -> bool:
    return bool(given) and any(hmac.compare_digest(secret, given) for secret in secrets if secret)


def _hex(secrets: Sequence[bytes], header: str, body: bytes, prefix: str) -> bool:
    if not header.startswith(prefix) or len(header) == len(prefix):
        return False
    given = _raw(header.removeprefix(prefix).lower())
    sums = [hmac.new(secret, body, hashlib.sha256).hexdigest().encode() for secret in secrets if secret]
    return any(hmac.compare_digest(expected, given) for expected in sums)


def _standard(secrets: Sequence[bytes], headers: Mapping[str, str], body: bytes, now: float) -> bool:
    name, at = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    words = headers.get("webhook-signature", "").split()
    if not name or _TIMESTAMP.fullmatch(at) is None or abs(now - int(at)) > TIMESTAMP_TOLERANCE_S:
        return False
    message = _raw(f"{name}.{at}.") + body
    given = [_raw(word.removeprefix("v1,")) for word in words if word.startswith("v1,")]
    sums = [
        base64.b64encode(hmac.new(key, message, hashlib.sha256).digest())
        for key in (_standard_key(secret) for secret in secrets)
        if key
    ]
    return any(hmac.compare_digest(expected, word) for expected in sums for word in given)


def _standard_key(secret: bytes) -> bytes:
    try:
        return base64.b64decode(secret.removeprefix(b"whsec_"), validate=True)
    except binascii.Error:
        return b""
