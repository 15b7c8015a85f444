"""Selectors: which hosts, and how much work a long one may be."""

from __future__ import annotations

import fnmatch

import pytest

from fleetd.errors import SelectorError
from fleetd.model import selector
from fleetd.model.fleet import Fleet
from fleetd.model.selector import PATTERNS_LIMIT, select
from fleetd.schema.fleet_file import parse_fleet


def fleet(count: int) -> Fleet:
    hosts = {f"h{n}": {"tags": [f"t{n % 2}"], "domain": f"d{n % 3}"} for n in range(count)}
    return parse_fleet({"hosts": hosts}, file="fleet.toml", flake=None, contact_s=60)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("*", "h0 h1 h2 h3 h4 h5"),
        ("h3, h1", "h1 h3"),
        ("@t0 & !h2, h5", "h0 h4 h5"),
        ("!@t0", "h1 h3 h5"),
        ("domain:d1&@t1", "h1"),
        ("h[12]&!domain:d1", "h2"),
    ],
)
def test_what_is_selected(text: str, names: str) -> None:
    assert select(fleet(6), text) == tuple(names.split())


@pytest.mark.parametrize("text", ["", "h1,", "h1&", "!", "h9", "@t9", "domain:d9", "x*", "h1&h9"])
def test_what_is_not_there_is_told(text: str) -> None:
    with pytest.raises(SelectorError):
        select(fleet(6), text)


def test_a_long_selector_does_not_hold_up_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0

    def counted(name: str, pattern: str) -> bool:
        nonlocal looks
        looks += 1
        return fnmatch.fnmatchcase(name, pattern)

    monkeypatch.setattr(selector, "fnmatchcase", counted)
    many = fleet(300)
    assert len(select(many, ",".join(many.hosts))) == 300
    assert looks == 0
    assert len(select(many, ",".join(["*", "h1&*"] * 1000))) == 300
    assert looks == 300
    with pytest.raises(SelectorError, match=f"at most {PATTERNS_LIMIT} different patterns"):
        select(many, ",".join(f"h{n}*" for n in range(1, PATTERNS_LIMIT + 2)))
