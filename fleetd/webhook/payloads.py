"""What a genuine delivery asks for. Nothing of a payload is ever used as an address: it says *that*, not *where*."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

FORGES = ("github", "gitea", "forgejo", "gitlab")
"""Senders whose payloads name a ref by themselves; the others send this project's own JSON."""

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_REF = re.compile(r"refs/(heads|tags)/[A-Za-z0-9._/-]+")
_PUSH_EVENTS = ("push", "Push Hook", "Tag Push Hook")
_PIPELINE_EVENT = "Pipeline Hook"

_TRUSTED_SOURCES = ("push", "schedule", "web", "trigger", "api")
"""What may have started a pipeline. One of a merge request runs somebody's proposal under the ref's name."""

_DELIVERY_HEADERS = {
    "github": "x-github-delivery",
    "gitea": "x-gitea-delivery",
    "forgejo": "x-forgejo-delivery",
    "bearer": "idempotency-key",
    "standard": "webhook-id",
}
"""Where each sender puts the delivery's id. Another sender's header is never read: with a signed id beside it, an
unsigned one would let a recorded delivery be sent again as a new one."""


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


def delivery_key(hook: str, provider: str, auth: str, headers: Mapping[str, str], body: bytes) -> str:
    """Return what makes a repeat the same delivery: its id, or its content where the sender gave none."""
    if provider == "gitlab":
        header = "idempotency-key" if auth == "token" else "webhook-id"
    else:
        header = _DELIVERY_HEADERS.get(provider, "")
    given = headers.get(header, "").encode("utf-8", "replace").decode()
    return f"hook:{hook}:{given[:200] or hashlib.sha256(body).hexdigest()}"


def read(provider: str, headers: Mapping[str, str], payload: object) -> Ask | Ignore:
    """Return what the payload asks for. Raises ValueError when it cannot be understood."""
    if not isinstance(payload, Mapping):
        raise ValueError("expected a JSON object")
    if provider not in FORGES:
        return _native(payload)
    event = headers.get(f"x-{provider}-event", "")
    if event == _PIPELINE_EVENT:
        return _pipeline(payload)
    if event not in _PUSH_EVENTS:
        return Ignore(f"event {event[:60]!r} is no push")
    return _push(payload)


def _push(payload: Mapping[str, object]) -> Ask | Ignore:
    after, ref = payload.get("after"), payload.get("ref")
    if payload.get("deleted") is True or (isinstance(after, str) and after and set(after) == {"0"}):
        return Ignore("the ref was deleted")
    if not isinstance(ref, str) or _REF.fullmatch(ref) is None or ".." in ref:
        raise ValueError("a push needs a ref such as refs/heads/main")
    if not isinstance(after, str) or _COMMIT.fullmatch(after) is None:
        raise ValueError("a push needs a commit in 'after'")
    return Ask(ref=ref, revision=after, reason=f"push to {ref}")


def _pipeline(payload: Mapping[str, object]) -> Ask | Ignore:
    """Read GitLab's pipeline event, which comes at every change of status; only a success asks for anything."""
    pipeline = payload.get("object_attributes")
    if not isinstance(pipeline, Mapping):
        raise ValueError("a pipeline event needs 'object_attributes'")
    if pipeline.get("status") != "success":
        return Ignore(f"the pipeline is {str(pipeline.get('status'))[:40]!r}, not 'success'")
    if pipeline.get("source") not in _TRUSTED_SOURCES:
        return Ignore(f"pipelines started by {str(pipeline.get('source'))[:40]!r} do not deploy")
    kind = "tags" if pipeline.get("tag") is True else "heads"
    ref, commit = f"refs/{kind}/{pipeline.get('ref')}", pipeline.get("sha")
    if _REF.fullmatch(ref) is None or ".." in ref:
        raise ValueError("a pipeline needs the name of a branch or tag in 'ref'")
    if not isinstance(commit, str) or _COMMIT.fullmatch(commit) is None:
        raise ValueError("a pipeline needs a commit in 'sha'")
    return Ask(ref=ref, revision=commit, reason=f"pipeline {str(pipeline.get('id'))[:20]} of {ref}")


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
