"""What a server's last words mean."""

from __future__ import annotations

import pytest

from fleetd.push.refusal import refusal


@pytest.mark.parametrize(
    ("stderr", "status", "code"),
    [
        ("error: writing to file: No space left on device", 1, "disk-full"),
        (
            "error: executing SQLite statement: database or disk is full",
            1,
            "disk-full",
        ),
        ("error: Disk quota exceeded", 1, "disk-full"),
        ("error: writing to file: No space left on device", None, "disk-full"),
        ("error: cannot add path '/nix/store/x' because it lacks a signature by a trusted key", 1, "rejected"),
        ("error: hash mismatch importing path '/nix/store/x'", 1, "hash-mismatch"),
        ("bash: line 1: nix-store: command not found", 127, "no-nix"),
        ("sh: 1: nix-store: not found", 127, "no-nix"),
        ("sudo: nix-store: command not found", 1, "no-nix"),
        ("", 127, "no-nix"),
        ("error: path '/nix/store/x' is not valid", 1, "lost"),
        ("error: interrupted by the user", 1, "lost"),
        ('sh: line 23:   812 Killed                  "$@" < "$place/joined"', 137, "lost"),
        ("warning: ignoring the client-specified setting", 143, "lost"),
        ("error: unexpected end-of-file", 1, "rejected"),
        ("error: opening file '/nix/var/x': No such file or directory", 1, "rejected"),
        ("error: something new", 1, "rejected"),
        ("warning: something", None, "lost"),
        ("", None, "lost"),
        ("", 1, "lost"),
        ("", 0, "lost"),
    ],
)
def test_codes(stderr: str, status: int | None, code: str) -> None:
    error = refusal("web1", stderr, status)
    assert error.code == code
    assert str(error).startswith("web1: ")
    assert stderr in str(error)


def test_a_lot_of_words_are_cut_to_the_last() -> None:
    text = str(refusal("web1", "warning\n" * 8000 + "error: the end", 1))
    assert len(text) < 1200
    assert text.endswith("error: the end)")


def test_a_missing_signature_says_what_to_do() -> None:
    text = str(refusal("web1", "cannot add path 'x' because it lacks a signature by a trusted key", 1))
    assert "trusted-public-keys" in text
    assert "nix_key" in text
