"""Signatures over orders, in the form that ``ssh-keygen -Y verify`` checks on the host.

The format is OpenSSH's PROTOCOL.sshsig: the key signs a short blob that holds the namespace and the SHA-512 of the
message, so a signature made for another purpose is none for an order.
"""

from __future__ import annotations

import base64
import hashlib
import textwrap

import asyncssh
from asyncssh.packet import String, UInt32

from fleetd.errors import ConfigError

NAMESPACE = "fleetd-order"
"""What hosts ask for with ``-n``: a signature under a commit or a mail of the same key is no order."""

PRINCIPAL = "fleetd"
"""The name that stands before the key in a host's file of allowed signers."""

_MAGIC = b"SSHSIG"
_HASH = b"sha512"


class OrderSigner:
    """Signs orders with one private key."""

    def __init__(self, private_key: str, place: str) -> None:
        """Read an OpenSSH private key. Raises ConfigError naming ``place`` when it is none that can sign."""
        try:
            self._key = asyncssh.import_private_key(private_key)
        except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError) as error:
            raise ConfigError(f"{place}: not a private key without a passphrase: {error}") from error
        if self._key.get_algorithm() != "ssh-ed25519":
            raise ConfigError(f"{place}: the key is {self._key.get_algorithm()}, orders are signed with ssh-ed25519")

    @property
    def allowed_signer(self) -> str:
        """Return the line of a host's file of allowed signers that lets this key give orders."""
        public = self._key.export_public_key("openssh").decode().split()
        return f'{PRINCIPAL} namespaces="{NAMESPACE}" {public[0]} {public[1]}'

    def sign(self, document: bytes) -> bytes:
        """Return the armored signature over an order's bytes."""
        digest = hashlib.sha512(document).digest()
        tail = String(NAMESPACE) + String(b"") + String(_HASH)
        signature = self._key.sign(_MAGIC + tail + String(digest), b"ssh-ed25519")
        blob = _MAGIC + UInt32(1) + String(self._key.public_data) + tail + String(signature)
        lines = textwrap.wrap(base64.b64encode(blob).decode(), 70)
        return "\n".join(["-----BEGIN SSH SIGNATURE-----", *lines, "-----END SSH SIGNATURE-----", ""]).encode()
