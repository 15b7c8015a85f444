"""Pushes to real hosts, with a newer Nix than the control node's: equal to the last byte, cut and resumed, refused."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import pytest
from conftest import Scene
from lab import LabHost
from lab.base import default_suite
from lab.run import run

from fleetd.clock import SystemClock
from fleetd.errors import PushError, ToplevelError
from fleetd.host.connection import SshIdentity
from fleetd.host.port import SshHosts
from fleetd.model.fleet import Host, Privilege
from fleetd.model.store_path import StorePath
from fleetd.nix.nar import dump
from fleetd.nix.remote import closure_on
from fleetd.nix.signing import NixSigner
from fleetd.nix.store import NixStore
from fleetd.ports import PushReport
from fleetd.push.archives import Sign
from fleetd.push.pusher import ServePusher
from fleetd.push.transfer import PushSettings
from tests.nix.private_store import TOLD, PrivateStore, temporary_directory, text_file, whole_info

pytestmark = pytest.mark.lab
LARGE_BYTES = 300_000_000
SETTINGS = PushSettings(stall_s=20)


class Rig:
    """A control node's store, and one host."""

    def __init__(self, place: Path, host: LabHost, private_key: Path) -> None:
        self.lab_host = host
        self.control = PrivateStore(place / "control")
        self.store = NixStore(place / "roots", self.control.env, self.control.root)
        self.identity = SshIdentity((str(private_key),), None, connect_timeout_s=5, login_timeout_s=10)

    def host(self, user: str = "root") -> Host:
        privilege = Privilege.NONE if user == "root" else Privilege.SUDO
        target = self.lab_host
        return Host(target.name, (target.address,), user=user, privilege=privilege, host_key=target.host_key)

    @asynccontextmanager
    async def pusher(
        self, user: str = "root", sign: Sign | None = None, settings: PushSettings = SETTINGS
    ) -> AsyncIterator[tuple[SshHosts, Callable[..., asyncio.Task[PushReport]]]]:
        """Yield the connections, and a function that starts a push of a path."""
        hosts = SshHosts(self.identity, SystemClock(), lambda _name: None)
        pusher = ServePusher(hosts, self.store, lambda path: dump(str(self.control.real(path))), sign, settings)

        def push(path: StorePath, progress: Callable[[int, int], None] = lambda *_: None) -> asyncio.Task[PushReport]:
            work = pusher.push(self.host(user), path, root="r-1-next", progress=progress, timeout_s=120)
            return asyncio.get_running_loop().create_task(work)

        try:
            yield hosts, push
        finally:
            await hosts.close()

    def on_host(self, *argv: str) -> str:
        return self.lab_host.inside(*argv, timeout_s=60).stdout

    def is_valid(self, path: str) -> bool:
        return self.lab_host.inside("nix-store", "--check-validity", path, check=False).returncode == 0

    def info(self, path: StorePath) -> dict[str, dict[str, object]]:
        """All that the host's Nix says of a closure, in the form of the control node's."""
        return whole_info(json.loads(self.on_host("nix", "path-info", "--offline", "--json", "--recursive", path)))


@pytest.fixture
def rig(scene: Scene) -> Iterator[Rig]:
    (host,) = scene.hosts("web5")
    with temporary_directory() as place:
        yield Rig(place, host, Path(host.wiring.private_key))


def odd_tree(path: Path) -> None:
    deep = path / "deep" / "/".join("d" * 50)
    deep.mkdir(parents=True)
    (deep / "end").write_text("here")
    (path / "empty directory").mkdir()
    (path / "empty file").touch()
    for name in (b"caf\xe9", b"a\nb", b" ", b"...", b"-n", "ünï".encode(), b"'\"$(x)", b"z" * 255):
        (path / name.decode(errors="surrogateescape")).write_bytes(name)
    (path / "run").write_text("#!/bin/sh\n")
    (path / "run").chmod(0o755)
    (path / "to nowhere").symlink_to("../../no where")
    (path / "absolute").symlink_to("/nix/store")
    for size in (1, 7, 8, 9, 131_071, 131_072, 131_073, 300_001):
        (path / f"sized {size}").write_bytes(b"x" * size)


