"""``POST /v1/hooks/{name}``: from a delivery to a rollout that is on disk before it is answered."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aiohttp import web

from fleetd.api.problems import RefNotAllowed, parse_json, read_body
from fleetd.controller.commands import RequestKey, SubmitRollout
from fleetd.errors import NotFoundError, UnauthorizedError, UsageError
from fleetd.schema.http import TEXT_LIMIT
from fleetd.webhook.payloads import FORGES, Ask, Ignore, delivery_key, read
from fleetd.webhook.signatures import is_genuine


@dataclass(frozen=True, slots=True)
class HookSpec:
    """One configured webhook. Its ``on`` and ``refs`` are borders that no payload crosses."""

    provider: str
    auth: str
    secrets: Sequence[bytes]
    refs: Sequence[str]
    policy: str
    on: str
    supersede: bool = False


@dataclass(frozen=True, slots=True)
class Delivery:
    """A genuine delivery: its key, what it asks for, and the hook it came in by."""

    name: str
    hook: HookSpec
    key: RequestKey
    asked: Ask

    def command(self) -> SubmitRollout:
        """Return the command, within the hook's borders as they are configured now. Raises RefNotAllowed."""
        _check_ref(self.hook, self.asked)
        # Toplevels alone mean just their hosts. The border must not turn that into every host inside of it.
        asked = self.asked.on or ",".join(self.asked.toplevels)
        return SubmitRollout(
            requested_by=f"hook {self.name}",
            key=self.key,
            revision=self.asked.revision,
            toplevels=self.asked.toplevels,
            on=within(asked, self.hook.on),
            policy=self.hook.policy,
            reason=self.asked.reason,
            supersede=self.hook.supersede,
        )


async def delivery_of(request: web.Request, hooks: Mapping[str, HookSpec]) -> Delivery | Ignore:
    """Return a genuine delivery, or why it asks for nothing.

    Nothing of the body is looked at before its signature holds. Raises NotFoundError, UnauthorizedError (one text for
    every cause), UsageError and its kinds.
    """
    name = request.match_info["name"]
    hook = hooks.get(name)
    if hook is None:
        raise NotFoundError("there is no such hook")
    body = await read_body(request)
    headers = {key.lower(): value for key, value in request.headers.items()}
    if not is_genuine(hook.provider, hook.auth, hook.secrets, headers, body, time.time()):
        raise UnauthorizedError("the delivery is not signed as this hook demands")
    payload = parse_json(body)
    try:
        asked = read(hook.provider, headers, payload)
    except ValueError as error:
        raise UsageError(str(error)) from error
    if isinstance(asked, Ignore):
        return asked
    if max(len(asked.reason), len(asked.on), len(asked.ref)) > TEXT_LIMIT:
        raise UsageError(f"on, ref and reason have at most {TEXT_LIMIT} characters: they are kept in the journal")
    # The digest is of the bytes that were signed: a forge sends a repeat as it sent the first.
    key = delivery_key(name, hook.provider, hook.auth, headers, body)
    return Delivery(name, hook, RequestKey(key, hashlib.sha256(body).hexdigest()), asked)


def _check_ref(hook: HookSpec, asked: Ask) -> None:
    """Raise RefNotAllowed. A forge's hook without refs allows none: every pushed branch would deploy otherwise."""
    if not hook.refs and hook.provider in FORGES:
        raise RefNotAllowed(f"this hook has no refs configured, so {asked.ref} is not deployed")
    if hook.refs and asked.ref not in hook.refs:
        raise RefNotAllowed(f"{asked.ref or 'no ref'} is not one of {', '.join(hook.refs)}")


def within(asked: str, allowed: str) -> str:
    """Return the selector for those of the asked hosts that are allowed; empty is every host.

    Selectors have no brackets, so each asked alternative is joined with each allowed one.
    """
    if not asked or not allowed:
        return asked or allowed
    return ",".join(f"{one.strip()}&{other.strip()}" for one in asked.split(",") for other in allowed.split(","))
