"""What is built and what differs, asked of a real store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fleetd.errors import ToplevelError
from fleetd.model.store_path import StorePath
from fleetd.nix.compare import NixComparer
from fleetd.nix.store import NixStore
from tests.nix.private_store import PrivateStore, temporary_directory, text_file

HOSTS = """
derivation {
  name = "nixos-system-web1-2"; system = "x86_64-linux"; builder = "/bin/sh"; args = [ "-c" "echo > $out" ];
}
"""


@pytest.fixture
def nix() -> Iterator[PrivateStore]:
    with temporary_directory() as place:
        yield PrivateStore(place / "store")


def comparer(nix: PrivateStore) -> NixComparer:
    store = NixStore(nix.root / "roots", nix.env, nix.root)
    return NixComparer(store, nix.env, nix.root)


@pytest.mark.asyncio
async def test_a_derivation_has_a_toplevel_once_it_is_built(nix: PrivateStore) -> None:
    file = nix.root / "hosts.nix"
    file.write_text(HOSTS)
    derivation = nix.run("nix-instantiate", str(file)).strip()
    assert await comparer(nix).built(derivation) is None
    built = nix.run("nix-store", "--realise", derivation).strip()
    assert await comparer(nix).built(derivation) == built
    assert await comparer(nix).built(built) == built
    assert await comparer(nix).built("/nix/store/x") is None
    assert await comparer(nix).built(nix.path("nowhere")) is None


@pytest.mark.asyncio
async def test_a_wrapper_is_compared_by_what_is_in_it(nix: PrivateStore) -> None:
    def system(place: Path) -> None:
        place.mkdir()
        (place / "init").write_text("")

    toplevel = nix.register("nixos-system-web1-2", system)

    def wrap(place: Path) -> None:
        place.mkdir()
        (place / "deploy-rs-activate").write_text("")
        (place / "init").symlink_to(f"{toplevel}/init")

    wrapper = nix.register("activatable-nixos-system-web1-2", wrap, [toplevel])
    assert await comparer(nix).built(wrapper) == toplevel


@pytest.mark.asyncio
async def test_closures_are_compared(nix: PrivateStore) -> None:
    parts = {
        n: [nix.register(f"openssl-3.0.{n}", text_file("x" * n)), nix.register("unit-web.service", text_file("u"))]
        for n in (1, 2)
    }
    old, new = (nix.register(f"nixos-system-web1-{n}", text_file(str(n)), parts[n]) for n in (1, 2))
    found = await comparer(nix).compare(old, new)
    (package,) = found.changed
    assert (package.name, package.before, package.after) == ("openssl", ("3.0.1",), ("3.0.2",))
    assert (found.download_paths, found.units_changed, found.needs_reboot) == (2, (), False)
    with pytest.raises(ToplevelError, match="not in the store"):
        await comparer(nix).compare(old, StorePath(nix.path("nowhere")))
