"""Whatever a file or a sender holds, the answer is a fleet, a command, or a mistake with its place: never a crash."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from fleetd.config import AUTH, load
from fleetd.errors import ConfigError, SelectorError, UsageError
from fleetd.model.selector import select
from fleetd.schema import fleet_file
from fleetd.schema.fleet_file import parse_fleet
from fleetd.schema.hooks import HookTable
from fleetd.schema.http import RolloutBody
from fleetd.schema.policies import PolicyTable
from fleetd.schema.problems import read_table
from fleetd.webhook.payloads import FORGES, Ask, Ignore, delivery_key, read
from fleetd.webhook.signatures import is_genuine

WORDS = ["web1", "@web", "*", "", "!web1", "web1,web2&@x", "domain:a", "25%", "30s", "1m", "-x", "/nix/store/x", "\x00"]
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(WORDS)
ANYTHING = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
)


def table_of(model: type[BaseModel]) -> st.SearchStrategy[dict[str, Any]]:
    """Tables with the model's own keys, and anything in them."""
    return st.dictionaries(st.sampled_from(sorted(model.model_fields)), ANYTHING, max_size=4)


FLEETS = st.fixed_dictionaries(
    {},
    optional={
        "defaults": table_of(fleet_file._Host) | ANYTHING,
        "hosts": st.dictionaries(st.sampled_from(["web1", "web2", "-x", ""]), table_of(fleet_file._Host) | ANYTHING),
        "checks": st.lists(table_of(fleet_file._Check) | ANYTHING, max_size=2) | ANYTHING,
        "policies": st.dictionaries(st.sampled_from(["default", "p"]), table_of(PolicyTable) | ANYTHING),
        "groups": ANYTHING,
        "hooks": st.lists(table_of(HookTable) | ANYTHING, max_size=2) | ANYTHING,
        "other": ANYTHING,
    },
)


@settings(max_examples=150, deadline=None)
@given(FLEETS)
@example({"hosts": {"web1": {"jump": "web1"}}})
@example({"hosts": {"web1": {"depends_on": ["web2"]}, "web2": {"depends_on": ["web1"]}}})
@example({"hosts": {"web1": {"address": []}}, "checks": [{"name": "c", "on": "web1&!web1", "tcp": {"port": 1}}]})
def test_any_fleet_is_a_fleet_or_a_list_of_mistakes(table: dict[str, Any]) -> None:
    try:
        fleet = parse_fleet(table, file="fleet.toml", flake=None, contact_s=60, base=Path("/x"))
    except ConfigError as error:
        assert all(line.startswith("fleet.toml: ") for line in str(error).splitlines())
    else:
        assert fleet.hosts


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(["web1", "web*", "@web", "domain:a", "!", ",", "&", " ", "x", "[", "domain:"])))
def test_any_selector_selects_hosts_or_is_refused(parts: list[str]) -> None:
    fleet = parse_fleet(
        {"hosts": {"web1": {"tags": ["web"], "domain": "a"}, "db1": {}}}, file="", flake=None, contact_s=60
    )
    try:
        assert set(select(fleet, "".join(parts))) <= {"web1", "db1"}
    except SelectorError as error:
        assert "selector" in str(error)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(sorted(AUTH)), st.dictionaries(st.text(max_size=12), st.text(max_size=12), max_size=3), ANYTHING)
def test_any_payload_asks_is_ignored_or_is_refused(provider: str, headers: dict[str, str], payload: object) -> None:
    event = {f"x-{provider}-event": "push"} if provider in FORGES else {}
    try:
        asked = read(provider, {**headers, **event}, payload)
    except ValueError as error:
        assert str(error)
    else:
        assert isinstance(asked, Ask | Ignore)


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from([(provider, auth) for provider, allowed in AUTH.items() for auth in allowed]),
    st.dictionaries(
        st.sampled_from(
            [
                *("authorization", "x-hub-signature-256", "x-gitea-signature"),
                "x-forgejo-signature",
                *("x-gitlab-token", "webhook-id", "webhook-timestamp", "webhook-signature"),
            ]
        ),
        st.text(max_size=40) | st.sampled_from(["Bearer ", "sha256=", "v1,", "1700000000", "Bearer s\udcff"]),
    ),
    st.binary(max_size=40),
)
def test_no_headers_that_nobody_signed_are_genuine(kind: tuple[str, str], headers: dict[str, str], body: bytes) -> None:
    provider, auth = kind
    assert not is_genuine(provider, auth, (b"whsec_c2VjcmV0IG9mIGEgdGVzdA==", b""), headers, body, 1700000000.0)
    key = delivery_key("ci", provider, auth, headers, body)
    key.encode()
    assert key.startswith("hook:ci:")


@settings(max_examples=100, deadline=None)
@given(table_of(RolloutBody) | st.dictionaries(st.text(max_size=6), ANYTHING, max_size=3))
def test_any_body_is_read_or_refused(table: dict[str, Any]) -> None:
    try:
        body = read_table(RolloutBody, table, "body")
    except UsageError as error:
        assert all(line.startswith("body: ") for line in str(error).splitlines())
    else:
        json.dumps(body.model_dump(exclude_defaults=True))


@settings(max_examples=100, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(
            ["SSH__IDENTITY", "SSH", "WEBHOOKS__X__SECRETS", "SERVER__LISTEN", "A__B__C__D", "__", "LOG__"]
        ),
        st.text(max_size=8) | st.sampled_from(["[", "[]", '["a"]', "{}", '"', "x"]),
    )
)
def test_any_environment_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, extra: dict[str, str]) -> None:
    file = tmp_path_factory.getbasetemp() / "config.toml"
    file.write_text('[ssh]\nidentity = "/dev/null"\n')
    try:
        load(str(file), {f"FLEETD_{name}": value for name, value in extra.items()})
    except ConfigError as error:
        assert str(error)
