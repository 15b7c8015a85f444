"""Fleets of colmena and deploy-rs as fleetd's own: what is taken over, what is refused by name, and what adds to it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from fleetd.config import Settings, load
from fleetd.daemon import table_source
from fleetd.errors import ConfigError, SourceError
from fleetd.model.fleet import Fleet, HiveNode, Host, Installable, Prebuilt, Privilege
from fleetd.nix.builder import NixBuilder
from fleetd.sources import colmena, deploy_rs
from fleetd.sources.imported import LeftOut, together
from fleetd.sources.reader import FleetReader
from fleetd.sources.ssh_options import SshOptions, read_ssh_options
from tests.fleets import fleet_at, revise
from tests.nix.private_store import PrivateStore, temporary_directory

NOTHING = LeftOut(frozenset())
ALL = LeftOut(frozenset({"keys", "profiles", "ssh-options"}))
ADDRESSES = {"web1": "10.0.0.1", "web2": "10.0.0.2"}


class Rig:
    """A control node with nothing but a configuration and a store of its own."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.nix = PrivateStore(place / "store")
        self.builder = NixBuilder(place / "roots", self.nix.env, self.nix.root)
        (place / "key").write_text("")

    def settings(self, fleet: str) -> Settings:
        config = self.place / "config.toml"
        config.write_text(f'[fleet]\n{fleet}\n[ssh]\nidentity = "key"\n')
        return load(str(config), {})

    def load(self, fleet: str) -> Fleet:
        settings = self.settings(fleet)
        table = table_source(settings, self.builder)
        return asyncio.run(FleetReader(table, contact_s=60, flake=settings.flake).load())

    def build(self, host: Host) -> str:
        async def both() -> str:
            assert host.source is not None
            derivation = await self.builder.evaluate(host.name, host.source, timeout_s=60)
            return await self.builder.build(derivation, f"r1/{host.name}", timeout_s=60)

        return asyncio.run(both())


@pytest.fixture
def rig() -> Iterator[Rig]:
    with temporary_directory() as place:
        yield Rig(place)


def node(**values: object) -> dict[str, object]:
    """A node as the view of a hive shows it."""
    usual: dict[str, object] = {
        "targetHost": "10.0.0.1",
        "targetPort": None,
        "targetUser": "root",
        "tags": [],
        "buildOnTarget": False,
        "privilegeEscalationCommand": ["sudo", "-H", "--"],
        "sshOptions": [],
        "keys": [],
        "system": None,
    }
    return {**usual, **values}


COMMON: dict[str, object] = {
    "sshUser": None,
    "user": None,
    "sshOpts": [],
    "remoteBuild": None,
    "sudo": None,
    "interactiveSudo": None,
}


def deploy(
    profiles: Mapping[str, Mapping[str, object]], top: Mapping[str, object], values: Mapping[str, object]
) -> dict[str, object]:
    """The output of deploy-rs with one node, as its view shows it."""
    made = {name: {**COMMON, "profilePath": None, "system": None, **profile} for name, profile in profiles.items()}
    return {**COMMON, **top, "nodes": {"web1": {**COMMON, "hostname": "10.0.0.1", **values, "profiles": made}}}


def test_a_hive_of_a_flake_is_a_fleet(rig: Rig) -> None:
    place = fleet_at(rig.place / "infra", "colmena")
    revise(place, "v1", ADDRESSES)
    flake = f"path:{place}"
    fleet = rig.load(f'source = "colmena"\nref = "{flake}"')
    assert list(fleet.hosts) == ["web1", "web2"]
    web1 = fleet.hosts["web1"]
    assert (web1.addresses, web1.port, web1.user, web1.tags) == (("10.0.0.1",), 22, "root", ("web",))
    assert web1.source == Installable(f"{flake}#colmenaHive.toplevel.web1")
    assert rig.build(web1).endswith("-nixos-system-web1-v1")


