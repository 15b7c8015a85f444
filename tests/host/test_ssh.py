"""Contacts over a real ssh connection: what is wrong is told apart, and the unknown is never called anything else."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncssh
import pytest
import pytest_asyncio

from fleetd.errors import (
    FleetdError,
    HostError,
    HostIdentityError,
    LoginRefused,
    OrderRefused,
    OutcomeUnknown,
    Unreachable,
)
from fleetd.host import connection
from fleetd.host.connection import SshIdentity, command_line, connect
from fleetd.host.port import SshHosts
from fleetd.host.wire import REPLY_LIMIT_BYTES, encode_order
from fleetd.model.facts import HelperState
from fleetd.model.fence import Fence
from fleetd.model.fleet import Host, Privilege
from fleetd.model.order import Order, Verb
from tests.fakes.ssh_server import SshServer, cut_after, reply, silence

STATUS = b"fleetd-host 1 1.7\nid=r-1.web1.1\nstate=trial\ncurrent=/nix/store/x\nend ok status\n"
SETTLE = Order(Verb.SETTLE, "r-1.web1.1", Fence(1, 8), "web1", "m" * 32, "boot-1", 100.0)


class VirtualClock:
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self.at = 1000.0

    def now(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        self.at += seconds


@pytest_asyncio.fixture
async def server(tmp_path: Path) -> AsyncIterator[SshServer]:
    async with SshServer(tmp_path) as made:
        made.answers["status"] = reply(STATUS)
        yield made


@pytest_asyncio.fixture
async def ask(server: SshServer) -> AsyncIterator[SshHosts]:
    hosts = SshHosts(server.identity(), VirtualClock(), lambda _name: None)
    yield hosts
    await hosts.close()


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not true():  # noqa: ASYNC110 - what it waits for has no event
            await asyncio.sleep(0.01)


# -- logging in -------------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_another_host_key_is_told_with_both_fingerprints(server: SshServer) -> None:
    known = asyncssh.generate_private_key("ssh-ed25519")
    host = server.host(host_key=known.export_public_key().decode().strip())
    with pytest.raises(HostIdentityError) as caught:
        await connect(host, server.identity(), through=None, timeout_s=10)
    assert known.get_fingerprint() in str(caught.value)
    assert server.key.get_fingerprint() in str(caught.value)
    assert server.commands == []


@pytest.mark.asyncio
async def test_a_host_without_any_known_key_is_never_believed(server: SshServer) -> None:
    with pytest.raises(HostIdentityError, match="no host_key in the fleet file"):
        await connect(server.host(host_key=None), server.identity(), through=None, timeout_s=10)
    assert server.connections == []


@pytest.mark.asyncio
async def test_a_known_hosts_file_that_is_not_there_is_told(server: SshServer, tmp_path: Path) -> None:
    identity = SshIdentity(server.identity().client_keys, str(tmp_path / "nowhere"))
    with pytest.raises(HostIdentityError, match="cannot be read"):
        await connect(server.host(host_key=None), identity, through=None, timeout_s=10)


@pytest.mark.asyncio
@pytest.mark.parametrize("wrong", ["user", "key"])
async def test_a_wrong_user_or_key_is_a_refused_login(server: SshServer, wrong: str) -> None:
    host = server.host(user="nobody") if wrong == "user" else server.host()
    identity = server.identity(asyncssh.generate_private_key("ssh-ed25519") if wrong == "key" else None)
    with pytest.raises(LoginRefused, match=f"login as {host.user} refused"):
        await connect(host, identity, through=None, timeout_s=10)


@pytest.mark.asyncio
async def test_the_next_address_is_tried(server: SshServer) -> None:
    link = await connect(
        server.host(addresses=("127.0.0.2", "127.0.0.1")), server.identity(), through=None, timeout_s=10
    )
    assert link.is_alive
    await link.close()


@pytest.mark.asyncio
async def test_where_a_host_was_reached_is_tried_first(server: SshServer, ask: SshHosts) -> None:
    """A switch moved it: each fresh login would wait for the address that is gone."""
    host = server.host(addresses=("127.0.0.2", "127.0.0.1"))
    assert (await ask.link(host, timeout_s=10)).address == "127.0.0.1"
    tried: list[str] = []
    connect_one = connection._connect_one

    async def noted(host: Host, address: str, *words: Any) -> Any:
        tried.append(address)
        return await connect_one(host, address, *words)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connection, "_connect_one", noted)
        await ask.link(host, timeout_s=10, fresh=True)
        await ask.link(server.host(addresses=("127.0.0.3", "127.0.0.1")), timeout_s=10)
        assert tried == ["127.0.0.1", "127.0.0.1"]
        with pytest.raises(Unreachable):
            await ask.link(server.host(addresses=("127.0.0.4", "127.0.0.5")), timeout_s=10)
        assert tried[2:] == ["127.0.0.4", "127.0.0.5"]


@pytest.mark.asyncio
async def test_a_host_is_reached_through_a_socket_and_known_by_its_key(server: SshServer, tmp_path: Path) -> None:
    path = tmp_path / "web1.sock"
    host = server.host(addresses=(f"unix:{path}",))
    with pytest.raises(Unreachable, match="no such socket: the host has not connected"):
        await connect(host, server.identity(), through=None, timeout_s=10)
    async with server.behind_socket(path):
        link = await connect(host, server.identity(), through=None, timeout_s=10)
        assert (link.address, link.round_trip_s()) == (f"unix:{path}", None)
        await link.close()
        known = tmp_path / "known_hosts"
        known.write_text(f"web1 {server.key.export_public_key().decode()}")
        by_file = SshIdentity(server.identity().client_keys, str(known))
        await (await connect(replace(host, host_key=None), by_file, through=None, timeout_s=10)).close()
        other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode().strip()
        with pytest.raises(HostIdentityError, match=re.escape(server.key.get_fingerprint())):
            await connect(replace(host, host_key=other), server.identity(), through=None, timeout_s=10)
    with pytest.raises(Unreachable):  # the file may outlive who listened there
        await connect(host, server.identity(), through=None, timeout_s=10)


@pytest.mark.asyncio
async def test_nobody_there_is_unreachable_with_every_address(server: SshServer, unused_tcp_port: int) -> None:
    host = server.host(addresses=("127.0.0.1", "127.0.0.2"), port=unused_tcp_port)
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1: .*127\.0\.0\.2: "):
        await connect(host, server.identity(), through=None, timeout_s=10)


def test_privilege_and_quoting() -> None:
    assert command_line(["a", "b c; d"], None) == "a 'b c; d'"
    assert command_line(["a"], Privilege.SUDO) == "sudo -n -- a"
    assert command_line(["a"], Privilege.DOAS) == "doas -n -- a"
    assert command_line(["a"], Privilege.RUN0).startswith("run0 ")


# -- asking -----------------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_status_over_the_helper_that_was_installed_once(server: SshServer, ask: SshHosts) -> None:
    for _ in range(3):
        status = await ask.status(server.host(), timeout_s=10)
        assert (status.state, status.fence) == (HelperState.TRIAL, Fence(1, 7))
    find, bring, *asked = server.commands
    assert ("/etc/fleetd-host/run" in find, "gcroots" in bring) == (True, True)
    assert [line.split(" ")[1] for line in asked] == ["status"] * 3
    assert len(server.connections) == 1
    await ask.status(server.host(), timeout_s=10, fresh=True)
    assert [line for line in server.commands if "gcroots" in line] == [bring]


@pytest.mark.asyncio
async def test_a_host_with_a_helper_of_its_own_is_brought_none(server: SshServer, ask: SshHosts) -> None:
    server.pinned = "/etc/fleetd-host/run"
    await ask.status(server.host(privilege=Privilege.SUDO), timeout_s=10)
    assert server.commands[1:] == ["sudo -n -- /etc/fleetd-host/run status"]


@pytest.mark.asyncio
async def test_a_helper_that_was_collected_is_brought_again(server: SshServer, ask: SshHosts) -> None:
    await ask.status(server.host(), timeout_s=10)
    server.answers["settle"] = reply(b"", stderr=b"bash: line 1: /nix/store/x: No such file or directory\n", status=127)
    brought = len([line for line in server.commands if "gcroots" in line])

    async def forget(process: asyncssh.SSHServerProcess[bytes]) -> None:
        server.answers["settle"] = reply(STATUS)
        process.stdout.write(b"\n")
        process.exit(0)

    server.find_answer = forget
    await ask.order(server.host(), SETTLE, timeout_s=10)
    assert len([line for line in server.commands if "gcroots" in line]) == brought + 1


@pytest.mark.asyncio
async def test_a_connection_that_died_unnoticed_is_replaced(
    server: SshServer, ask: SshHosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ask.status(server.host(), timeout_s=10)
    link = await ask.link(server.host(), timeout_s=10)

    async def refused(*_words: object, **_named: object) -> object:
        raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, "SSH connection closed")

    # What asyncssh says of a connection whose other end has gone, before it knows that itself.
    monkeypatch.setattr(link.raw, "create_process", refused)
    assert (await ask.status(server.host(), timeout_s=10)).state is HelperState.TRIAL
    assert await ask.link(server.host(), timeout_s=10) is not link


@pytest.mark.asyncio
async def test_a_connection_on_which_nothing_opens_is_replaced(
    server: SshServer, ask: SshHosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its host has moved, or the way there swallows packets: TCP itself takes a long time to say so."""
    await ask.status(server.host(), timeout_s=10)
    link = await ask.link(server.host(), timeout_s=10)

    async def swallowed(*_words: object, **_named: object) -> object:
        return await asyncio.Event().wait()

    monkeypatch.setattr(link.raw, "create_process", swallowed)
    with pytest.raises(Unreachable, match=r"no contact within"):
        await ask.status(server.host(), timeout_s=0.3)
    assert (await ask.status(server.host(), timeout_s=10)).state is HelperState.TRIAL
    assert await ask.link(server.host(), timeout_s=10) is not link


