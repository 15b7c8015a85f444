"""The lab itself: what its hosts are, what its faults do, and that they can be undone."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab import HostSpec, Lab, LabError, LabHost, cgroup
from lab.run import run

pytestmark = pytest.mark.lab
SPECS = (HostSpec("one", ("web", "canary"), "rack-a"), HostSpec("two", ("web",), "rack-b"))


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab.up(f"lab-{os.getpid()}", SPECS) as made:
        yield made


@pytest.fixture
def one(lab: Lab) -> LabHost:
    """A host on which the test before left nothing."""
    host = lab.hosts["one"]
    if not host.is_pristine():
        lab.reset([host])
    host.mark_used()
    return host


# -- what a host is -----------------------------------------------------------------------------------------------


def test_hosts_are_as_asked_for_and_known_by_their_keys(lab: Lab) -> None:
    assert [(host.name, host.tags, host.domain) for host in lab.hosts.values()] == [
        (spec.name, spec.tags, spec.domain) for spec in SPECS
    ]
    assert {host.ssh("hostname").stdout.strip() for host in lab.hosts.values()} == {"one", "two"}
    assert len({host.read("/etc/machine-id") for host in lab.hosts.values()}) == 2
    known = lab.known_hosts.read_text()
    for host in lab.hosts.values():
        assert host.host_key.startswith("ssh-ed25519 AAAA")
        assert f"{host.address},{host.name} {host.host_key}\n" in known


def test_a_host_with_another_key_is_not_logged_in_to(lab: Lab) -> None:
    one, two = lab.hosts["one"], lab.hosts["two"]
    words = [word.replace(one.address, two.address) for word in one.ssh_words()]
    assert run(*words, "true", check=False).returncode == 0
    text = lab.known_hosts.read_text()
    lab.known_hosts.write_text(text.replace(two.host_key, one.host_key))
    try:
        assert "HOST IDENTIFICATION HAS CHANGED" in run(*words, "true", check=False).stderr
    finally:
        lab.known_hosts.write_text(text)


def test_the_deploy_user_has_sudo_and_the_nix_daemon(one: LabHost) -> None:
    assert one.ssh("id -u; sudo -n id -u", user="deploy").stdout.split() == ["1000", "0"]
    file = one.ssh("echo hello >hello; NIX_REMOTE=daemon nix-store --add ./hello", user="deploy").stdout.strip()
    assert one.read(file) == "hello\n"
    assert one.ssh("nix-store", "--verify-path", file).returncode == 0


def test_a_host_runs_real_systemd_without_failed_units(one: LabHost) -> None:
    one.inside("systemctl", "is-system-running", "--wait", check=False)
    assert one.inside("systemctl", "--failed", "--plain", "--no-legend").stdout == ""
    assert one.ssh("readlink", "/proc/1/exe").stdout.strip().endswith("/systemd")


def test_words_reach_the_host_as_they_are(one: LabHost) -> None:
    assert one.ssh("printf", "%s|", "a b", "$HOME", "'").stdout == "a b|$HOME|'|"
    assert one.ssh("cat", text_in="through").stdout == "through"
    with pytest.raises(LabError, match="exit 3"):
        one.ssh("exit 3")


@pytest.mark.parametrize("forwarding", ["0", "1"])
def test_nothing_outside_can_be_reached(lab: Lab, forwarding: str) -> None:
    """An "outside" of our own: a namespace that the machine would forward to, were it a router."""
    short = f"labout{lab.index}"
    switches = [Path(f"/proc/sys/net/ipv4/conf/{device}/forwarding") for device in (lab.bridge, short)]
    run("ip", "netns", "add", short)
    try:
        run("ip", "link", "add", short, "type", "veth", "peer", "name", "eth0", "netns", short)
        run("ip", "addr", "add", "10.214.0.1/30", "dev", short)
        run("ip", "link", "set", short, "up")
        run("ip", "-n", short, "addr", "add", "10.214.0.2/30", "dev", "eth0")
        run("ip", "-n", short, "link", "set", "eth0", "up")
        run("ip", "-n", short, "route", "add", "default", "via", "10.214.0.1")
        for switch in switches:
            switch.write_text(forwarding)
        host = lab.hosts["two"]
        serve = (
            "import socket; s = socket.create_server(('10.214.0.2', 8000))\nwhile True: s.accept()[0].sendall(b'hello')"
        )
        words = ("ip", "netns", "exec", short, sys.executable, "-c", serve)
        with subprocess.Popen(words, stdout=subprocess.DEVNULL, cwd="/") as server:
            try:
                _until_connected("10.214.0.2", 8000)
                ask = "timeout 2 cat </dev/tcp/10.214.0.2/8000"
                assert "hello" not in host.inside("bash", "-c", ask, check=False, timeout_s=4).stdout
            finally:
                server.kill()
    finally:
        switches[0].write_text("0")
        run("ip", "link", "del", short, check=False)
        run("ip", "netns", "del", short)


def _until_connected(address: str, port: int) -> None:
    for _attempt in range(100):
        try:
            socket.create_connection((address, port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"nobody listens on {address}:{port}")


# -- the link -----------------------------------------------------------------------------------------------------


def arrives_at_host(lab: Lab, host: LabHost) -> bool:
    """Whether a datagram from the controller reaches the host."""
    listen = (
        "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('', 9000)); s.settimeout(2);"
        "print('open', flush=True); print(s.recv(9))"
    )
    leader = str(host.leader())
    words = ["nsenter", "-t", leader, "-n", "python3", "-c", listen]
    with (
        subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as child,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        assert child.stdout is not None
        assert child.stdout.readline() == "open\n"
        sender.sendto(b"hello", (host.address, 9000))
        return child.wait(10) == 0


def arrives_at_controller(lab: Lab, host: LabHost) -> bool:
    """Whether a datagram from the host reaches the controller."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind((lab.controller_address, 0))
        receiver.settimeout(2)
        host.inside("bash", "-c", f"echo hello >/dev/udp/{lab.controller_address}/{receiver.getsockname()[1]}")
        try:
            return receiver.recv(9) == b"hello\n"
        except TimeoutError:
            return False


