"""What people read, as they read it."""

from __future__ import annotations

import io

from rich.console import Console

from fleetd.cli.render import (
    audit_line,
    difference_lines,
    event_line,
    host_line,
    host_lines,
    live_view,
    observed_line,
    plan_lines,
    progress_text,
    reason_lines,
    rollout_line,
    rollout_lines,
    short,
    size,
)
from tests.fakes.control import doing_document, host_document, observed_document, rollout_document

PLAN = {
    "waves": [
        {
            "name": "canary",
            "soak": "10m",
            "hosts": [{"name": "web1", "from": None, "to": f"/nix/store/{'1' * 32}-nixos-system-web1-2"}],
        },
        {
            "name": "rest",
            "soak": "0s",
            "hosts": [{"name": "web2", "from": f"/nix/store/{'0' * 32}-nixos-system-web2-1", "to": None}],
        },
    ],
    "policy": "default",
    "goal": "switch",
    "max_parallel": 1,
    "findings": [{"host": "db1", "kind": "clock", "text": "its clock is 2m ahead"}],
    "unchanged": ["db1"],
    "errors": [{"host": "web2", "message": "attribute 'web2' missing"}],
    "times": {"network_lost": "back within 3m", "bad_health": "back within 6m", "soak_rounds": "every 30s"},
}

PLAN_TEXT = """\
policy default, goal switch, at most 1 host unproven at once
wave canary (soak 10m)
  web1  - -> nixos-system-web1-2
wave rest (soak 0s)
  web2  nixos-system-web2-1 -> -
db1: its clock is 2m ahead
nothing to do on: db1
web2: attribute 'web2' missing
network lost: back within 3m; bad health: back within 6m"""

TABLE_TEXT = """\
r-1  rolling  1 committed, 1 failed, 1 trial
canary soaking: 1 committed   rest rolling: 1 failed, 1 trial
┏━━━━━━┳━━━━━━━━┳━━━━━━━━━━━┳━━━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━━━━━━━━━━┓
┃ host ┃ wave   ┃ state     ┃ system              ┃ why              ┃
┡━━━━━━╇━━━━━━━━╇━━━━━━━━━━━╇━━━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━━━━━━━━━━┩
│ web2 │ canary │ committed │ nixos-system-web2-2 │                  │
│ db1  │ rest   │ failed    │ nixos-system-db1-2  │ [red]disk full[/ │
│ web1 │ rest   │ trial     │ nixos-system-web1-2 │                  │
└──────┴────────┴───────────┴─────────────────────┴──────────────────┘
"""


def test_a_plan() -> None:
    assert "\n".join(plan_lines(PLAN)) == PLAN_TEXT


def test_lines() -> None:
    soak = {"text": "wave canary was observed healthy for 3 of 60 s"}
    assert rollout_line(rollout_document("r-1", blocked_by=[soak])) == f"r-1  rolling  1 trial  ({soak['text']})"
    ended = rollout_document("r-1", "failed", blocked_by=[soak], finish_reason="budget exceeded")
    assert rollout_line(ended) == "r-1  failed  1 trial  (budget exceeded)"
    lost = host_document("web1", contact="lost since 10:00", reason="no answer")
    assert host_line(lost) == "web1  canary  trial  nixos-system-web1-2  lost since 10:00  (no answer)"
    seen = {"name": "web1", "state": "idle", "current": None, "contact": "ok", "drifted": True, "needs_reboot": True}
    assert observed_line(seen) == "web1  idle  -  drifted needs_reboot"
    told = {**seen, "findings": [{"kind": "nix", "text": "a"}, {"kind": "nix", "text": "b"}]}
    assert observed_line(told) == "web1  idle  -  drifted needs_reboot nix"
    blamed = host_document("web1", "reverted", reason="web.service failed", changed="units web.service")
    assert host_line(blamed).endswith("(web.service failed)  [changed: units web.service]")
    event = {"seq": 4, "at": "T", "kind": "Copied", "rollout": "r-1", "host": "web1"}
    assert event_line(event) == "4  T  Copied  r-1  web1"
    assert event_line({**event, "rollout": "", "host": ""}) == "4  T  Copied"