@pytest.mark.asyncio
async def test_orders_are_signed_where_there_is_a_key(server: SshServer) -> None:
    got = bytearray()

    async def settle(process: asyncssh.SSHServerProcess[bytes]) -> None:
        got.extend(await process.stdin.read())
        process.stdout.write(STATUS)
        process.exit(0)

    server.answers["settle"] = settle
    hosts = SshHosts(
        server.identity(), VirtualClock(), lambda _name: None, lambda document: b"-- of %d" % len(document)
    )
    await hosts.order(server.host(), SETTLE, timeout_s=10)
    await hosts.close()
    document = encode_order(SETTLE)
    assert bytes(got) == document + b"-- of %d" % len(document)


@pytest.mark.asyncio
@pytest.mark.parametrize("length", [0, 10, len(STATUS) - 2])
async def test_a_link_cut_in_a_reply_is_an_unknown_outcome(server: SshServer, ask: SshHosts, length: int) -> None:
    server.answers["settle"] = cut_after(STATUS[:length])
    with pytest.raises(OutcomeUnknown):
        await ask.order(server.host(), SETTLE, timeout_s=10)


@pytest.mark.asyncio
async def test_a_reply_without_its_end_is_an_unknown_outcome(server: SshServer, ask: SshHosts) -> None:
    server.answers["settle"] = reply(STATUS[:-14], stderr=b"fleetd-host: line 7: no space left\n")
    with pytest.raises(OutcomeUnknown, match="no space left"):
        await ask.order(server.host(), SETTLE, timeout_s=10)