@pytest.mark.parametrize(("direction", "to_host", "from_host"), [("in", 0, 1), ("out", 1, 0), ("both", 0, 0)])
def test_a_link_is_cut_and_healed_in_each_direction(
    lab: Lab, one: LabHost, direction: str, to_host: int, from_host: int
) -> None:
    one.cut(direction)
    assert (arrives_at_host(lab, one), arrives_at_controller(lab, one)) == (to_host, from_host)
    assert one.ssh("true", check=False, timeout_s=8).returncode != 0
    assert lab.hosts["two"].ssh("true").returncode == 0, "only one link is cut"
    one.heal()
    assert (arrives_at_host(lab, one), arrives_at_controller(lab, one)) == (1, 1)
    assert one.ssh("true").returncode == 0


def test_a_cut_ends_what_was_under_way_and_the_host_cannot_undo_it(one: LabHost) -> None:
    one.cut("out")
    one.inside("nft", "flush", "ruleset")
    one.power_cut()
    one.boot()
    with pytest.raises(LabError, match="not ready"):
        one.wait_ready(8)
    one.cut("in")  # One cut in place of the other.
    one.heal()
    one.wait_ready()


def test_cutting_in_no_direction_is_an_error(one: LabHost) -> None:
    with pytest.raises(LabError, match="both, in, out, not 'up'"):
        one.cut("up")


def test_a_slow_link_is_slow_in_each_direction_and_fast_again(one: LabHost) -> None:
    def seconds() -> tuple[float, float]:
        before = time.monotonic()
        run(*one.ssh_words(), "cat >/dev/null", text_in="x" * 400_000)
        between = time.monotonic()
        one.ssh("head -c 400000 /dev/zero")
        return between - before, time.monotonic() - between

    one.slow("1mbit")
    assert min(seconds()) > 2
    one.unslow()
    assert max(seconds()) < 2


def test_a_host_that_broke_its_own_network_has_one_after_a_reboot(one: LabHost) -> None:
    one.inside("ip", "addr", "flush", "dev", "host0")
    one.inside("ip", "link", "set", "host0", "down")
    assert one.ssh("true", check=False, timeout_s=8).returncode != 0
    one.power_cycle()
    assert one.ssh("true").returncode == 0


# -- power --------------------------------------------------------------------------------------------------------


def test_after_a_power_cut_nothing_runs_and_the_disk_is_as_it_was(one: LabHost) -> None:
    one.ssh("echo kept >/root/file; ln -s /root/file /etc/link; touch /run/lost")
    before, short = one.boot_id(), one.wiring.short
    started = time.monotonic()
    one.power_cut()
    assert time.monotonic() - started < 2
    assert not one.is_running()
    assert cgroup.names(short) == set()
    # Nobody answers, and nobody comes back.
    time.sleep(1)
    assert one.ssh("true", check=False, timeout_s=10).returncode != 0
    assert one.read("/etc/link") == "kept\n"
    with pytest.raises(LabError, match="is off"):
        one.inside("true")
    one.power_cut()
    one.boot()
    one.boot()
    one.wait_ready()
    assert one.boot_id() != before
    assert one.read("/root/file") == "kept\n"
    assert one.readlink("/run/lost") == ""


