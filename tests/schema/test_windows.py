"""Windows in the fleet file: what is read, and what is said of mistakes."""

from __future__ import annotations

from typing import Any

import pytest

from fleetd.errors import ConfigError
from fleetd.model.window import Window
from fleetd.schema.fleet_file import parse_fleet


def windows(*tables: dict[str, Any]) -> tuple[Window, ...]:
    table = {"hosts": {"web1": {}}, "policies": {"careful": {"windows": list(tables)}}}
    return parse_fleet(table, file="f", flake=None, contact_s=10).policies["careful"].windows


def test_a_window_is_read() -> None:
    table = {"days": ["sun", "sat"], "start": "22:00", "end": "24:00", "zone": "Europe/Berlin"}
    (window,) = windows(table)
    assert window == Window("Europe/Berlin", 22 * 60, 24 * 60, (5, 6))
    assert str(window) == "sat sun 22:00-24:00 Europe/Berlin"
    assert windows({"start": "01:00", "end": "05:00", "zone": "UTC"})[0].days == tuple(range(7))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"zone": "Europe/Berlni"}, r"windows\.0\.zone: no time zone 'Europe/Berlni'.*did you mean 'Europe/Berlin'"),
        ({"zone": "../../etc/passwd"}, r"windows\.0\.zone: no time zone"),
        ({"start": "24:00"}, r"windows\.0\.start: 24:00 is the end of a day"),
        ({"end": "25:00"}, r"windows\.0\.end"),
        ({"days": []}, r"windows\.0\.days"),
        ({"days": ["monday"]}, r"windows\.0\.days"),
        ({"until": "5"}, r"windows\.0\.until: unknown key"),
    ],
)
def test_mistakes_are_told_with_their_place(change: dict[str, Any], told: str) -> None:
    good = {"start": "01:00", "end": "05:00", "zone": "UTC"}
    with pytest.raises(ConfigError, match=told):
        windows({**good, **change})