@pytest.mark.asyncio
async def test_a_reply_that_is_too_long_is_an_unknown_outcome(server: SshServer, ask: SshHosts) -> None:
    server.answers["settle"] = reply(STATUS[:40] + b"x=" + b"a" * REPLY_LIMIT_BYTES + b"\nend ok status\n")
    with pytest.raises(OutcomeUnknown, match="too long"):
        await ask.order(server.host(), SETTLE, timeout_s=10)


@pytest.mark.asyncio
async def test_no_reply_in_time_is_unknown_and_the_next_question_goes_over_a_new_connection(
    server: SshServer, ask: SshHosts
) -> None:
    await ask.status(server.host(), timeout_s=10)
    server.answers["settle"] = silence
    with pytest.raises(OutcomeUnknown, match="no reply to settle"):
        await ask.order(server.host(), SETTLE, timeout_s=0.3)
    await ask.status(server.host(), timeout_s=10)
    assert len(server.connections) == 2
    await until(lambda: server.live == 1)


@pytest.mark.asyncio
async def test_an_order_that_cannot_be_written_is_refused_and_not_sent(server: SshServer, ask: SshHosts) -> None:
    order = Order(Verb.SETTLE, "r-1.web1.1", Fence(1, 2), "web1", "m", "b", 10.0, ignore_units=("größe.service",))
    with pytest.raises(OrderRefused, match="ignore_units"):
        await ask.order(server.host(), order, timeout_s=5)
    assert server.connections == []


