"""What a server's last words mean: the serve protocol has no errors in its answers, only text on stderr and an end."""

from __future__ import annotations

from fleetd.errors import PushError

SAID_CHARACTERS = 800
NOT_FOUND_STATUS = 127
"""A shell's exit status when there is no such program."""

SIGNAL_STATUS = 128
"""A shell adds it to the number of the signal that killed a program: SIGKILL of a host without memory is 137."""

MEANINGS = (
    # SQLite says "database or disk is full".
    (("No space left on device", "disk is full", "Disk quota exceeded"), "disk-full", "its disk is full"),
    (
        ("lacks a signature by a trusted key", "lacks a valid signature"),
        "rejected",
        "it takes only paths signed by a key in its trusted-public-keys; set signing.nix_key here and trust that key "
        "there, or log in as root",
    ),
    (
        ("zstd: command not found", "zstd: not found"),
        "rejected",
        'there is no zstd on its PATH, and compress = "zstd" needs it there',
    ),
    (("hash mismatch",), "hash-mismatch", "what arrived is not what was announced"),
    (
        ("command not found", "nix-store: not found", "nix-store’: No such file", "nix-store': No such file"),
        "no-nix",
        "there is no nix-store on its PATH",
    ),
    # A reference that was there when we asked: it was collected between; asking again sends it again.
    (("is not valid",), "lost", "a path vanished there during the copy"),
    # A host that goes down ends its sessions before its network, so the link is still there to say it.
    (("interrupted by the user",), "lost", "its Nix was told to end, as when the host goes down"),
)
"""Words on stderr, the code of the error, and what they mean; the first line that fits holds."""


def refusal(host: str, stderr: str, status: int | None) -> PushError:
    """Return the error for a server that ended.

    ``status`` is its exit status, None when the link was lost before it was known: then only words that leave no
    doubt count, and anything else is ``lost``, which is worth another try.
    """
    said = stderr.strip()
    tail = f" (it said: {said[-SAID_CHARACTERS:]})" if said else ""
    for words, code, meaning in MEANINGS:
        if any(word in said for word in words):
            return PushError(code, f"{host}: {meaning}{tail}")
    if status is None:
        return PushError("lost", f"{host}: the link was lost during the copy{tail}")
    if status == NOT_FOUND_STATUS:
        return PushError("no-nix", f"{host}: there is no nix-store on its PATH{tail}")
    if status > SIGNAL_STATUS:
        return PushError("lost", f"{host}: the Nix server was killed (signal {status - SIGNAL_STATUS}){tail}")
    if not said:
        return PushError("lost", f"{host}: the Nix server ended without a word (exit {status})")
    return PushError("rejected", f"{host}: its Nix ended the copy (exit {status}){tail}")