@pytest.mark.parametrize("is_evaluated", [False, True])
def test_a_hive_that_is_a_file_is_a_fleet(rig: Rig, is_evaluated: bool) -> None:
    place = fleet_at(rig.place / "infra", "colmena" if is_evaluated else "hive")
    revise(place, "v1", ADDRESSES)
    if is_evaluated:
        (place / "hive.nix").write_text("((import ./flake.nix).outputs { self = null; }).colmenaHive")
    fleet = rig.load('source = "colmena"\nref = "infra/hive.nix"')
    web1, web2 = fleet.hosts["web1"], fleet.hosts["web2"]
    assert web1.source == HiveNode(str(place / "hive.nix"), "web1")
    assert web1.tags == (("web",) if is_evaluated else ("web", "web1"))
    assert web2.addresses == ("10.0.0.2",)
    assert rig.build(web2).endswith("-nixos-system-web2-v1")


def test_an_output_of_deploy_rs_is_a_fleet_and_its_wrapper_is_taken_off(rig: Rig) -> None:
    place = fleet_at(rig.place / "infra", "deploy-rs")
    revise(place, "v1", ADDRESSES)
    fleet = rig.load(f'source = "deploy-rs"\nref = "path:{place}"')
    web1 = fleet.hosts["web1"]
    assert (web1.addresses, web1.port, web1.user, web1.system) == (("10.0.0.1",), 22, "root", "x86_64-linux")
    assert web1.source == Installable(f"path:{place}#deploy.nodes.web1.profiles.system.path")
    toplevel = rig.build(web1)
    assert toplevel.endswith("-nixos-system-web1-v1")
    assert "activatable" not in toplevel
    # What is kept alive is the toplevel, not the wrapper.
    rig.nix.run("nix-store", "--gc")
    assert rig.nix.is_valid(toplevel)
    assert not [entry for entry in (rig.nix.root / "nix/store").iterdir() if "activatable" in entry.name]


def test_a_profile_without_a_system_is_told(rig: Rig) -> None:
    place = fleet_at(rig.place / "infra", "deploy-rs")
    revise(place, "v1", ADDRESSES)
    text = (place / "flake.nix").read_text()
    (place / "flake.nix").write_text(text.replace("for entry in ${toplevel}/*", "for entry in ${toplevel}/bin"))
    web1 = rig.load(f'source = "deploy-rs"\nref = "path:{place}"').hosts["web1"]
    with pytest.raises(SourceError, match="without a NixOS system"):
        rig.build(web1)


def test_secrets_of_a_hive_are_never_evaluated(rig: Rig) -> None:
    place = fleet_at(rig.place / "infra", "colmena")
    revise(place, "v1", ADDRESSES, more='keys.wifi.text = throw "the secret was looked at";')
    fleet = f'source = "colmena"\nref = "path:{place}"'
    with pytest.raises(ConfigError, match=r'web1\.deployment\.keys \(wifi\): not carried by fleetd; .*\["keys"\]'):
        rig.load(fleet)
    assert set(rig.load(f'{fleet}\nleave_out = ["keys"]').hosts) == set(ADDRESSES)


@pytest.mark.parametrize(
    ("kind", "text", "told"),
    [
        ("colmena", "{ outputs = _: { }; }", "does not provide attribute"),
        ("colmena", "{ outputs = _: { colmenaHive = { meta = { }; }; }; }", "made by colmena.lib.makeHive"),
        ("colmena", '{ outputs = _: { colmenaHive.deploymentConfig = throw "no hive today"; }; }', "no hive today"),
        ("deploy-rs", "{ outputs = _: { deploy.nodes.web1.profiles = { }; }; }", "attribute 'hostname' missing"),
    ],
)
def test_what_does_not_evaluate_is_told_in_nix_s_words(rig: Rig, kind: str, text: str, told: str) -> None:
    place = rig.place / "infra"
    place.mkdir()
    (place / "flake.nix").write_text(text)
    with pytest.raises(SourceError, match=told):
        rig.load(f'source = "{kind}"\nref = "path:{place}"')