def test_the_live_table_is_ordered_by_wave_and_shows_text_as_it_is() -> None:
    waves = [
        {"name": "canary", "state": "soaking", "counts": {"committed": 1}},
        {"name": "rest", "state": "rolling", "counts": {"failed": 1, "trial": 1}},
    ]
    document = rollout_document("r-1", waves=waves, counts={"committed": 1, "failed": 1, "trial": 1})
    hosts = [
        host_document("db1", "failed", wave="rest", reason="[red]disk full[/"),
        host_document("web1", wave="rest"),
        host_document("web2", "committed"),
    ]
    console = Console(file=io.StringIO(), width=100)
    console.print(live_view(document, hosts, 30))
    assert isinstance(console.file, io.StringIO)
    assert [line.rstrip() for line in console.file.getvalue().splitlines()] == TABLE_TEXT.splitlines()


def test_what_a_host_says_does_not_steer_the_terminal() -> None:
    said = host_document("web1", reason="\x1b[2Jgone\r\nnext")
    assert host_line(said).endswith("(\N{REPLACEMENT CHARACTER}[2Jgone …)")
    failed = {**PLAN, "errors": [{"host": "web2", "message": "one\ntwo\x1b"}]}
    assert "web2: one\ntwo\N{REPLACEMENT CHARACTER}" in plan_lines(failed)


def test_a_path_without_its_hash() -> None:
    assert short(f"/nix/store/{'0' * 32}-nixos-system-x") == "nixos-system-x"
    assert short("odd") == "odd"
    assert short(None) == "-"


def test_a_view_of_many_hosts_fits_the_terminal_and_shows_what_moves() -> None:
    hosts = [host_document(f"h{n:03}", "committed") for n in range(300)]
    hosts[250] = host_document("h250", "stranded", reason="a person is needed")
    console = Console(file=io.StringIO(), width=100)
    console.print(live_view(rollout_document("r-1"), hosts, 24))
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue().splitlines()
    assert len(shown) <= 24
    assert any("h250" in line and "a person is needed" in line for line in shown)
    assert shown[-1].startswith("and 285 more (fleetctl rollout r-1)")


def test_a_rollout_in_full() -> None:
    block = {"text": "frozen", "until": "2026-01-02", "type": "fleetctl unfreeze"}
    document = rollout_document("r-1", reason="new kernel", blocked_by=[block])
    assert rollout_lines(document) == [
        "r-1  rolling  1 trial  (frozen)",
        "  test at 2026-01-01T00:00:00.000Z: new kernel",
        "  prebuilt toplevels on *, policy default, goal switch",
        "  wave canary: rolling, 1 trial",
        "  waits: frozen, until 2026-01-02 -> fleetctl unfreeze",
    ]


def test_what_somebody_asked_for_in_a_line() -> None:
    spec = {"kind": "deploy", "requested_by": "kim", "reason": "new\x1b kernel", "revision": "r", "on": "@web"}
    event = {"at": "T", "kind": "RolloutRequested", "rollout": "r-1", "host": "", "data": {"spec": spec}}
    assert audit_line(event) == "T  kim  deploy r-1 of r to @web  (new\N{REPLACEMENT CHARACTER} kernel)"
    event = {"at": "T", "kind": "AbortRequested", "rollout": "r-1", "host": "", "data": {"by": "kim", "reason": ""}}
    assert audit_line(event) == "T  kim  abort r-1"
    event = {
        "at": "T",
        "kind": "HostCleared",
        "rollout": "r-1",
        "host": "web1",
        "data": {"by": "kim", "reason": "gone"},
    }
    assert audit_line(event) == "T  kim  clear web1 in r-1  (gone)"


def test_a_host_in_full() -> None:
    block = {"text": "drifted"}
    shown = host_lines({"name": "web1", "current": None, "drifted": True, "tags": ["a", "b"], "blocked_by": [block]})
    assert shown == ["name: web1", "current: -", "drifted: yes", "tags: a, b", "blocked_by: drifted"]


DIFFERENCE = {
    "added": [{"name": "jq", "before": [], "after": ["1.7"], "growth_bytes": 2048}],
    "removed": [{"name": "vim", "before": ["9.0", "9.1"], "after": [], "growth_bytes": -3_000_000}],
    "changed": [{"name": "openssl", "before": ["3.0.1"], "after": ["3.0.2"], "growth_bytes": 0}],
    "rebuilt": ["bash-5.2"],
    "units_added": ["a.service"],
    "units_removed": ["b.timer"],
    "units_changed": ["web.service"],
    "kernel": ["6.12.1", ""],
    "needs_reboot": True,
    "bytes_before": 5_000_000,
    "bytes_after": 4_000_000,
    "download_paths": 7,
    "download_bytes": 1_500_000,
}


