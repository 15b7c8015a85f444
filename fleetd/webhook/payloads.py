"""What a genuine delivery asks for. Nothing of a payload is ever used as an address: it says *that*, not *where*."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_REF = re.compile(r"refs/(heads|tags)/[A-Za-z0-9._/-]+")
_DELIVERY_HEADERS = (
    "x-github-delivery",
    "x-gitea-delivery",
    "x-forgejo-delivery",
    "webhook-id",
    "idempotency-key",
)
_PUSH_EVENTS = ("push", "Push Hook", "Tag Push Hook")


@dataclass(frozen=True, slots=True)
class Ask:
    """A rollout is asked for."""

    ref: str
    revision: str | None
    toplevels: Mapping[str, str] = field(default_factory=dict)
    on: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Ignore:
    """A genuine delivery that asks for nothing."""

    reason: str


def delivery_key(hook: str, headers: Mapping[str, str], body: bytes) -> str:
    """Return what makes a repeat the same delivery: its id, or its content where the sender has no ids."""
    given = next((headers[name] for name in _DELIVERY_HEADERS if headers.get(name)), "")
    return f"hook:{hook}:{given[:200] or hashlib.sha256(body).hexdigest()}"


def read(provider: str, headers: Mapping[str, str], payload: object) -> Ask | Ignore:
    """Return what the payload asks for. Raises ValueError when it cannot be understood."""
    if not isinstance(payload, Mapping):
        raise ValueError("expected a JSON object")
    if provider in ("bearer", "standard"):
        return _native(payload)
    event = headers.get(f"x-{provider}-event", "")
    if event not in _PUSH_EVENTS:
        return Ignore(f"event {event[:60]!r} is no push")
    after, ref = payload.get("after"), payload.get("ref")
    if payload.get("deleted") is True or (isinstance(after, str) and after and set(after) == {"0"}):
        return Ignore("the ref was deleted")
    if not isinstance(ref, str) or _REF.fullmatch(ref) is None or ".." in ref:
        raise ValueError("a push needs a ref such as refs/heads/main")
    if not isinstance(after, str) or _COMMIT.fullmatch(after) is None:
        raise ValueError("a push needs a commit in 'after'")
    return Ask(ref=ref, revision=after, reason=f"push to {ref}")


def _native(payload: Mapping[str, object]) -> Ask:
    unknown = sorted(set(payload) - {"ref", "revision", "toplevels", "on", "reason", "type", "timestamp", "data"})
    if unknown:
        raise ValueError(f"unknown key {unknown[0]!r} (there are: ref, revision, toplevels, on, reason)")
    texts = {name: payload.get(name) or "" for name in ("ref", "revision", "on", "reason")}
    toplevels = payload.get("toplevels") or {}
    if not all(isinstance(text, str) for text in texts.values()) or not isinstance(toplevels, Mapping):
        raise ValueError("ref, revision, on and reason are texts, toplevels an object of paths by host")
    revision = str(texts["revision"]) or None
    if revision is not None and _COMMIT.fullmatch(revision) is None:
        raise ValueError("revision must be a whole commit id: where it is looked up is configured, never sent")
    paths = {str(host): str(path) for host, path in toplevels.items()}
    return Ask(str(texts["ref"]), revision, paths, str(texts["on"]), str(texts["reason"]))
