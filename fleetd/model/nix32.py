"""Nix's own base 32: 32 digits without e, o, t, u, least significant bits last (``libutil/base-nix-32.cc``)."""

from __future__ import annotations

_DIGITS = "0123456789abcdfghijklmnpqrsvwxyz"


def nix32(data: bytes) -> str:
    """Return bytes in Nix's base 32, as ``nix-store --query --hash`` prints a hash."""
    number = int.from_bytes(data, "little")
    length = (len(data) * 8 + 4) // 5
    return "".join(_DIGITS[(number >> (5 * index)) & 31] for index in reversed(range(length)))


def from_nix32(text: str, length: int = 32) -> bytes:
    """Return the bytes of a base-32 text. Raises ValueError."""
    number = 0
    for digit in text:
        number = number * 32 + _DIGITS.index(digit)
    if number >> (8 * length):
        raise ValueError(f"{text!r} is more than {length} bytes")
    return number.to_bytes(length, "little")
