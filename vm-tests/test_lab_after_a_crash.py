"""The lab leaves nothing behind: not after ``down``, not after a crash, and never at the cost of another's lab."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from lab import HostSpec, Lab, LabError, LabUnavailable, base, cgroup, disk, leftovers, net, state
from lab.__main__ import specs
from lab.run import run

NAME = f"crash-{os.getpid()}"
OWN = """
import sys, time
from lab import Lab
with Lab.up("{name}", ["one"], quiet=True) as lab:
    lab.hosts["one"].cut()
    print(lab.index, flush=True)
    time.sleep(600)
"""


def left_of(name: str, index: int) -> dict[str, list[str]]:
    """Return whatever there is of a lab on this machine, by kind.

    Its number may be another lab's by now, which says so before it makes anything: what goes by number is that lab's.
    """
    place, group = state.STATE / name, f"fl{index}h"
    processes = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words, groups = (entry / "cmdline").read_bytes().decode(), (entry / "cgroup").read_text()
        except OSError:
            continue
        if state.owner(int(entry.name)) is None:
            continue  # It has ended, and only waits for its parent to notice.
        if f"{place}/" in words or f"/{group}" in groups:
            processes.append(f"{entry.name} {words}")
    tables = [line.split() for line in run("nft", "list", "tables").stdout.splitlines()]
    links = [link["ifname"] for link in json.loads(run("ip", "-j", "link").stdout)]
    spaces = [line.split()[0] for line in run("ip", "netns").stdout.splitlines()]
    control_groups = sorted(cgroup.names(group))
    if index in {number for other, number in state.numbers().items() if other != name}:
        links, spaces, tables, control_groups = [], [], [], []
        processes = [line for line in processes if f"{place}/" in line]
    everything = {
        "mounts": [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if f" {place}/" in line],
        "processes": processes,
        "groups": control_groups,
        "links": [name for name in links if name == f"flb{index}" or name.startswith(f"v-{group}")],
        "spaces": [name for name in spaces if name.startswith(group)],
        "filters": [words[2] for words in tables if words[2] == f"flb{index}" or words[2].startswith(group)],
        "files": [str(place)] if place.exists() else [],
    }
    return {kind: found for kind, found in everything.items() if found}


def start(text: str) -> subprocess.Popen[str]:
    """Start a process that owns a lab."""
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    return subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, text=True, env=env)


def crash_after_up() -> int:
    """Bring a lab up in a process that is then killed; returns the lab's number."""
    with start(OWN.format(name=NAME)) as child:
        assert child.stdout is not None
        index = int(child.stdout.readline())
        child.kill()
    return index


@pytest.mark.lab
def test_down_leaves_nothing() -> None:
    with Lab.up(NAME, ["one", HostSpec("two")]) as lab:
        lab.hosts["one"].cut()
        kinds = {"mounts", "processes", "groups", "links", "spaces", "filters", "files"}
        assert set(left_of(NAME, lab.index)) == kinds, "what this test looks for is there to be found"
    assert left_of(NAME, lab.index) == {}
    lab.down()
    with pytest.raises(LabError, match=f"there is no lab '{NAME}'"):
        Lab.load(NAME)


@pytest.mark.lab
def test_a_host_that_hangs_in_its_shutdown_does_not_stop_the_next_run() -> None:
    with Lab.up(NAME, ["one"]) as lab:
        one = lab.hosts["one"]
        one.ssh("systemd-run", "-q", "-pExecStop=/bin/sleep 600", "-pTimeoutStopSec=infinity", "sleep", "600")
        one.inside("systemctl", "--no-block", "reboot")
        os.kill(one.leader() or 0, signal.SIGSTOP)
    assert left_of(NAME, lab.index) == {}


@pytest.mark.lab
def test_a_crashed_run_is_replaced_by_the_next_of_its_name() -> None:
    index = crash_after_up()
    assert state.is_crashed(NAME)
    assert "processes" in left_of(NAME, index), "the hosts of a crashed run are still there"
    with Lab.up(NAME, ["one"]) as lab:
        assert lab.hosts["one"].ssh("true").returncode == 0
    assert left_of(NAME, index) == left_of(NAME, lab.index) == {}


