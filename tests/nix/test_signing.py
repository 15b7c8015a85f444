"""Signatures are those that Nix itself makes and believes."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleetd.errors import ConfigError
from fleetd.nix.commands import FEATURES
from fleetd.nix.signing import NixSigner
from fleetd.nix.store import NixStore
from tests.nix.private_store import PrivateStore, temporary_directory, text_file


@pytest.fixture
def place() -> Iterator[Path]:
    with temporary_directory() as directory:
        yield directory


@pytest.mark.asyncio
async def test_a_signature_is_the_one_of_nix(place: Path) -> None:
    store = PrivateStore(place / "store")
    leaf = store.register("leaf", text_file("leaf"))
    top = store.register("top", text_file(leaf), [leaf, store.path("top")])
    secret, public = place / "secret", place / "public"
    store.run("nix-store", "--generate-binary-cache-key", "fleet-1", str(secret), str(public))
    unsigned = await NixStore(place / "roots", store.env, store.root).closure(top)
    store.run("nix", *FEATURES, "store", "sign", "--key-file", str(secret), "--recursive", top)
    theirs = {path: tuple(entry["signatures"]) for path, entry in json.loads(json.dumps(store.info(top))).items()}
    signer = NixSigner(secret.read_text() + "\n")
    assert {info.path: signer.signed(info).signatures for info in unsigned} == theirs
    assert signer.signed(signer.signed(unsigned[0])).signatures == theirs[unsigned[0].path]


def test_a_key_that_is_none_is_refused(place: Path) -> None:
    store = PrivateStore(place / "store")
    secret = place / "secret"
    store.run("nix-store", "--generate-binary-cache-key", "fleet-1", str(secret), str(place / "public"))
    name, _, encoded = secret.read_text().strip().partition(":")
    raw = base64.b64decode(encoded)
    mixed = base64.b64encode(raw[:32] + bytes(32)).decode()
    wrong = [
        "",
        name,
        f":{encoded}",
        f"{name}:",
        f"{name}:äöü",
        f"{name}:!!!!",
        f"{name}:{encoded[:40]}",
        f"{name}:{mixed}",
    ]
    for text in wrong:
        with pytest.raises(ConfigError, match="Nix signing key") as caught:
            NixSigner(text)
        assert encoded[:20] not in str(caught.value)
    NixSigner(f"{name}:{encoded}")