def test_a_fleet_file_adds_what_only_fleetd_knows(rig: Rig) -> None:
    place = fleet_at(rig.place / "infra", "colmena")
    revise(place, "v1", ADDRESSES)
    toplevel = "/nix/store/1b9p07z77phvv2hf6gm9f28syp39f1ag-nixos-system-web2-25.11"
    (rig.place / "more.toml").write_text(
        f'[defaults]\ndomain = "rack-a"\nuser = "ignored"\n[hosts.web1]\nuser = "deploy"\nprivilege = "sudo"\n'
        f'[hosts.web2]\ntoplevel = "{toplevel}"\n'
        '[[checks]]\nname = "answers"\non = "@web"\ntcp = { port = 80 }\n[policies.default]\nwaves = []\n'
    )
    fleet = f'source = "colmena"\nref = "path:{place}"\npath = "more.toml"'
    read = rig.load(fleet)
    web1, web2 = read.hosts["web1"], read.hosts["web2"]
    assert (web1.user, web1.privilege, web1.domain) == ("deploy", Privilege.SUDO, "rack-a")
    # The hive says root, and only a default says otherwise.
    assert web2.user == "root"
    assert isinstance(web2.source, Prebuilt)
    assert (read.checks[0].name, read.policies["default"].waves) == ("answers", ())
    (rig.place / "more.toml").write_text("[hosts.web9]\n")
    with pytest.raises(ConfigError, match=r"hosts\.web9: there is no such host \(there are: web1, web2\)"):
        rig.load(fleet)


@pytest.mark.parametrize("added", [[], {"hosts": []}])
def test_what_is_no_table_adds_nothing(added: object) -> None:
    with pytest.raises(ConfigError, match="expected a table"):
        together({"web1": {}}, added, "fleet.json")


def read_node(values: Mapping[str, object], left_out: LeftOut = NOTHING) -> dict[str, object]:
    data = {"web1": node(**values), "gw1": node()}
    return colmena.reader(colmena.of_flake("f"))(data, "f#colmenaHive", left_out)["web1"]


def test_a_node_s_settings_are_taken_over() -> None:
    options = ["-o", "ProxyJump=gw1", "-p", "2222"]
    host = read_node({"targetUser": "deploy", "privilegeEscalationCommand": ["doas"], "sshOptions": options})
    assert (host["user"], host["privilege"], host["jump"], host["port"]) == ("deploy", "doas", "gw1", 2222)
    # The node's own port counts before one among the options, as for colmena.
    assert read_node({"targetPort": 23, "sshOptions": options})["port"] == 23
    assert read_node({"buildOnTarget": True})["build_on"] == "target"
    assert read_node({"system": "aarch64-linux"})["system"] == "aarch64-linux"
    # Whoever ssh would log in as: the fleet file's defaults say who that is.
    assert "user" not in read_node({"targetUser": None})


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"targetHost": None}, r"web1\.deployment\.targetHost: null is for deploying locally"),
        ({"targetUser": "deploy", "privilegeEscalationCommand": ["su"]}, "'su' is no way to become root"),
        ({"targetUser": "deploy", "privilegeEscalationCommand": []}, "'an empty command' is no way"),
        ({"sshOptions": ["-i", "/key"]}, r"web1\.deployment\.sshOptions '-i /key': not carried"),
        ({"sshOptions": ["-J", "elsewhere"]}, "no host of this fleet"),
        ({"targetPort": "22"}, r"web1\.targetPort: .*integer"),
        ({"adress": 1}, r"web1\.adress: unknown key"),
    ],
)
def test_what_a_node_says_and_fleetd_cannot_is_told(values: dict[str, object], told: str) -> None:
    with pytest.raises(ConfigError, match=f"f#colmenaHive: {told}" if told.startswith("web1") else told):
        read_node(values)


def test_all_mistakes_of_a_hive_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        read_node({"targetHost": None, "keys": ["a", "b"], "sshOptions": ["-A"]})
    assert len(str(caught.value).splitlines()) == 3
    assert read_node({"keys": ["a"], "sshOptions": ["-A"]}, ALL)["address"] == "10.0.0.1"