def test_a_difference_says_what_comes_what_goes_and_what_it_costs() -> None:
    was, to = (f"/nix/store/{'0' * 32}-nixos-system-web1-{label}" for label in "12")
    lines = difference_lines({"host": "web1", "from": was, "to": to, "difference": DIFFERENCE})
    assert lines == [
        "web1  nixos-system-web1-1 -> nixos-system-web1-2",
        "  + jq  1.7  (+2.0 KiB)",
        "  - vim  9.0, 9.1  (-2.9 MiB)",
        "  ~ openssl  3.0.1 -> 3.0.2  (+0 B)",
        "  = bash-5.2  (rebuilt)",
        "  + a.service",
        "  - b.timer",
        "  ~ web.service",
        "  kernel  6.12.1 -> (unknown)",
        "packages: 1 changed, 1 added, 1 removed, 1 rebuilt; 3 units; 7 paths, 1.4 MiB to send at most; "
        "a reboot is needed for all of it; in all 4.8 MiB -> 3.8 MiB",
    ]


def test_a_plan_has_the_difference_in_one_line() -> None:
    host = {"name": "web1", "from": None, "to": None, "difference": DIFFERENCE}
    lines = plan_lines({**PLAN, "waves": [{"name": "canary", "soak": "10m", "hosts": [host]}]})
    assert lines[3].startswith("    packages: 1 changed")


def test_sizes_are_read_at_a_glance() -> None:
    assert [size(count) for count in (0, 1023, 1024, -2048, 5 * 1024**3, 3000 * 1024**3)] == [
        *("0 B", "1023 B", "1.0 KiB", "-2.0 KiB", "5.0 GiB", "3000.0 GiB")
    ]


def test_how_far_a_build_or_copy_is() -> None:
    assert progress_text(doing_document("web1", step="copying")) == "5 B of 9 B sent"
    begun = doing_document("web1", to_build=0, to_copy=0, download_bytes=0, running_count=0, running=[])
    assert progress_text(begun) == "begun"
    bad = doing_document("web1", to_build=0, to_copy=0, download_bytes=0, running_count=0, running=[], failed=2)
    assert progress_text(bad) == "2 failed"


def test_a_reason_of_many_lines_is_one_line_and_the_rest_of_it() -> None:
    host = host_document("web1", "failed", reason="first\nsecond\n third")
    assert host_line(host) == "web1  canary  failed  nixos-system-web1-2  (first …)"
    assert reason_lines(host) == ["    second", "     third"]
    assert reason_lines(host, head=True)[0] == "web1: first"
    assert reason_lines(host_document("web1", reason="one")) == []


def test_the_live_view_shows_builds_and_what_one_said_last() -> None:
    hosts = [host_document(f"h{n}", "pending", to=None) for n in range(30)]
    doing = [doing_document("h29")]
    console = Console(file=io.StringIO(), width=120)
    console.print(live_view(rollout_document("r-1", "building"), hosts, 20, doing))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "h29" in text and "3 of 12 built" in text, "one that is built is of interest"
    assert "h29: linux> CC main.o" in text


def test_what_a_host_is_owed_and_how_it_was_seen_is_told() -> None:
    owed: dict[str, object] = {
        "to": f"/nix/store/{'1' * 32}-nixos-system-web1-2",
        "rollout": "r-1",
        "policy": "default",
        "since": "T1",
    }
    owed |= {"tries": 2, "retry_at": None, "reason": "deferred: no answer", "given_up": True}
    seen = {"state": "unreachable", "reason": "no answer", "since": "T2", "counts": True, "at": "T3"}
    host = observed_document("web1", owed=owed, seen=seen)
    assert "owed unreachable" in observed_line(host)
    lines = host_lines(host)
    assert "owed: nixos-system-web1-2 of r-1 since T1, tried 2 times, given up: deferred: no answer" in lines
    assert "seen: unreachable since T2: no answer (looked at T3)" in lines
    assert "seen: unknown" in host_lines(observed_document("web1"))
