"""The key fleetd logs in with, looked at before the first host is."""

from __future__ import annotations

from pathlib import Path

import asyncssh

from fleetd.errors import ConfigError


def check_private_key(path: Path, place: str) -> None:
    """Raise ConfigError unless the file is a private key that can be used without a passphrase."""
    try:
        asyncssh.read_private_key(path)
    except (asyncssh.KeyEncryptionError, asyncssh.KeyImportError, OSError) as error:
        # A passphrase that nobody is there to type is an import error as well.
        hint = "use one without" if "assphrase" in str(error) else "ssh-keygen -t ed25519 makes one"
        raise ConfigError(f"{place}: {path} is no usable private key ({error}); {hint}") from error