def read_deploy(
    profiles: Mapping[str, Mapping[str, object]], left_out: LeftOut = NOTHING, values: Mapping[str, object] = {}
) -> object:
    top = {"sshUser": "top", "sshOpts": ["-p", "22"], "sudo": "doas -u"}
    return deploy_rs.reader("f")(deploy(profiles, top, values), "f#deploy", left_out)


def test_the_deepest_level_wins() -> None:
    hosts = read_deploy(
        {"system": {"user": "root", "sshOpts": ["-p2224"]}}, values={"sshUser": "deploy", "remoteBuild": True}
    )
    assert isinstance(hosts, dict)
    host = hosts["web1"]
    assert (host["user"], host["privilege"], host["port"], host["build_on"]) == ("deploy", "doas", 2224, "target")


@pytest.mark.parametrize(
    ("profiles", "values", "told"),
    [
        ({}, {}, "no profile 'system'"),
        ({"system": {"user": "root"}, "home": {}}, {}, r"nodes\.web1\.profiles \(home\): not carried"),
        ({"system": {"user": "alice"}}, {}, "activated by root, not by 'alice'"),
        ({"system": {}}, {}, "activated by root, not by 'top'"),
        ({"system": {"user": "root", "profilePath": "/x"}}, {}, "'/x' is not"),
        ({"system": {"user": "root"}}, {"interactiveSudo": True}, "nobody to ask for a password"),
        ({"system": {"user": "root"}}, {"sudo": "ksu"}, "'ksu' is no way to become root"),
        ({"system": {"user": "root"}}, {"sshOpts": ["-i", "/key"]}, r"sshOpts '-i /key': not carried"),
        ({"system": {"user": "root"}}, {"hostname": 1}, r"nodes\.web1\.hostname"),
    ],
)
def test_what_deploy_rs_says_and_fleetd_cannot_is_told(
    profiles: Mapping[str, Mapping[str, object]], values: dict[str, object], told: str
) -> None:
    with pytest.raises(ConfigError, match=f"f#deploy: .*{told}"):
        read_deploy(profiles, values=values)


def test_nodes_without_a_system_are_left_out_where_that_is_meant() -> None:
    assert read_deploy({"home": {}}, ALL) == {}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], SshOptions(None, None, ())),
        (["-p", "2222"], SshOptions(2222, None, ())),
        (["-p 2222"], SshOptions(2222, None, ())),
        (["-p2222", "-p", "9"], SshOptions(2222, None, ())),
        (["-o", "Port=7", "-oProxyJump=gw1"], SshOptions(7, "gw1", ())),
        (["-J", "me@gw1:22"], SshOptions(None, None, ("-J me@gw1:22",))),
        (["-p", "x"], SshOptions(None, None, ("-p x",))),
        (["-p"], SshOptions(None, None, ("-p",))),
        (["-i", "/key", "-A"], SshOptions(None, None, ("-i /key", "-A"))),
        (["-o", "StrictHostKeyChecking=no"], SshOptions(None, None, ("-o StrictHostKeyChecking=no",))),
    ],
)
def test_options_of_ssh(words: list[str], expected: SshOptions) -> None:
    assert read_ssh_options(words) == expected


@pytest.mark.parametrize(
    ("fleet", "told"),
    [
        ('source = "colmena"', r'"colmenaHive" is read \(or a hive that is a file'),
        ('source = "deploy-rs"', r'fleet\.ref: needed .* output "deploy" is read'),
        ('source = "colmena"\nref = "x"\nleave_out = ["everything"]', r"fleet\.leave_out"),
    ],
)
def test_a_fleet_has_one_place(rig: Rig, fleet: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        rig.settings(fleet)


def test_nothing_is_json_unless_nix_says_so(rig: Rig) -> None:
    class Silent(NixBuilder):
        async def data(self, installable: str, *, timeout_s: float, view: str | None = None) -> str:
            return "{"

    settings = rig.settings('source = "colmena"\nref = "f"')
    with pytest.raises(ConfigError, match="f#colmenaHive: Nix printed no JSON"):
        asyncio.run(table_source(settings, Silent(rig.place)).read())
