"""Documents as text for people. Pure; colours are rich's, and only on a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

Document = Mapping[str, Any]

PLANNED_HOSTS = 10
"""How many of the hosts of a hook a plan names."""

COLOURS = {
    "committed": "green",
    "trial-kept": "green",
    "staged": "green",
    "dry-activated": "green",
    "current": "green",
    "rolled-back": "yellow",
    "reverted": "yellow",
    "failed": "red",
    "stranded": "bold red",
    "deferred": "magenta",
    "trial": "cyan",
    "switching": "cyan",
    "committing": "cyan",
    "releasing": "cyan",
    "staging": "cyan",
    "dry-activating": "cyan",
}


def short(path: str | None) -> str:
    """Return a store path without directory and hash."""
    return "-" if not path else path.rsplit("/", 1)[-1][33:] or path


def plain(text: object, keep: str = "") -> str:
    """Return text without control characters: what hosts and builds say must not steer the terminal."""
    return "".join(
        c if c.isprintable() or c in keep else " " if c.isspace() else "\N{REPLACEMENT CHARACTER}" for c in str(text)
    )


def rollout_line(rollout: Document) -> str:
    """Return a rollout in one line."""
    counts = ", ".join(f"{count} {state}" for state, count in rollout["counts"].items())
    why = rollout.get("finish_reason") or "; ".join(block["text"] for block in rollout["blocked_by"])
    phase = f"{rollout['phase']}, paused" if rollout.get("paused") else rollout["phase"]
    return f"{rollout['id']}  {phase}  {counts}" + (f"  ({plain(why)})" if why else "")


def host_line(host: Document) -> str:
    """Return a host of a rollout in one line; of a reason of many lines the first, see ``reason_lines``."""
    kind = f"{host['kind']}: " if host.get("kind") else ""
    why = f"  ({kind}{plain(_first_line(host['reason']))})" if host.get("reason") else ""
    lost = f"  {host['contact']}" if host.get("contact", "ok") != "ok" else ""
    changed = f"  [changed: {plain(host['changed'])}]" if host.get("changed") else ""
    return f"{host['name']}  {host['wave']}  {host['state']}  {short(host.get('to'))}{lost}{why}{changed}"


def reason_lines(host: Document, *, head: bool = False) -> list[str]:
    """Return the rest of a reason that has many lines, as that of a build that failed, indented.

    With ``head`` the host and the first line come before it.
    """
    first, *rest = str(host.get("reason", "")).split("\n")
    if not rest:
        return []
    return [*([f"{host['name']}: {plain(first)}"] if head else []), *(f"    {plain(line)}" for line in rest)]


def _first_line(text: object) -> str:
    first, found, _rest = str(text).partition("\n")
    return f"{first.rstrip()} …" if found else first


def progress_line(host: Document) -> str:
    """Return how far a build or copy is in one line."""
    return f"{host['name']}  {host['step']}  {progress_text(host)}"


def progress_text(host: Document) -> str:
    """Return how far a build or copy is: what there is of each, and what is built just now."""
    build, copy = host.get("build"), host.get("copy")
    parts = []
    if copy:
        parts.append(f"{size(copy['sent_bytes'])} of {size(copy['total_bytes'])} sent")
    if build:
        for done, expected, word in (("built", "to_build", "built"), ("copied", "to_copy", "copied")):
            if build[expected]:
                parts.append(f"{build[done]} of {build[expected]} {word}")
        if build["download_bytes"]:
            parts.append(f"{size(build['downloaded_bytes'])} of {size(build['download_bytes'])} downloaded")
        if build["failed"]:
            parts.append(f"{build['failed']} failed")
        more = build["running_count"] - len(build["running"])
        if build["running"]:
            parts.append(
                f"now {' '.join(plain(name) for name in build['running'])}" + (f" +{more}" if more > 0 else "")
            )
    return ", ".join(parts) or "begun"


def observed_line(host: Document) -> str:
    """Return an observed host in one line."""
    marks = [word for word in ("drifted", "needs_reboot", "drained") if host.get(word)]
    seen = host.get("seen", {})
    marks += ["owed"] if host.get("owed") else []
    marks += [seen["state"]] if seen.get("state") in ("unreachable", "unhealthy") else []
    marks += dict.fromkeys(finding["kind"] for finding in host.get("findings", ()))
    contact = "" if host["contact"] == "ok" else f"  {plain(host['contact'])}"
    shown_marks = f"  {' '.join(marks)}" if marks else ""
    locked = f"  locked {_held(host['lock'])}" if host.get("lock") else ""
    return f"{host['name']}  {host['state']}  {short(host['current'])}{shown_marks}{locked}{contact}"


def freeze_line(document: Document) -> str:
    """Return whether the fleet is frozen, in one line."""
    freeze = document["freeze"]
    return f"the fleet is frozen {_held(freeze)}" if freeze else "the fleet is not frozen"


def _held(hold: Document) -> str:
    until = f", until {hold['until']}" if hold["until"] else ", until somebody ends it"
    return f"by {plain(hold['owner'])}{until}: {plain(hold['reason'])}"


def _owed(owed: Document) -> str:
    """Return what a host is owed, and how that stands."""
    tried = f", tried {owed['tries']} times" if owed["tries"] else ""
    more = ", given up" if owed["given_up"] else ""
    why = f": {plain(owed['reason'])}" if owed["reason"] else ""
    return f"{short(owed['to'])} of {owed['rollout']} since {owed['since']}{tried}{more}{why}"


def _seen(seen: Document) -> str:
    """Return how a host was when it was looked at, and how long ago that was said."""
    if not seen["at"]:
        return str(seen["state"]) + (f" since {seen['since']}: {plain(seen['reason'])}" if seen["since"] else "")
    since = f" since {seen['since']}: {plain(seen['reason'])}" if seen["since"] else ""
    return f"{seen['state']}{since} (looked at {seen['at']})"


def _drained(drained: Document) -> str:
    stuck = f": {plain(drained['stuck'])}" if drained["stuck"] else ""
    return f"by {drained['rollout']} since {drained['since']}{stuck}"


def event_line(event: Document) -> str:
    """Return a record of the journal in one line."""
    about = "  ".join(word for word in (event["rollout"], event["host"]) if word)
    return f"{event['seq']}  {event['at']}  {event['kind']}" + (f"  {about}" if about else "")


def size(count: int) -> str:
    """Return bytes as people read them."""
    value, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB"):
        if abs(value) < 1024:
            break
        value, unit = value / 1024, larger
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"


def difference_summary(found: Document) -> str:
    """Return a difference in one line."""
    units = sum(len(found[f"units_{word}"]) for word in ("added", "removed", "changed"))
    packages = ", ".join(f"{len(found[word])} {word}" for word in ("changed", "added", "removed", "rebuilt"))
    download = f"{found['download_paths']} paths, {size(found['download_bytes'])} to send at most"
    reboot = "; a reboot is needed for all of it" if found["needs_reboot"] else ""
    return f"packages: {packages}; {units} units; {download}{reboot}"


def difference_lines(document: Document) -> list[str]:
    """Return what would change on a host as lines."""
    found = document["difference"]
    lines = [f"{document['host']}  {short(document['from'])} -> {short(document['to'])}"]
    for mark, word in (("+", "added"), ("-", "removed"), ("~", "changed")):
        for package in found[word]:
            versions = [", ".join(package[side]) for side in ("before", "after") if package[side]]
            growth = f"{'+' if package['growth_bytes'] >= 0 else ''}{size(package['growth_bytes'])}"
            lines.append(f"  {mark} {plain(package['name'])}  {plain(' -> '.join(versions))}  ({growth})")
    lines += [f"  = {plain(name)}  (rebuilt)" for name in found["rebuilt"]]
    for mark, word in (("+", "added"), ("-", "removed"), ("~", "changed")):
        lines += [f"  {mark} {plain(unit)}" for unit in found[f"units_{word}"]]
    if found["kernel"] is not None:
        lines.append(f"  kernel  {' -> '.join(version or '(unknown)' for version in found['kernel'])}")
    total = f"{size(found['bytes_before'])} -> {size(found['bytes_after'])}"
    return [*lines, f"{difference_summary(found)}; in all {total}"]


def plan_lines(plan: Document) -> list[str]:
    """Return a plan as lines."""
    most = plan["max_parallel"]
    parallel = f"at most {most} host{'' if most == 1 else 's'} unproven at once"
    lines = [f"policy {plan['policy']}, goal {plan.get('goal', 'switch')}, {parallel}"]
    for wave in plan["waves"]:
        lines.append(f"wave {wave['name']} (soak {wave['soak']})")
        for host in wave["hosts"]:
            lines.append(f"  {host['name']}  {short(host['from'])} -> {short(host['to'])}")
            if host.get("difference") is not None:
                lines.append(f"    {difference_summary(host['difference'])}")
    lines += [_hook_line(hook) for hook in plan.get("hooks", ())]
    lines += [f"{finding['host']}: {plain(finding['text'])}" for finding in plan.get("findings", ())]
    if plan["unchanged"]:
        lines.append(f"nothing to do on: {', '.join(plan['unchanged'])}")
    lines += [f"{error['host']}: {plain(error['message'], keep=chr(10))}" for error in plan["errors"]]
    lines.append(f"network lost: {plan['times']['network_lost']}; bad health: {plan['times']['bad_health']}")
    if " instead of " in plan["times"].get("soak_rounds", ""):
        lines.append(f"checks in a soak: {plan['times']['soak_rounds']}")
    return lines


def _hook_line(hook: Document) -> str:
    """Return a hook of a plan in one line."""
    hosts, more = hook["hosts"][:PLANNED_HOSTS], len(hook["hosts"]) - PLANNED_HOSTS
    names = ", ".join(hosts) + (f" +{more}" if more > 0 else "")
    what = f"{plain(hook['program'])} on the {hook['where']}, at most {hook['timeout']}, else {hook['on_failure']}"
    return f"{hook['when']} {plain(hook['name'])}: {what} ({names})"


def rollout_lines(rollout: Document) -> list[str]:
    """Return a rollout in full: what was asked, its waves, and what it waits for."""
    lines = [rollout_line(rollout)]
    why = f": {plain(rollout['reason'])}" if rollout["reason"] else ""
    lines.append(f"  {plain(rollout['requested_by'])} at {rollout['created_at']}{why}")
    lines.append(
        f"  {plain(rollout['revision'])} on {plain(rollout['on'])}, policy {rollout['policy']}, goal {rollout['goal']}"
    )
    lines += [f"  wave {wave['name']}: {wave['state']}, {_counts(wave['counts'])}" for wave in rollout["waves"]]
    for block in rollout["blocked_by"]:
        until = f", until {block['until']}" if block.get("until") else ""
        lines.append(f"  waits: {plain(block['text'])}{until}" + (f" -> {block['type']}" if block.get("type") else ""))
    return lines


def host_lines(host: Document) -> list[str]:
    """Return everything that is known of a host, a line each."""
    return [f"{name}: {_value(value)}" for name, value in host.items()]


def _value(value: object) -> str:
    if value is None or value in ("", []):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        if "given_up" in value:
            return _owed(value)
        if "stuck" in value:
            return _drained(value)
        return _seen(value) if "counts" in value else _held(value)
    if isinstance(value, list):
        return ", ".join(plain(item["text"] if isinstance(item, Mapping) else item) for item in value)
    return plain(value)


AUDITED = {
    "RolloutRequested": "",
    "AbortRequested": "abort",
    "RollbackRequested": "rollback",
    "PauseRequested": "pause",
    "ResumeRequested": "resume",
    "PromoteRequested": "promote",
    "ApprovalGiven": "approve",
    "ApprovalDenied": "deny",
    "HostRetried": "retry",
    "HostCleared": "clear",
    "HostExcused": "clear",
    "HostAdopted": "adopt",
    "HostLocked": "lock",
    "HostUnlocked": "unlock",
    "HostNotOwed": "not-owed",
    "FreezeSet": "freeze",
    "FreezeLifted": "unfreeze",
}
"""Records of what somebody asked for, as the verb that was said."""


SKIPPED_BY = "skipped by "
"""How the record of a host that a person skipped begins its reason; a rollout that ends skips hosts by itself."""


def is_audited(event: Document) -> bool:
    """Whether a record is of what somebody asked for."""
    ended_by_itself = event["kind"] in ("HostUnlocked", "FreezeLifted") and not event["data"].get("by")
    return (event["kind"] in AUDITED and not ended_by_itself) or _is_skipped_by_hand(event)


def _is_skipped_by_hand(event: Document) -> bool:
    return event["kind"] == "HostSkipped" and str(event["data"].get("reason")).startswith(SKIPPED_BY)


def audit_line(event: Document) -> str:
    """Return what somebody asked for in one line."""
    data = event["data"]
    spec = data.get("spec") or {}
    who, why = spec.get("requested_by") or data.get("by", ""), spec.get("reason") or data.get("reason", "")
    what = AUDITED.get(event["kind"]) or spec.get("kind", "")
    if _is_skipped_by_hand(event):
        what, (who, _, why) = "skip", why.removeprefix(SKIPPED_BY).partition(": ")
    what += "".join(f" --{word}" for word in ("force", "supersede") if spec.get(word))
    what += f" {event['host']}" if event["host"] else ""
    what += (" in" if event["host"] else "") + f" {event['rollout']}" if event["rollout"] else ""
    owner = data.get("owner") or who
    about = f" of {plain(spec['revision'])} to {plain(spec['on'])}" if spec else ""
    about += f" for {plain(owner)}" if owner != who else ""
    return f"{event['at']}  {plain(who)}  {what}{about}" + (f"  ({plain(why)})" if why else "")


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {state}" for state, count in counts.items()) or "no hosts"


QUIET = ("committed", "trial-kept", "staged", "dry-activated", "current", "pending", "rolled-back", "skipped")
"""States of hosts that are of no interest while others move: the first to be left out where there is no room."""

_FRAME_LINES = 8
"""What the table takes beside its rows, with the lines above and below it."""


def live_view(
    rollout: Document, hosts: Sequence[Document], lines: int, doing: Sequence[Document] = ()
) -> RenderableType:
    """Return the view of a rollout that is followed: at most ``lines`` high, hosts in motion or trouble first.

    ``doing`` is how far builds and copies are; what the first build said last is below all of it.
    """
    from rich.console import Group
    from rich.text import Text

    waves = "   ".join(f"{wave['name']} {wave['state']}: {_counts(wave['counts'])}" for wave in rollout["waves"])
    last = next((host for host in doing if host.get("line")), None)
    room = max(3, lines - _FRAME_LINES - len(rollout["waves"]) - (last is not None))
    far = {host["name"]: progress_text(host) for host in doing}
    shown: Sequence[Document] = hosts
    if len(hosts) > room:
        shown = sorted(hosts, key=lambda host: host["state"] in QUIET and host["name"] not in far)[:room]
    parts: list[RenderableType] = [Text(rollout_line(rollout)), Text(waves, style="dim"), table(rollout, shown, far)]
    if len(shown) < len(hosts):
        parts.append(Text(f"and {len(hosts) - len(shown)} more (fleetctl rollout {rollout['id']})", style="dim"))
    if last is not None:
        parts.append(
            Text(f"{last['name']}: {plain(last['line'])}"[:200], style="dim", no_wrap=True, overflow="ellipsis")
        )
    return Group(*parts)


def table(rollout: Document, hosts: Sequence[Document], far: Mapping[str, str] | None = None) -> Table:
    """Return the hosts of a rollout by wave and state; ``far`` says of some how far they are."""
    from rich.table import Table
    from rich.text import Text

    shown = Table()
    for column in ("host", "wave", "state", "system", "why"):
        shown.add_column(column)
    order = {wave["name"]: index for index, wave in enumerate(rollout["waves"])}
    for host in sorted(hosts, key=lambda host: (order.get(host["wave"], 99), host["name"])):
        state = Text(host["state"], style=COLOURS.get(host["state"], ""))
        # Text, not str: rich reads a str as markup, and a reason may hold brackets.
        why = plain(host.get("reason") or (far or {}).get(host["name"], ""))[:80]
        cells = (host["name"], host["wave"], state, short(host.get("to")), why)
        shown.add_row(*(cell if isinstance(cell, Text) else Text(cell) for cell in cells))
    return shown
