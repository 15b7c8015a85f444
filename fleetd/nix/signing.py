"""Signatures of store paths, in memory: ed25519 over a path's fingerprint, in Nix's own key format ``NAME:BASE64``."""

from __future__ import annotations

import base64
from dataclasses import replace

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fleetd.errors import ConfigError
from fleetd.model.nix32 import nix32
from fleetd.ports import PathInfo


class NixSigner:
    """Signs paths with a secret key as ``nix-store --generate-binary-cache-key`` writes it."""

    def __init__(self, text: str) -> None:
        name, _, encoded = text.strip().partition(":")
        try:
            secret = base64.b64decode(encoded, validate=True)
        except ValueError as error:
            raise ConfigError("the Nix signing key is not NAME:BASE64") from error
        if not name or len(secret) != 64:
            raise ConfigError("the Nix signing key is not NAME:BASE64 of 64 bytes")
        self._name = name
        # Seed, then public half: libsodium's form of a secret key.
        self._key = Ed25519PrivateKey.from_private_bytes(secret[:32])
        if self._key.public_key().public_bytes_raw() != secret[32:]:
            raise ConfigError("the two halves of the Nix signing key do not belong together; was it cut or edited?")

    def signed(self, info: PathInfo) -> PathInfo:
        """Return the path info with this key's signature added, once."""
        signature = f"{self._name}:{base64.b64encode(self._key.sign(fingerprint(info))).decode()}"
        if signature in info.signatures:
            return info
        return replace(info, signatures=(*info.signatures, signature))


def fingerprint(info: PathInfo) -> bytes:
    """Return the bytes that a path's signature covers (``ValidPathInfo::fingerprint``)."""
    references = ",".join(sorted(info.references))
    return f"1;{info.path};sha256:{nix32(info.nar_hash)};{info.nar_size};{references}".encode()
