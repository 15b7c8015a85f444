"""Is this delivery genuine? One rule per provider, fixed by configuration: a header never chooses a weaker one.

Sources: GitHub ("Validating webhook deliveries"), Gitea (``deliver.go``), GitLab ("Webhooks"), Standard Webhooks 1.0.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping, Sequence

TIMESTAMP_TOLERANCE_S = 300
"""Standard Webhooks' own."""


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
            return _equal(secrets, headers.get("x-gitlab-token", "").encode())
        case (("gitlab" | "standard"), _):
            return _standard(secrets, headers, body, now)
        case "bearer", _:
            word, _, token = headers.get("authorization", "").partition(" ")
            return word.lower() == "bearer" and _equal(secrets, token.strip().encode())
        case _:
            return False


def _equal(secrets: Sequence[bytes], given: bytes) -> bool:
    return bool(given) and any(hmac.compare_digest(secret, given) for secret in secrets if secret)


def _hex(secrets: Sequence[bytes], header: str, body: bytes, prefix: str) -> bool:
    if not header.startswith(prefix) or len(header) == len(prefix):
        return False
    given = header.removeprefix(prefix).lower().encode()
    sums = [hmac.new(secret, body, hashlib.sha256).hexdigest().encode() for secret in secrets if secret]
    return any(hmac.compare_digest(expected, given) for expected in sums)


def _standard(secrets: Sequence[bytes], headers: Mapping[str, str], body: bytes, now: float) -> bool:
    name, at = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not name or not at.isdigit() or abs(now - int(at)) > TIMESTAMP_TOLERANCE_S:
        return False
    message = f"{name}.{at}.".encode() + body
    given = [word.removeprefix("v1,").encode() for word in headers.get("webhook-signature", "").split()]
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
