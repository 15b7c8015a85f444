"""Flake references, as far as they can give something away."""

from __future__ import annotations

import re

_SECRETS = (
    re.compile(r"://[^/?#\s]*:[^/?#\s]*@"),
    re.compile(r"[?&][^=&\s]*(token|password|passwd|secret|api[_-]?key)[^=&\s]*=[^&\s]+", re.IGNORECASE),
)
"""A password before the host, and a parameter that is named like one."""

INSTEAD = (
    "it holds a secret, which would be shown with every rollout and kept in the journal; leave it out, and give it to "
    "Nix (netrc-file or access-tokens in nix.conf) or use ssh"
)


def carries_secret(reference: str) -> bool:
    """Whether a reference has a password or a token in it. ``ssh-key`` and the like name files, and are none."""
    return any(secret.search(reference) for secret in _SECRETS)
