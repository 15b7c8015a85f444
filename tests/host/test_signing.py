"""Signed orders, held against OpenSSH's own program."""

from __future__ import annotations

import subprocess
from pathlib import Path

import asyncssh
import pytest

from fleetd.errors import ConfigError
from fleetd.host.signing import NAMESPACE, PRINCIPAL, OrderSigner


@pytest.fixture
def signer() -> OrderSigner:
    return OrderSigner(asyncssh.generate_private_key("ssh-ed25519").export_private_key().decode(), "here")


def verifies(
    tmp_path: Path, signer: OrderSigner, document: bytes, signature: bytes, namespace: str = NAMESPACE
) -> bool:
    (tmp_path / "signers").write_text(signer.allowed_signer + "\n")
    (tmp_path / "signature").write_bytes(signature)
    words: list[str | Path] = [
        "ssh-keygen",
        "-Y",
        "verify",
        "-f",
        tmp_path / "signers",
        "-I",
        PRINCIPAL,
        "-n",
        namespace,
    ]
    done = subprocess.run([*words, "-s", tmp_path / "signature"], input=document, capture_output=True, check=False)
    return done.returncode == 0


def test_openssh_takes_it(signer: OrderSigner, tmp_path: Path) -> None:
    document = b"fleetd-order 1\nverb=settle\n"
    signature = signer.sign(document)
    assert verifies(tmp_path, signer, document, signature)
    assert not verifies(tmp_path, signer, document + b"x", signature)
    assert not verifies(tmp_path, signer, document, signature, namespace="file")


def test_another_key_is_nobody(signer: OrderSigner, tmp_path: Path) -> None:
    other = OrderSigner(asyncssh.generate_private_key("ssh-ed25519").export_private_key().decode(), "here")
    assert not verifies(tmp_path, signer, b"x", other.sign(b"x"))


def test_what_is_no_key_is_told() -> None:
    with pytest.raises(ConfigError, match=r"signing\.order_key: not a private key"):
        OrderSigner("nonsense", "signing.order_key")
    rsa = asyncssh.generate_private_key("ecdsa-sha2-nistp256").export_private_key().decode()
    with pytest.raises(ConfigError, match="ssh-ed25519"):
        OrderSigner(rsa, "signing.order_key")