def large(path: Path) -> None:
    with path.open("wb") as file:
        for number in range(LARGE_BYTES // 1_000_000):
            file.write(Random(number).randbytes(1_000_000))


def closure(rig: Rig, *more: StorePath) -> StorePath:
    store = rig.control
    leaf = store.register("leaf", text_file("leaf"))
    odd = store.register("odd-1.0+x_y?=", odd_tree, deriver=store.path("odd.drv"))
    itself = store.register("itself", text_file(store.path("itself")), [store.path("itself")])
    links = store.register("a-link", lambda path: path.symlink_to(leaf), [leaf])
    middle = store.register("middle", text_file(f"{leaf} {odd}"), sorted([leaf, odd]))
    source = store.add("source", "addressed by its content")
    toplevel = store.register("top", text_file(f"{middle}"), sorted([itself, links, middle, source, *more]))
    store.sign(toplevel)
    return toplevel


def without(info: dict[str, dict[str, object]], word: str) -> dict[str, dict[str, object]]:
    """Return what is told of paths, but for one word."""
    return {path: {key: value for key, value in entry.items() if key != word} for path, entry in info.items()}


SENDER = (2, 8)
"""What the control node of these tests has: Debian 12's, the oldest that is promised to do."""

HOSTS = {"trixie": (2, 26), "forky": (2, 34)}
"""What the lab's hosts have, by the Debian they are made of."""


def release(said: str) -> tuple[int, ...]:
    """Return the release that ``nix --version`` names."""
    return tuple(int(number) for number in re.findall(r"\d+", said)[:2])


def test_the_sender_is_of_the_oldest_nix_that_is_promised_and_the_host_of_a_newer_one(rig: Rig) -> None:
    here, there = release(rig.control.run("nix", "--version")), release(rig.on_host("nix", "--version"))
    assert here == SENDER, (
        f"pushes are promised from Nix {SENDER[0]}.{SENDER[1]} on, and this machine has {here[0]}.{here[1]}: all that"
        " follows shows nothing of the promise; run it on Debian 12, or take the promise back"
    )
    assert there == HOSTS[default_suite()], f"this lab's hosts have Nix {there[0]}.{there[1]}: is its base another?"


@pytest.mark.asyncio
async def test_what_a_host_gets_is_what_nix_has_here(rig: Rig) -> None:
    toplevel = closure(rig, rig.control.register("large", large))
    async with rig.pusher() as (hosts, push):
        report = await push(toplevel)
        # As the host describes it, over the same connection.
        link = await hosts.link(rig.host(), timeout_s=20)
        there, here = await closure_on(link, toplevel, timeout_s=30), await rig.store.closure(toplevel)
        assert [(i.path, i.nar_hash, i.nar_size, i.references) for i in there] == [
            (i.path, i.nar_hash, i.nar_size, i.references) for i in here
        ]
        with pytest.raises(ToplevelError, match="is not in the host's store"):
            await closure_on(link, rig.control.path("nixos-system-web5-9"), timeout_s=30)
        paths = [info.path for info in await rig.store.closure(toplevel)]
        assert report.paths == len(paths)
        rig.control.verify(*paths)
        rig.on_host("nix-store", "--verify-path", *paths)
        told = rig.control.info(toplevel)
        assert rig.info(toplevel) == told
        assert {word for entry in told.values() for word in entry} == TOLD, "something is not compared: no path has it"
        assert await push(toplevel) == PushReport(0, 0)
    # Seen by a third party: the archives are the same bytes.
    for path in paths[:-1]:
        ours = run("nix-hash", "--type", "sha256", rig.control.real(path)).stdout
        assert rig.on_host("nix-hash", "--type", "sha256", path) == ours


@pytest.mark.asyncio
async def test_what_the_hosts_newer_nix_made_comes_back_equal(rig: Rig) -> None:
    """A path that the newer Nix registered, and that went through the older one's store, is the same path."""
    made = rig.on_host("sh", "-c", "mkdir /tmp/tree && echo hi >/tmp/tree/f && nix-store --add /tmp/tree").strip()
    export, take = shlex.join([*rig.lab_host.ssh_words(), "--", f"nix-store --export {made}"]), "nix-store --import"
    run("bash", "-c", f"set -o pipefail; {export} | {take}", env={**os.environ, **rig.control.env})
    # The form in which it came here has no place for it.
    before = without(rig.info(StorePath(made)), "ca")
    rig.on_host("nix-store", "--delete", made)
    async with rig.pusher() as (_hosts, push):
        assert (await push(StorePath(made))).paths == 1
    assert rig.info(StorePath(made)) == before


async def _cut_in_the_middle(
    rig: Rig, path: StorePath, cut: Callable[[SshHosts], object], codes: Sequence[str]
) -> None:
    half = asyncio.Event()

    def progress(sent: int, total: int) -> None:
        if sent > total // 3:
            half.set()

    async with rig.pusher(settings=PushSettings(stall_s=4)) as (hosts, push):
        running = push(path, progress)
        await asyncio.wait([running, asyncio.create_task(half.wait())], return_when=asyncio.FIRST_COMPLETED)
        assert not running.done()
        cut(hosts)
        with pytest.raises(PushError) as caught:
            await running
        assert caught.value.code in codes, caught.value


@pytest.mark.parametrize("way", ["connection", "server"])
@pytest.mark.asyncio
async def test_a_push_that_was_cut_goes_on(rig: Rig, way: str) -> None:
    small = closure(rig)
    whole = rig.control.register("whole", text_file("whole"), sorted([small, rig.control.register("large", large)]))

    def cut(hosts: SshHosts) -> None:
        if way == "connection":
            contact = hosts._contacts["web5"].link
            assert contact is not None
            contact.raw.abort()
        else:
            rig.on_host("sh", "-c", "kill -9 $(pgrep -x nix-store)")

    await _cut_in_the_middle(rig, whole, cut, ("lost",))
    assert not rig.is_valid(whole)
    async with rig.pusher() as (_hosts, push):
        report = await push(whole)
    assert 0 < report.paths <= 9
    rig.on_host("nix-store", "--verify-path", *[info.path for info in await rig.store.closure(whole)])
    assert rig.info(whole) == rig.control.info(whole)


@pytest.mark.asyncio
async def test_a_host_that_falls_silent_in_the_middle_is_given_up_and_served_later(rig: Rig) -> None:
    path = rig.control.register("large", large)
    await _cut_in_the_middle(rig, path, lambda _hosts: rig.lab_host.cut(), ("stalled", "lost"))
    rig.lab_host.heal()
    # The server of the dead connection holds the path, and its sshd has not found out: the next copy ends it.
    assert rig.on_host("pgrep", "-x", "nix-store").split() != []
    async with rig.pusher(settings=PushSettings(stall_s=3)) as (_hosts, push):
        await push(path)
    rig.on_host("nix-store", "--verify-path", path)


@pytest.mark.asyncio
async def test_what_does_not_fit_is_refused_and_goes_out_once_there_is_room(rig: Rig) -> None:
    small = closure(rig)
    whole = rig.control.register("whole", text_file("whole"), sorted([small, rig.control.register("large", large)]))
    rig.lab_host.fill_disk(leave_bytes=100_000_000)
    async with rig.pusher() as (_hosts, push):
        with pytest.raises(PushError, match=r"web5: \d+ paths of \d+ bytes are missing there, .* bytes free") as caught:
            await push(whole)
        assert caught.value.code == "disk-full"
        # With it Nix makes room while it copies: nobody can say beforehand that there will be none.
        rig.on_host("sh", "-c", "echo 'min-free = 1000' >> /etc/nix/nix.conf")
        with pytest.raises(PushError, match="web5: its disk is full"):
            await push(whole)
        rig.lab_host.unfill()
        await push(whole)
    rig.on_host("nix-store", "--verify-path", whole)


@pytest.mark.asyncio
async def test_a_disk_that_fills_up_in_the_middle_is_told_and_the_push_goes_on_later(rig: Rig) -> None:
    small = closure(rig)
    whole = rig.control.register("whole", text_file("whole"), sorted([small, rig.control.register("large", large)]))
    async with rig.pusher() as (_hosts, push):
        filled: list[int] = []

        def fills(sent: int, _total: int) -> None:
            if sent > 0 and not filled:
                filled.append(sent)
                rig.lab_host.fill_disk(leave_bytes=100_000_000)

        with pytest.raises(PushError, match="web5: its disk is full") as caught:
            await push(whole, fills)
        assert caught.value.code == "disk-full"
        assert not rig.is_valid(whole)
        rig.lab_host.unfill()
        await push(whole)
    rig.on_host("nix-store", "--verify-path", whole)


def key_pair(place: Path) -> tuple[str, str]:
    """A secret and a public key; all pairs have one name, as after a rotation that was done wrong."""
    place.mkdir()
    run("nix-store", "--generate-binary-cache-key", "fleet-1", place / "secret", place / "public")
    return (place / "secret").read_text(), (place / "public").read_text().strip()


@pytest.mark.asyncio
async def test_a_user_without_trust_needs_signed_paths(rig: Rig, tmp_path: Path) -> None:
    secret, public = key_pair(tmp_path / "ours")
    toplevel = closure(rig)
    trust = f"trusted-public-keys = {public}"
    rig.on_host("sh", "-c", f"echo '{trust}' >> /etc/nix/nix.conf; systemctl restart nix-daemon.service")
    async with rig.pusher("deploy") as (_hosts, push):
        with pytest.raises(PushError, match=r"set signing\.nix_key here") as caught:
            await push(toplevel)
        assert caught.value.code == "rejected"
    assert not rig.is_valid(toplevel)
    stranger, _public = key_pair(tmp_path / "strange")
    async with rig.pusher("deploy", NixSigner(stranger).signed) as (_hosts, push):
        with pytest.raises(PushError, match=r"set signing\.nix_key here"):
            await push(toplevel)
    async with rig.pusher("deploy", NixSigner(secret).signed) as (_hosts, push):
        assert (await push(toplevel)).paths > 0
    here, there = rig.control.info(toplevel), rig.info(toplevel)
    assert without(there, "signatures") == without(here, "signatures")
    name = secret.partition(":")[0]
    for path, entry in there.items():
        ours, kept = [set(told.get("signatures", [])) for told in (entry, here[path])]  # type: ignore[call-overload]
        assert kept < ours
        assert [signature.partition(":")[0] for signature in ours - kept] == [name], "it was added on the way"