@pytest.mark.asyncio
async def test_a_refusal_carries_the_helpers_word(server: SshServer, ask: SshHosts) -> None:
    server.answers["settle"] = reply(b"fleetd-host 1 1.9\nmessage=dGhlIGhvc3QgaG9sZHMgMS45\nend refused stale-fence\n")
    with pytest.raises(OrderRefused, match=r"the host holds 1\.9") as caught:
        await ask.order(server.host(), SETTLE, timeout_s=10)
    assert caught.value.code == "stale-fence"


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("said", "kind", "privilege"),
    [
        (b"sudo: a password is required\n", "login-refused", Privilege.SUDO),
        (b"kim is not in the sudoers file.\n", "login-refused", Privilege.SUDO),
        (b"mkdir: cannot create directory '/nix/var/nix/gcroots/fleetd': Permission denied", "login-refused", None),
        (b"cat: write error: No space left on device\n", "disk-full", None),
        (b"error: Disk quota exceeded\n", "disk-full", None),
        (b"nix-store: not found\n", "unreachable", None),
    ],
)
async def test_a_helper_that_cannot_be_installed_is_told_in_its_words_and_by_its_kind(
    server: SshServer, ask: SshHosts, said: bytes, kind: str, privilege: Privilege | None
) -> None:
    server.install = reply(b"", stderr=said, status=1)
    with pytest.raises(HostError, match=re.escape(said.decode().strip())) as caught:
        await ask.status(server.host(privilege=privilege or Privilege.NONE), timeout_s=10)
    assert caught.value.kind == kind


@pytest.mark.asyncio
async def test_a_privilege_command_that_refuses_is_no_unknown_outcome(server: SshServer, ask: SshHosts) -> None:
    host = server.host(privilege=Privilege.SUDO)
    await ask.status(host, timeout_s=10)
    server.answers["settle"] = reply(b"", stderr=b"sudo: a password is required\n", status=1)
    with pytest.raises(LoginRefused, match="may log in and, through sudo, not become root"):
        await ask.order(host, SETTLE, timeout_s=10)
    # What a helper wrote before it ended may have had an effect, whatever it complains of.
    server.answers["settle"] = reply(STATUS[:30], stderr=b"put: Permission denied\n", status=1)
    with pytest.raises(OutcomeUnknown):
        await ask.order(host, SETTLE, timeout_s=10)


@pytest.mark.asyncio
async def test_no_channel_is_left_open(server: SshServer, ask: SshHosts) -> None:
    server.answers["settle"] = reply(STATUS[:30])
    server.answers["revert"] = silence
    for _ in range(15):
        await ask.status(server.host(), timeout_s=10)
        for verb, limit_s in ((Verb.SETTLE, 10.0), (Verb.REVERT, 0.2)):
            with pytest.raises(OutcomeUnknown):
                order = Order(verb, "r-1.web1.1", Fence(1, 8), "web1", "m" * 32, "boot-1", 100.0)
                await ask.order(server.host(), order, timeout_s=limit_s)
    await ask.status(server.host(), timeout_s=10, fresh=True)
    await until(lambda: server.live == 1)


@pytest.mark.asyncio
async def test_a_fresh_connection_replaces_the_old_one(server: SshServer, ask: SshHosts) -> None:
    await ask.status(server.host(), timeout_s=10)
    await ask.status(server.host(), timeout_s=10, fresh=True)
    assert len(server.connections) == 2
    await until(lambda: server.live == 1)
    await ask.status(server.host(), timeout_s=10)
    assert len(server.connections) == 2


@pytest.mark.asyncio
async def test_a_host_that_moved_in_the_fleet_file_is_asked_where_it_is_now(
    server: SshServer, ask: SshHosts, tmp_path: Path
) -> None:
    server.answers["status"] = reply(STATUS)
    assert (await ask.status(server.host(), timeout_s=5)).id == "r-1.web1.1"
    (tmp_path / "new").mkdir()
    async with SshServer(tmp_path / "new", client_key=server.client_key) as other:
        other.answers["status"] = reply(STATUS.replace(b"r-1.web1.1", b"r-2.web1.1"))
        assert (await ask.status(other.host(), timeout_s=5)).id == "r-2.web1.1"
        with pytest.raises(LoginRefused):
            await ask.status(other.host(user="nobody"), timeout_s=5)


