"""The wire form of the helper: orders out, replies in. Pure, and bounded before anything is believed.

An order is ``fleetd-order 1`` and ``key=value`` lines: these bytes are what a signature covers. A reply is
``fleetd-host 1 FENCE``, ``key=value`` lines (free text in base64), and a last line ``end ok|refused|error CODE``.
Without that last line nobody knows what happened.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Mapping
from dataclasses import dataclass

from fleetd.model.facts import HelperState, HostFacts, HostStatus, Verdict
from fleetd.model.fence import Fence
from fleetd.model.order import Order

REPLY_LIMIT_BYTES = 256 * 1024
"""A reply holds at most a log tail and two lists of units; more is not a reply."""

ENDS = ("ok", "refused", "error")


class WireError(ValueError):
    """These bytes are no reply: cut, too long, or something else speaks there."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole reply. ``end`` is ok, refused (nothing was done) or error; ``code`` a word that says why."""

    fence: Fence
    fields: Mapping[str, str]
    end: str
    code: str

    @property
    def message(self) -> str:
        """The helper's sentence for people, if any."""
        return free_text(self.fields.get("message", ""))


def encode_order(order: Order) -> bytes:
    """Return the document of an order. Raises WireError when a value cannot be written on one line."""
    values: dict[str, str] = {
        "v": "1",
        "verb": order.verb.value,
        "id": order.id,
        "fence": str(order.fence),
        "host": order.host,
        "machine_id": order.machine_id,
        "boot_id": order.boot_id,
        "uptime_limit_s": str(math.ceil(order.uptime_limit_s)),
        "toplevel": order.toplevel,
        "nar_hash": order.nar_hash,
        "expect_current": order.expect_current,
        "expect_profile": order.expect_profile,
        "last_resort": order.last_resort,
        "unattended_boot": "yes" if order.unattended_boot else "no",
        "boot_external": "yes" if order.boot_external else "no",
        "ignore_units": " ".join(order.ignore_units),
    }
    if order.times is not None:
        times = order.times
        values |= {
            "switch_timeout_s": str(times.switch_timeout_s),
            "contact_timeout_s": str(times.contact_timeout_s),
            "cap_s": str(times.cap_s),
            "commit_timeout_s": str(times.commit_timeout_s),
            "revert_timeout_s": str(times.revert_timeout_s),
        }
    if order.reboot != "never" and order.times is not None:
        # Only then, so that a helper of before, which knows no such word, obeys all that it can carry out.
        values |= {
            "reboot": order.reboot,
            "reboot_timeout_s": str(order.times.reboot_timeout_s),
            "reboot_risk": order.reboot_risk,
        }
    if order.generations is not None:
        values |= {
            "keep_newest": str(order.generations.newest),
            "keep_younger_s": str(math.ceil(order.generations.younger_s)),
            "keep_systems": " ".join(order.keep_systems),
        }
    for key, value in values.items():
        if any(not " " <= character <= "~" for character in value):
            raise WireError(f"{key}: {value!r} holds a character that an order cannot carry")
    lines = [f"{key}={value}" for key, value in values.items() if value]
    return ("fleetd-order 1\n" + "\n".join(lines) + "\n").encode("ascii")


def parse_reply(data: bytes) -> Reply:
    """Return a reply. Raises WireError when it is cut or not one."""
    if len(data) > REPLY_LIMIT_BYTES:
        raise WireError(f"the reply is longer than {REPLY_LIMIT_BYTES} bytes")
    text = data.decode("utf-8", errors="replace")
    lines = text.split("\n")
    # A login banner or a warning may come first; everything before the helper's own first line is not its word.
    start = next((index for index, line in enumerate(lines) if line.startswith("fleetd-host 1 ")), None)
    if start is None:
        raise WireError(f"no reply of fleetd-host in: {text[:200]!r}")
    try:
        fence = Fence.parse(lines[start].removeprefix("fleetd-host 1 "))
    except ValueError as error:
        raise WireError(str(error)) from error
    fields: dict[str, str] = {}
    for index, line in enumerate(lines[start + 1 :], start + 1):
        words = line.split(" ")
        if words[0] == "end" and len(words) == 3 and words[1] in ENDS and index < len(lines) - 1:
            return Reply(fence, fields, words[1], words[2])
        key, equals, value = line.partition("=")
        if equals:
            fields[key] = value
    raise WireError("the reply is cut: its last line is missing")


def free_text(value: str) -> str:
    """Return text that came in base64, without control characters; what is no base64 is shown as it is."""
    try:
        raw = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return printable(value)
    return printable(raw.decode("utf-8", errors="replace")).strip()


def printable(text: str) -> str:
    """Replace what could move a cursor or change a colour: hosts are not trusted with the operator's terminal."""
    return "".join(c if c in "\n\t" or (c.isprintable()) else "\N{REPLACEMENT CHARACTER}" for c in text)


def _number(text: str) -> float:
    """Return a number that can be reckoned with. Raises ValueError for all else, as what is no number does."""
    if not math.isfinite(number := float(text)):
        raise ValueError(f"{text!r} is no number")
    return number


def facts_of(reply: Reply) -> HostFacts:
    """Return the facts in a reply. Raises WireError naming the field that is missing or wrong."""
    field = reply.fields
    try:
        return HostFacts(
            fence=reply.fence,
            state=HelperState(field["state"]),
            id=field["id"],
            current=field["current"],
            booted=field["booted"],
            profile=field["profile"],
            boot_default=field["boot_default"],
            boot_kind=field["boot_kind"],
            boot_id=field["boot_id"],
            uptime_s=_number(field["uptime_s"]),
            machine_id=field["machine_id"],
            hostname=field["hostname"],
            system=field["system"],
            nix_version=field["nix_version"],
            needs_reboot=field["needs_reboot"] == "yes",
            reboot_reasons=tuple(field.get("reboot_reasons", "").split()),
            oneshot=field.get("oneshot", ""),
            specialisation=field.get("specialisation", ""),
            kept=field.get("kept", ""),
            state_durable=field["state_durable"] == "yes",
            nix_free_bytes=int(field["nix_free_bytes"]),
            nix_free_inodes=int(field["nix_free_inodes"]),
            boot_free_bytes=int(field["boot_free_bytes"]),
            clock=_number(field["clock"]),
            other_actors=tuple(field["other_actors"].split()),
            active_units=tuple(field["active"].split()),
            failed_units=tuple(field["failed"].split()),
        )
    except KeyError as error:
        raise WireError(f"the facts lack {error}") from error
    except ValueError as error:
        raise WireError(f"the facts are wrong: {error}") from error


def status_of(reply: Reply) -> HostStatus:
    """Return the status in a reply. Raises WireError naming the field that is missing or wrong."""
    field = reply.fields
    try:
        left = field.get("deadline_in_s")
        return HostStatus(
            fence=reply.fence,
            state=HelperState(field["state"]),
            id=field["id"],
            old=field.get("old", ""),
            new=field.get("new", ""),
            current=field["current"],
            deadline_in_s=None if left is None else _number(left),
            verdict=Verdict(field.get("verdict") or "none"),
            exit_code=field.get("exit", ""),
            failed_units=tuple(field.get("failed", "").split()),
            down_units=tuple(field.get("down", "").split()),
            behind_units=tuple(field.get("behind", "").split()),
            route_ok=field.get("route_ok", "yes") == "yes",
            by=field.get("by", ""),
            message=free_text(field.get("reason", "")),
            log=free_text(field.get("log", "")),
        )
    except KeyError as error:
        raise WireError(f"the status lacks {error}") from error
    except ValueError as error:
        raise WireError(f"the status is wrong: {error}") from error