def test_a_reboot_is_orderly_and_gives_a_new_boot(one: LabHost) -> None:
    one.ssh("systemd-run", "-q", "-pExecStop=/bin/touch /root/stopped", "--unit=sleeper", "sleep", "1000")
    one.ssh("touch", "/run/lost")
    before = one.boot_id()
    one.reboot()
    assert one.boot_id() != before
    assert one.is_running()
    assert one.readlink("/root/stopped") == "/root/stopped"
    assert one.readlink("/run/lost") == ""


def test_a_power_off_inside_is_one(one: LabHost) -> None:
    one.inside("systemctl", "--no-block", "poweroff")
    for _attempt in range(200):
        if not one.is_running():
            break
        time.sleep(0.1)
    assert not one.is_running()
    with pytest.raises(LabError, match="is off; its console says"):
        one.wait_ready()
    one.power_cycle()


@pytest.mark.parametrize("after_s", [0.0, 0.3, 0.8, 1.3])
def test_a_power_cut_in_a_reboot_leaves_the_host_off(one: LabHost, after_s: float) -> None:
    one.reboot(wait=False)
    time.sleep(after_s)
    one.power_cut()
    time.sleep(0.5)
    assert not one.is_running()
    assert cgroup.pids(one.wiring.short) == []
    one.power_cycle()


# -- the rest -----------------------------------------------------------------------------------------------------


def test_a_full_disk_is_full_for_the_host_and_can_be_emptied(one: LabHost) -> None:
    one.fill_disk()
    for place in ("/nix/big", "/var/tmp/big"):
        refused = one.ssh(f"head -c 100000 /dev/zero >{place}", check=False)
        assert "No space left on device" in refused.stderr
    one.unfill()
    one.fill_disk(leave_bytes=10_000_000)
    assert one.ssh("head -c 5000000 /dev/zero >/nix/big; sync", check=False).returncode == 0
    assert one.ssh("head -c 9000000 /dev/zero >/nix/bigger", check=False).returncode != 0
    one.unfill()
    assert one.ssh("head -c 9000000 /dev/zero >/nix/bigger").returncode == 0


def test_a_stopped_sshd_takes_connections_and_says_nothing(one: LabHost) -> None:
    one.pause_sshd()
    with socket.create_connection((one.address, 22), timeout=2) as connection:
        with pytest.raises(TimeoutError):
            connection.recv(1)
        one.resume_sshd()
        assert connection.recv(4) == b"SSH-"
    assert one.ssh("true").returncode == 0


def test_looking_from_outside_sees_what_the_host_sees(one: LabHost) -> None:
    one.ssh("ln -s /run/there /root/a; ln -s ../root/a /etc/b; echo text >/run/there; ln -s loop /root/loop")
    assert one.readlink("/etc/b") == "/run/there"
    assert one.read("/etc/b") == "text\n"
    assert one.readlink("/root/../../../etc/hostname") == "/etc/hostname"
    assert one.readlink("/root/nothing") == ""
    with pytest.raises(LabError, match="cannot read /root/nothing"):
        one.read("/root/nothing")
    with pytest.raises(LabError, match="too many links"):
        one.read("/root/loop")
    with pytest.raises(LabError, match="not an absolute path"):
        one.read("root")


def test_a_reset_host_is_new_but_known(lab: Lab, one: LabHost) -> None:
    key, machine, boot = one.host_key, one.read("/etc/machine-id"), one.boot_id()
    one.ssh("touch /root/file")
    one.fill_disk()
    one.cut()
    one.slow()
    assert not one.is_pristine()
    lab.reset([one], seed=lambda host: (host.root / "etc/seeded").touch())
    assert one.is_pristine()
    assert one.ssh("ls /root/file /etc/seeded", check=False).stdout.split() == ["/etc/seeded"]
    assert (one.host_key, one.read("/etc/machine-id")) == (key, machine)
    assert one.boot_id() != boot
    assert one.ssh("head -c 9000000 /dev/zero >/nix/bigger").returncode == 0
    one.mark_used()


def test_the_processes_of_hosts_are_apart(lab: Lab) -> None:
    groups = {name: set(cgroup.pids(host.wiring.short)) for name, host in lab.hosts.items()}
    assert min(len(pids) for pids in groups.values()) > 5
    assert groups["one"] & groups["two"] == set()
    assert os.getpid() not in groups["one"]