@pytest.mark.asyncio
async def test_what_runs_over_a_replaced_connection_may_end_there(server: SshServer, ask: SshHosts) -> None:
    release = asyncio.Event()

    async def slow(process: asyncssh.SSHServerProcess[bytes]) -> None:
        await release.wait()
        process.stdout.write(b"whole")
        process.exit(0)

    server.answers["copy"] = slow
    link = await ask.link(server.host(), timeout_s=10)
    channel = await link.open(["copy"])
    await ask.status(server.host(), timeout_s=10, fresh=True)
    release.set()
    assert await channel.read(100) == b"whole"
    assert await channel.wait(10) == 0
    await channel.close()
    await until(lambda: server.live == 1)


@pytest.mark.asyncio
async def test_a_fresh_login_to_a_jump_host_keeps_the_hosts_behind_it(server: SshServer, tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    async with SshServer(tmp_path / "inner", client_key=server.client_key) as inner:
        inner.answers["status"] = reply(STATUS)
        gateway = server.host("gw1")
        hosts = SshHosts(server.identity(), VirtualClock(), {"gw1": gateway}.get)
        behind = inner.host("web1", jump="gw1")
        await hosts.status(behind, timeout_s=10)
        await hosts.status(gateway, timeout_s=10, fresh=True)
        await hosts.status(behind, timeout_s=10)
        assert (len(server.connections), len(inner.connections)) == (2, 1)
        await hosts.status(behind, timeout_s=10, fresh=True)
        await until(lambda: server.live == 1)
        await hosts.close()
        await until(lambda: server.live == inner.live == 0)


@pytest.mark.asyncio
async def test_failures_are_spaced_out_after_the_second(server: SshServer, unused_tcp_port: int) -> None:
    clock = VirtualClock()
    hosts = SshHosts(server.identity(), clock, lambda _name: None)
    host = server.host(port=unused_tcp_port)
    waited = []
    for _ in range(8):
        before = clock.at
        with pytest.raises(FleetdError):
            await hosts.status(host, timeout_s=1000)
        waited.append(clock.at - before)
    assert waited[:2] == [0, 0]
    assert all(later > 0 for later in waited[2:])
    assert max(waited) <= 60
    hosts.expect(host)  # something was done so that it comes back
    before = clock.at
    with pytest.raises(FleetdError):
        await hosts.status(host, timeout_s=1000)
    assert clock.at == before
    await hosts.close()


AUTHFAIL_S, ENFORCED_FROM_S = 5.0, 15.0
"""What sshd holds against an address for a login that it refused, and from where on it lets nobody in from there
(sshd_config, ``PerSourcePenalties``, ``authfail`` and ``min``)."""


@pytest.mark.asyncio
async def test_logins_that_are_refused_never_gather_into_a_ban(server: SshServer) -> None:
    clock = VirtualClock()
    hosts = SshHosts(server.identity(), clock, lambda _name: None)
    held_until, at_most = 0.0, 0.0
    for _ in range(12):
        with pytest.raises(LoginRefused):
            await hosts.status(server.host(user="nobody"), timeout_s=1000)
        held_until = max(held_until, clock.at) + AUTHFAIL_S
        at_most = max(at_most, held_until - clock.at)
    assert at_most < ENFORCED_FROM_S
    waited_from = clock.at
    hosts.expect(server.host(user="nobody"))  # that is no reason to risk a ban
    with pytest.raises(LoginRefused, match=r"refused.*tried again in"):
        await hosts.status(server.host(user="nobody"), timeout_s=1)  # what is wrong is told meanwhile as well
    assert clock.at == waited_from
    clock.at += 60
    await hosts.status(server.host(), timeout_s=1)
    await hosts.close()


@pytest.mark.asyncio
async def test_a_jump_host_that_is_not_in_the_fleet_is_told(server: SshServer, ask: SshHosts) -> None:
    with pytest.raises(Unreachable, match="'gw9' is not in the fleet file"):
        await ask.status(server.host(jump="gw9"), timeout_s=10)


@pytest.mark.asyncio
async def test_a_refused_connection_from_the_host(server: SshServer, ask: SshHosts) -> None:
    server.refused_ports.add(81)
    link = await ask.link(server.host(), timeout_s=10)
    with pytest.raises(Unreachable, match="81"):
        await link.open_tcp("127.0.0.1", 81)