@pytest.mark.lab
@pytest.mark.parametrize("after_s", [0.2, 0.4, 0.6, 0.8, 1.2, 2.0])
def test_a_run_killed_on_its_way_up_is_replaced_too(after_s: float) -> None:
    with start(OWN.format(name=NAME)) as child:
        time.sleep(after_s)
        child.kill()
    index = state.read(NAME)["index"] if NAME in state.names() else 0
    with Lab.up(NAME, ["one"]) as lab:
        assert lab.hosts["one"].ssh("true").returncode == 0
    assert left_of(NAME, index) == left_of(NAME, lab.index) == {}


@pytest.mark.lab
def test_clean_removes_crashed_labs_and_no_others() -> None:
    index = crash_after_up()
    with Lab.up(f"{NAME}-alive", ["one"]) as alive:
        assert NAME in state.clean()
        assert alive.hosts["one"].ssh("true").returncode == 0
        assert left_of(NAME, index) == {}
        Lab.up(NAME, ["one"]).keep()
        assert NAME not in state.clean()
        Lab.load(NAME).down()


@pytest.mark.lab
def test_clean_finds_what_nobody_wrote_down() -> None:
    index = crash_after_up()
    (state.STATE / NAME / "lab.json").unlink()
    assert f"what was left of number {index}" in state.clean()
    assert left_of(NAME, index) == {}


@pytest.mark.lab
def test_the_name_of_a_lab_that_is_up_is_refused() -> None:
    with Lab.up(NAME, ["one"]) as lab:
        before = lab.hosts["one"].boot_id()
        with pytest.raises(LabError, match=f"is up already by process {os.getpid()}"):
            Lab.up(NAME, ["one"])
        lab.keep()
        with pytest.raises(LabError, match=f"python -m lab down {NAME}"):
            Lab.up(NAME, ["one"])
        assert lab.hosts["one"].boot_id() == before


@pytest.mark.lab
def test_a_lab_that_fails_on_its_way_up_leaves_nothing() -> None:
    seen = []

    def seed(host: object) -> None:
        seen.append(state.read(NAME)["index"])
        raise LabError("no seed today")

    with pytest.raises(LabError, match="no seed today"):
        Lab.up(NAME, ["one", "two"], seed=seed)
    assert left_of(NAME, seen[0]) == {}


@pytest.mark.lab
def test_the_command_line_keeps_what_it_boots() -> None:
    def lab(*words: str) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
        return run(sys.executable, "-m", "lab", *words, check=False, timeout_s=90, env=env)

    assert lab("up", NAME, "--hosts", "2", "--domains", "2", "--tag", "canary=web2").returncode == 0
    try:
        index = Lab.load(NAME).index
        shown = [line.split("\t") for line in lab("list").stdout.splitlines()]
        assert [words for words in shown if words[0] == NAME] == [
            [NAME, "kept", "web1", f"10.213.{index}.10", "rack-a", "web", "on"],
            [NAME, "kept", "web2", f"10.213.{index}.11", "rack-b", "web,canary", "on"],
        ]
        assert lab("ssh", NAME, "web2", "--", "hostname").stdout == "web2\n"
        assert lab("ssh", NAME, "deploy@web1", "id", "-un").stdout == "deploy\n"
        for verbs in (("cut", "--direction", "in"), ("heal",), ("slow", "--rate", "10mbit"), ("unslow",)):
            assert lab(verbs[0], NAME, "web1", *verbs[1:]).returncode == 0
        for verb in ("fill-disk", "unfill", "pause-sshd", "resume-sshd", "power-cut", "boot"):
            done = lab(verb, NAME, "web1")
            assert (done.returncode, done.stderr) == (0, "")
        wrong = lab("heal", NAME, "web9")
        assert (wrong.returncode, wrong.stderr) == (
            1,
            f"lab: no host 'web9' in lab '{NAME}' (there are: web1, web2)\n",
        )
        assert lab("up", NAME).returncode == 1
    finally:
        assert lab("down", NAME).returncode == 0
    assert left_of(NAME, index) == {}
    assert "there is no lab" in lab("down", NAME).stderr


# -- without any host ---------------------------------------------------------------------------------------------


def test_without_root_it_says_what_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(LabUnavailable, match=r"needs root.*make test-unit"):
        base.require()


def test_without_programs_and_apt_it_says_what_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(LabUnavailable, match=r"debootstrap, .*systemd-container.* no apt-get"):
        base.require()


def test_a_name_that_no_lab_can_have_is_refused() -> None:
    for name in ("", "UP", "a/b", "a" * 32, "../x"):
        with pytest.raises(LabError, match="is no name for a lab"):
            state.check_name(name, "lab")


