"""The daemon's configuration: what is read, where from, and every mistake told with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleetd.config import AUTH, Settings, load
from fleetd.errors import ConfigError

SSH = '[ssh]\nidentity = "key"\n'
HOOK = '[webhooks.ci]\nprovider = "{provider}"\nsecrets = ["secret"]\nrefs = ["refs/heads/main"]\n'


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "key").write_text("a key")
    (tmp_path / "secret").write_text("whsec_c2VjcmV0\n")
    (tmp_path / "other").write_text("Zm9v\n")
    (tmp_path / "empty").write_text(" \n")
    (tmp_path / "words").write_text("no base64!\n")
    (tmp_path / "prefix").write_text("whsec_\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    return tmp_path


def read(place: Path, text: str, environment: dict[str, str] | None = None) -> Settings:
    (place / "config.toml").write_text(text)
    return load(str(place / "config.toml"), environment or {})


def test_little_is_needed_and_the_rest_is_sensible(place: Path) -> None:
    settings = read(place, SSH)
    assert settings.fleet_path == place / "fleet.toml"
    assert settings.listen == ("unix:/run/fleetd/fleetd.sock",)
    assert settings.state == Path("/var/lib/fleetd")
    assert settings.identity == place / "key"
    assert settings.contact_s == 60
    assert (settings.flake, settings.known_hosts, settings.nix_key, settings.hooks) == (None, None, None, ())


def test_paths_are_relative_to_the_file(place: Path) -> None:
    fleet = '[fleet]\npath = "a/fleet.yaml"\nref = "./infra?dir=x"\n'
    settings = read(place, fleet + '[state]\ndirectory = "state"\n[signing]\nnix_key = "other"\n' + SSH)
    assert settings.fleet_path == place / "a/fleet.yaml"
    assert settings.state == place / "state"
    assert settings.flake == f"{place}/infra?dir=x"
    assert settings.nix_key == "Zm9v\n"


def test_a_link_s_own_place_counts(place: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    target = tmp_path_factory.mktemp("store") / "config.toml"
    target.write_text(SSH)
    (place / "config.toml").symlink_to(target)
    assert load(str(place / "config.toml"), {}).fleet_path == place / "fleet.toml"


def test_a_fleet_may_be_an_output_of_a_flake(place: Path) -> None:
    settings = read(place, '[fleet]\nsource = "flake"\nref = "git+ssh://git@git.example.org/infra?ref=main"\n' + SSH)
    assert settings.fleet_path is None
    assert settings.flake == "git+ssh://git@git.example.org/infra?ref=main"
    with pytest.raises(ConfigError, match=r"fleet\.ref: needed with source"):
        read(place, '[fleet]\nsource = "flake"\n' + SSH)


def test_the_environment_lies_over_the_file(place: Path) -> None:
    environment = {
        "FLEETD_SSH__IDENTITY": "other",
        "FLEETD_SSH__CONNECT_TIMEOUT": "3s",
        "FLEETD_SERVER__LISTEN": '["127.0.0.1:9780", "unix:/x"]',
        "FLEETD_WEBHOOKS__CI__PROVIDER": "github",
        "FLEETD_WEBHOOKS__CI__SECRETS": '["secret"]',
        "FLEETD_WEBHOOKS__CI__REFS": '["refs/heads/main"]',
        "FLEETD_LOG__FORMAT": '"json"',
        "FLEETD_SERVER": "unix:/elsewhere",
        "HOME": "/root",
    }
    settings = read(place, SSH, environment)
    assert settings.identity == place / "other"
    assert settings.connect_timeout_s == 3
    assert settings.listen == ("127.0.0.1:9780", "unix:/x")
    assert [(hook.name, hook.provider) for hook in settings.hooks] == [("ci", "github")]
    assert settings.log_format == "json"


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("FLEETD_SSH__IDENTTY", "x", "FLEETD_SSH__IDENTTY.*did you mean 'identity'"),
        ("FLEETD_SHS__IDENTITY", "x", "FLEETD_SHS__IDENTITY.*did you mean 'ssh'"),
        ("FLEETD_SERVER__LISTEN", "127.0.0.1:1", r"FLEETD_SERVER__LISTEN.*server\.listen"),
        ("FLEETD_SERVER__LISTEN", "[127.0.0.1:1]", r"\$FLEETD_SERVER__LISTEN: begins like a list"),
        ("FLEETD_SSH__ORDER_TIMEOUT", "soon", r"FLEETD_SSH__ORDER_TIMEOUT.*ssh\.order_timeout"),
    ],
)
def test_a_mistake_of_the_environment_names_the_variable(place: Path, name: str, value: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        read(place, SSH, {name: value})


def test_the_file_is_found_by_option_variable_or_default(place: Path) -> None:
    (place / "config.toml").write_text(SSH)
    assert load(None, {"FLEETD_CONFIG": str(place / "config.toml")}).identity == place / "key"
    with pytest.raises(ConfigError, match=r"/nonexistent: cannot be read: No such file"):
        load("/nonexistent", {"FLEETD_CONFIG": str(place / "config.toml")})


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (SSH + '[fleet]\nref = "git+https://kim:pw@git.example.org/infra"\n', r"fleet\.ref: it holds a secret"),
        (SSH + '[fleet]\nallow = ["git+https://kim:pw@git.example.org/infra"]\n', r"fleet\.allow: it holds a secret"),
        ("", r"config\.toml: ssh: Field required"),
        ("[ssh\n", r"config\.toml: .*line 1"),
        ("[ssh]\nidentity = 3\n", r"ssh\.identity: .*valid string"),
        ('[ssh]\nidentity = "nokey"\n', r"ssh\.identity: .*/nokey cannot be read: No such file"),
        ('[ssh]\nidentity = "."\n', r"ssh\.identity: .* cannot be read: Is a directory"),
        (SSH + 'connect_timout = "1s"\n', "unknown key 'connect_timout'; did you mean 'connect_timeout'"),
        (SSH + 'connect_timeout = "10"\n', r"ssh\.connect_timeout"),
        (SSH + "connect_timeout = 10\n", r"ssh\.connect_timeout"),
        (SSH + 'known_hosts = "nowhere"\n', r"ssh\.known_hosts: .*cannot be read"),
        ('[ssh]\nidentity = "k\\u0000y"\n', r"ssh\.identity: 'k\\x00y' is no path"),
        (SSH + 'connect_timeout = "0s"\n', r"ssh\.connect_timeout: '0s' leaves no time"),
        (SSH + '[signing]\nnix_key = "binary"\n', r"signing\.nix_key: .*/binary is no key in text form"),
        (SSH + '[signing]\norder_key = "binary"\n', r"signing\.order_key: .*/binary is no key in text form"),
        (SSH + "[server]\nlisten = []\n", r"server\.listen: "),
        (SSH + HOOK.format(provider="gitlab").replace('["secret"]', '["prefix"]'), r"nothing comes after whsec_"),
        (SSH + '[signing]\nnix_key = "nowhere"\n', r"signing\.nix_key: .*cannot be read"),
        (SSH + '[fleet]\nsource = "ldap"\n', r"fleet\.source"),
        (SSH + '[server]\nlisten = "unix:/x"\n', r"server\.listen: .*valid list"),
        (SSH + '[log]\nformat = "xml"\n', r"log\.format"),
        (SSH + "[sever]\n", "unknown key 'sever'; did you mean 'server'"),
        (SSH + HOOK.format(provider="bitbucket"), r"webhooks\.ci\.provider"),
        (SSH + HOOK.format(provider="github").replace("refs/heads/main", "main"), 'write: "refs/heads/main"'),
        (SSH + HOOK.format(provider="github").replace('refs = ["refs/heads/main"]', ""), r"refs: needed with github"),
        (SSH + HOOK.format(provider="github") + 'auth = "token"\n', r"auth: github has no 'token' \(write: signature"),
        (SSH + HOOK.format(provider="bearer") + 'auth = "signature"\n', r"auth: bearer has no 'signature'"),
        (SSH + HOOK.format(provider="github").replace("secret", "empty", 2), r"unknown key 'emptys'"),
        (SSH + HOOK.format(provider="github").replace('["secret"]', '["empty"]'), r"secrets\.0: the file is empty"),
        (SSH + HOOK.format(provider="github").replace('["secret"]', "[]"), r"webhooks\.ci\.secrets"),
        (SSH + HOOK.format(provider="github").replace('["secret"]', '["no"]'), r"secrets\.0: .*cannot be read"),
        (SSH + HOOK.format(provider="gitlab").replace('["secret"]', '["words"]'), r"whsec_ and base64"),
        (SSH + HOOK.format(provider="github").replace("[webhooks.ci]", '[webhooks."a/b"]'), "not the name of a hook"),
    ],
)
def test_mistakes_are_told_with_their_place(place: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        read(place, text)


def test_what_nothing_is_said_about_is_the_strongest(place: Path) -> None:
    for provider, allowed in AUTH.items():
        settings = read(place, SSH + HOOK.format(provider=provider))
        assert settings.hooks[0].auth == allowed[0]
    assert read(place, SSH + HOOK.format(provider="gitlab") + 'auth = "token"\n').hooks[0].auth == "token"


def test_every_mistake_of_a_file_is_told_at_once(place: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read(place, '[ssh]\nidentity = 3\norder_timeout = "x"\n[log]\nfromat = "json"\n')
    assert len(str(caught.value).splitlines()) == 3


@pytest.mark.parametrize(("text", "bytes_per_s"), [("20MB/s", 20e6), ("1.5 GB/s", 1.5e9), ("800KB/s", 800e3)])
def test_a_bandwidth(place: Path, text: str, bytes_per_s: float) -> None:
    assert read(place, SSH + f'[push]\nbandwidth = "{text}"\n').push_bytes_per_s == bytes_per_s
    assert read(place, SSH).push_bytes_per_s is None


@pytest.mark.parametrize("text", ["0MB/s", "20", "20Mbit/s", "-1MB/s", "20mb/s", ""])
def test_no_bandwidth(place: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"push\.bandwidth: .* is no bandwidth"):
        read(place, SSH + f'[push]\nbandwidth = "{text}"\n')


def test_references_that_are_allowed_are_whole_and_plain(place: Path) -> None:
    assert read(place, SSH + '[fleet]\nallow = ["path:/srv/infra"]\n').allow == ("path:/srv/infra",)
    for wrong in ("path:/x?dir=y", "path:/x#y", "path:/x/*"):
        with pytest.raises(ConfigError, match=r"fleet\.allow: .* without parameters"):
            read(place, SSH + f'[fleet]\nallow = ["{wrong}"]\n')
