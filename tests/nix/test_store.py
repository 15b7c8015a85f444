"""Closures in order, toplevels of the right host, and roots that hold."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleetd.errors import SourceError, ToplevelError
from fleetd.model.fleet import Host
from fleetd.model.store_path import StorePath
from fleetd.nix.path_info import NotValid, parse_hash, parse_path_infos
from fleetd.nix.store import NixStore
from tests.nix.private_store import PrivateStore, temporary_directory, text_file

WEB1 = Host("web1", ("10.0.0.1",))
MISSING = StorePath("/nix/store/" + "0" * 32 + "-nixos-system-web1-1")


class Rig:
    def __init__(self, place: Path) -> None:
        self.nix = PrivateStore(place / "store")
        self.roots = place / "roots"
        self.store = NixStore(self.roots, self.nix.env, self.nix.root)

    def toplevel(self, name: str = "nixos-system-web1-1", without: str = "", system: str = "x86_64-linux") -> StorePath:
        def fill(path: Path) -> None:
            path.mkdir()
            parts = {"nixos-version": "26.05", "init": "#!/bin/sh", "system": system}
            for part, text in parts.items():
                if part != without:
                    (path / part).write_text(text)

        return self.nix.register(name, fill)


@pytest.fixture
def rig() -> Iterator[Rig]:
    with temporary_directory() as place:
        yield Rig(place)


@pytest.mark.asyncio
async def test_references_come_first(rig: Rig) -> None:
    paths: list[StorePath] = []
    for number in range(12):
        own = rig.nix.path(f"p{number}")
        paths.append(rig.nix.register(f"p{number}", text_file(str(number)), [*paths[-3:], own]))
    closure = await rig.store.closure(paths[-1])
    assert {info.path for info in closure} == set(paths)
    seen: set[StorePath] = set()
    for info in closure:
        assert set(info.references) <= seen | {info.path}
        seen.add(info.path)
    assert [info.path for info in await NixStore(rig.roots, rig.nix.env).closure(paths[-1])] == [
        i.path for i in closure
    ]


@pytest.mark.asyncio
async def test_a_toplevel_of_this_host_passes(rig: Rig) -> None:
    await rig.store.check_toplevel(rig.toplevel(), WEB1)


@pytest.mark.asyncio
async def test_each_fault_of_a_toplevel_has_its_own_words(rig: Rig) -> None:
    for toplevel, words in (
        (MISSING, "is not in the store"),
        (rig.toplevel("nixos-system-web1-a", without="nixos-version"), "has no nixos-version"),
        (rig.toplevel("nixos-system-web1-b", without="init"), "has no init"),
        (rig.toplevel("nixos-system-web1-c", without="system"), "has no system"),
        (rig.toplevel("nixos-system-web2-1"), "belongs to another host than web1"),
        (rig.toplevel("nixos-system-web10-1"), "belongs to another host than web1"),
        (rig.toplevel("nixos-system-web1-d", system="aarch64-linux"), "is built for aarch64-linux"),
        (rig.nix.register("nixos-system-web1-file", text_file("no directory")), "has no nixos-version"),
    ):
        with pytest.raises(ToplevelError, match=words):
            await rig.store.check_toplevel(toplevel, WEB1)


@pytest.mark.asyncio
async def test_what_was_collected_is_not_remembered(rig: Rig) -> None:
    toplevel = rig.toplevel()
    await rig.store.closure(toplevel)
    rig.nix.run("nix-store", "--gc")
    with pytest.raises(ToplevelError, match="is not in the store"):
        await rig.store.closure(toplevel)


@pytest.mark.asyncio
async def test_a_nix_that_talks_nonsense_or_is_not_there(rig: Rig, tmp_path: Path) -> None:
    fake = tmp_path / "nix"
    fake.write_text("#!/bin/sh\necho '[{\"path\": 1}]'\n")
    fake.chmod(0o755)
    with pytest.raises(ToplevelError, match="cannot be understood"):
        await NixStore(rig.roots, {"PATH": f"{tmp_path}:/usr/bin:/bin"}).closure(MISSING)
    fake.write_text("#!/bin/sh\necho 'error: the \x1b[31mdatabase\x1b[0m is busy' >&2; exit 1\n")
    with pytest.raises(ToplevelError, match="the database is busy"):
        await NixStore(rig.roots, {"PATH": f"{tmp_path}:/usr/bin:/bin"}).closure(MISSING)


@pytest.mark.asyncio
async def test_a_nix_in_trouble_is_not_a_path_that_is_missing(rig: Rig, tmp_path: Path) -> None:
    toplevel, fake = rig.toplevel(), tmp_path / "nix"
    store = NixStore(rig.roots, {"PATH": f"{tmp_path}:/usr/bin:/bin"}, rig.nix.root)
    for said, error in (
        ("error: cannot connect to socket at '/nix/var/nix/daemon-socket/socket': Connection refused", SourceError),
        (f"error: path '{toplevel}' is not valid", ToplevelError),
    ):
        fake.write_text(f'#!/bin/sh\necho "{said}" >&2; exit 1\n')
        fake.chmod(0o755)
        with pytest.raises(error) as caught:
            await store.closure(toplevel)
        assert said in str(caught.value)
        assert ("is not in the store" in str(caught.value)) == (error is ToplevelError)


HASH = "sha256-EFUdrtf6Rn0LWIJufrmg8q99aT3jGfLvd1//zaJEufY="
LEAF, TOP = "a" * 32 + "-leaf", "b" * 32 + "-top"


def test_each_form_of_the_metadata_means_the_same() -> None:
    def full(name: str) -> str:
        return f"/nix/store/{name}"

    old = [
        {"path": full(TOP), "narHash": HASH, "narSize": 120, "references": [full(LEAF)], "ca": "fixed:r:sha256:x"},
        {
            "path": full(LEAF),
            "narHash": HASH,
            "narSize": 8,
            "references": [],
            "deriver": full(LEAF),
            "signatures": ["k:s"],
        },
    ]
    by_path = {entry["path"]: {key: entry[key] for key in entry if key != "path"} for entry in old}
    digest = parse_hash(HASH)
    structured = {"algorithm": "sha256", "format": "base64", "hash": HASH.removeprefix("sha256-")}
    newest = {
        "version": 2,
        "storeDir": "/nix/store",
        "info": {
            TOP: {
                "narHash": structured,
                "narSize": 120,
                "references": [LEAF],
                "ca": {"method": "nar", "hash": structured},
            },
            LEAF: {"narHash": HASH, "narSize": 8, "references": [], "deriver": LEAF, "signatures": ["k:s"], "ca": None},
        },
    }
    infos = parse_path_infos(old)
    assert infos == parse_path_infos(by_path)
    top, leaf = parse_path_infos(newest)
    assert leaf == infos[1]
    assert (top.path, top.nar_hash, top.references) == (infos[0].path, digest, infos[0].references)
    assert top.ca == "fixed:r:sha256:1xmr8jicvzszfzpz46g37mlpvbzjl2wpwvl2b05psipssyp1sm8h"
    assert json.dumps(old)


@pytest.mark.parametrize(
    ("algorithm", "told"),
    [
        ("md5", "3y8bwfr609h3lh9ch0izcqq7fl"),
        ("sha1", "143xibwh31h9bvxzalr0sjvbbvpa6ffs"),
        (
            "sha512",
            "0zdl9zrg8r3i9c1g90lgg9ip5ijzv3yhz91i0zzn3r8ap9ws784gkp9dk9j3aglhgf1amqb0pj21mh7h1nxcl18akqvvf7ggqsy30yg",
        ),
    ],
)
def test_what_was_fetched_is_addressed_by_the_hash_its_author_gave(algorithm: str, told: str) -> None:
    """The hash is that of nothing at all; ``told`` is from ``nix-hash --type ALGORITHM --flat --base32``."""
    digest = base64.b64encode(hashlib.new(algorithm, b"", usedforsecurity=False).digest()).decode()
    structured = {"algorithm": algorithm, "format": "base64", "hash": digest}
    for value in (structured, f"{algorithm}-{digest}"):
        entry = {"narHash": HASH, "narSize": 8, "references": [], "ca": {"method": "flat", "hash": value}}
        (info,) = parse_path_infos({"version": 2, "info": {LEAF: entry}})
        assert info.ca == f"fixed:{algorithm}:{told}"


@pytest.mark.parametrize("document", [[{"path": f"/nix/store/{LEAF}", "valid": False}], {f"/nix/store/{LEAF}": None}])
def test_a_path_that_is_not_valid(document: object) -> None:
    with pytest.raises(NotValid):
        parse_path_infos(document)


@pytest.mark.parametrize(
    "document",
    [
        "text",
        3,
        [3],
        {"info": 3},
        [{"path": f"/nix/store/{LEAF}"}],
        [{"path": "/etc", "narHash": HASH, "narSize": 8, "references": []}],
        [{"path": f"/nix/store/{LEAF}", "narHash": HASH, "narSize": 0, "references": []}],
        [{"path": f"/nix/store/{LEAF}", "narHash": HASH, "narSize": "8", "references": []}],
        [{"path": f"/nix/store/{LEAF}", "narHash": HASH, "narSize": 8, "references": "none"}],
        [{"path": f"/nix/store/{LEAF}", "narHash": "sha256-AAAA", "narSize": 8, "references": []}],
        [{"path": f"/nix/store/{LEAF}", "narHash": "md5:x", "narSize": 8, "references": []}],
        [{"path": f"/nix/store/{LEAF}", "narHash": "sha256:" + "z" * 52, "narSize": 8, "references": []}],
        [{"path": f"/nix/store/{LEAF}", "narHash": "sha512-AAAA", "narSize": 8, "references": []}],
        [{"path": f"/nix/store/{LEAF}", "narHash": None, "narSize": 8, "references": []}],
    ],
)
def test_nonsense_is_an_error_that_is_expected(document: object) -> None:
    with pytest.raises((ValueError, KeyError, TypeError, ToplevelError)):
        parse_path_infos(document)