def test_the_options_of_up_describe_hosts() -> None:
    made = specs(3, 2, ["canary=web1", "eu=web1,web3"])
    assert [(spec.name, spec.tags, spec.domain) for spec in made] == [
        ("web1", ("web", "canary", "eu"), "rack-a"),
        ("web2", ("web",), "rack-b"),
        ("web3", ("web", "eu"), "rack-a"),
    ]
    with pytest.raises(LabError, match="web1 to web3"):
        specs(3, 2, ["canary=web4"])


def test_names_tell_which_lab_a_thing_belongs_to() -> None:
    assert [net.index_of(name) for name in ("flb7", "fl12h3", "v-fl12h3", "flowers", "fl1", "eth0", "v-flb7")] == [
        *(7, 12, 12),
        *(None, None, None, None),
    ]


SOURCES = """# http://old.example.org/debian
Types: deb
URIs: http://other.example.org/linux/debian
Suites: bookworm
Components: stable

Types: deb
Enabled: no
URIs: http://off.example.org/debian
Suites: bookworm
Components: main

Types: deb
# a comment
URIs: http://mirror.example.org/debian
Suites: bookworm bookworm-updates
Components: main
"""
LIST = """# deb http://old.example.org/debian bookworm main
deb http://mirror.example.org/security bookworm-security main
deb [arch=amd64 signed-by=/a] http://other.example.org/debian bookworm stable
deb [arch=amd64] http://mirror.example.org/debian bookworm main
"""


@pytest.mark.parametrize(("name", "text"), [("debian.sources", SOURCES), ("debian.list", LIST)])
def test_the_mirror_is_the_one_that_apt_takes_main_from(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert base._main_uri(tmp_path / name, "bookworm") == "http://mirror.example.org/debian"
    assert base._main_uri(tmp_path / name, "trixie") is None
    (tmp_path / f"{name}.disabled").write_text(text)
    assert base._main_uri(tmp_path / f"{name}.disabled", "bookworm") is None


@pytest.mark.lab
def test_a_build_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEETD_LAB_CACHE", str(tmp_path))
    monkeypatch.setenv("FLEETD_LAB_MIRROR", f"file://{tmp_path}/no-mirror")
    with pytest.raises(LabError, match=r"debootstrap failed with exit 1:\n(.|\n)*no-mirror"):
        base.base_tree("trixie")
    assert [place.name for place in tmp_path.iterdir()] == ["lock"]


@pytest.mark.lab
def test_what_a_killed_build_left_is_removed_with_its_mounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = tmp_path / ".building-trixie/root/proc"
    inner.mkdir(parents=True)
    run("mount", "-t", "proc", "proc", inner)
    monkeypatch.setattr(base, "mirror", lambda: (_ for _ in ()).throw(LabError("far enough")))
    with pytest.raises(LabError, match="far enough"):
        base._build("trixie", tmp_path / "trixie-0")
    assert disk.mounts_below(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def watched(command: str) -> subprocess.CompletedProcess[str]:
    """Run a shell command under ``lab watch``."""
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    words = [sys.executable, "-m", "lab", "watch", "--", "sh", "-c", command]
    return subprocess.run(words, env=env, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.lab
def test_watch_passes_on_how_a_command_ended() -> None:
    assert watched("exit 0").returncode == 0
    assert watched("exit 3").returncode == 3


@pytest.mark.lab
def test_watch_names_what_a_command_left_and_removes_what_was_a_labs(tmp_path: Path) -> None:
    place, file = state.STATE / f"{NAME}-left", tmp_path / "pid"
    done = watched(
        f"setsid sleep 600 >/dev/null 2>&1 & echo $! > {file}; ip netns add fl201h1; mkdir -p {place}; "
        f"mount -t tmpfs left {place}"
    )
    pid = int(file.read_text())
    os.kill(pid, signal.SIGKILL)
    assert done.returncode == 1
    said = [line.removeprefix("lab: left behind: ") for line in done.stderr.splitlines()]
    things = [f"directory {place}", f"mount {place}", "network namespace fl201h1", f"process {pid} sleep 600"]
    assert said[:-1] == things
    assert leftovers.things() & set(things) == set()


@pytest.mark.lab
def test_watch_leaves_the_labs_of_others_alone() -> None:
    with Lab.up(f"{NAME}-other", ["one"], quiet=True):
        assert watched("true").stderr == ""
