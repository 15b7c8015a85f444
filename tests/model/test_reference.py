"""Secrets in flake references are known as such, and what only looks alike is not."""

from __future__ import annotations

import pytest

from fleetd.model.reference import carries_secret


@pytest.mark.parametrize(
    "reference",
    [
        "git+https://kim:hunter2@git.example.org/infra",
        "git+https://:hunter2@git.example.org/infra?ref=main",
        "https://x-token-auth:abc@git.example.org/infra.tar.gz",
        "git+https://git.example.org/infra?access_token=abc",
        "git+https://git.example.org/infra?ref=main&private-token=abc#web1",
        "https://git.example.org/infra.tar.gz?api_key=abc",
    ],
)
def test_a_secret_is_seen(reference: str) -> None:
    assert carries_secret(reference)


@pytest.mark.parametrize(
    "reference",
    [
        "git+ssh://git@git.example.org/infra?ref=main",
        "git+ssh://git@git.example.org:2222/infra",
        "git+https://git.example.org:8443/infra?ref=token-rotation",
        "github:owner/name/main",
        "path:/srv/infra?ref=a@b:c",
        "/srv/infra#nixosConfigurations.web1.config.system.build.toplevel",
        "0123456789012345678901234567890123456789",
    ],
)
def test_what_only_looks_alike_is_none(reference: str) -> None:
    assert not carries_secret(reference)
