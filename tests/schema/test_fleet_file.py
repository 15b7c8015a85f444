"""The fleet file: every mistake at once, with its place and what would be right."""

from __future__ import annotations

import tomllib

import pytest

from fleetd.errors import ConfigError
from fleetd.model.fleet import Fleet
from fleetd.model.hook import Hook, OnHookFailure, When, Where
from fleetd.model.order import KeptGenerations
from fleetd.model.program import ControlCommand
from fleetd.schema.fleet_file import parse_fleet

HOOK = "[hosts.a]\n[[hooks]]\non = '*'\nwhen = 'before'\ncommand = ['drain']\n"


def parse(text: str) -> Fleet:
    return parse_fleet(tomllib.loads(text), file="fleet.toml", flake=None, contact_s=60)


def test_defaults_are_filled_in() -> None:
    fleet = parse('[defaults]\nuser = "deploy"\n[hosts.web1]\ntags = ["web"]\n[hosts.web2]\nuser = "root"\n')
    assert (fleet.hosts["web1"].user, fleet.hosts["web2"].user) == ("deploy", "root")
    assert fleet.hosts["web1"].addresses == ("web1",)
    assert "default" in fleet.policies
    assert not fleet.hosts["web1"].builds_itself
    assert parse('[hosts.web1]\nbuild_on = "target"\n').hosts["web1"].builds_itself


def test_programs_of_a_host_are_taken_as_written() -> None:
    host = parse('[hosts.a]\nunlock = { command = ["u", "{name}"], stdin = "/run/p" }\n').hosts["a"]
    assert host.unlock == ControlCommand(("u", "{name}"), 60.0, "/run/p")
    assert host.power_cycle is None


def test_all_generations_are_kept_unless_a_host_says_otherwise() -> None:
    defaults = '[defaults]\nkeep_generations = { newest = 5, younger = "2d" }\n'
    hosts = parse(f'{defaults}[hosts.a]\n[hosts.b]\nkeep_generations = "all"\n').hosts
    assert hosts["a"].keep_generations == KeptGenerations(5, 2 * 86400.0)
    assert hosts["b"].keep_generations is None
    assert parse("[hosts.a]\n").hosts["a"].keep_generations is None


def test_hooks_get_the_defaults_of_their_kind() -> None:
    before, after = parse(f"{HOOK}[[hooks]]\non = 'a'\nwhen = 'after-commit'\ncommand = ['x']\n").hooks
    words = (When.BEFORE, Where.CONTROLLER, ("drain",), 600.0, OnHookFailure.SKIP_HOST)
    assert before == Hook("before-1", "*", *words)
    assert (after.name, after.on_failure) == ("after-commit-2", OnHookFailure.FAIL)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[hosts.web1]\nadress = "x"\n', "did you mean 'address'"),
        ('[hosts.web1]\nport = "22"\n', "hosts.web1.port"),
        ("[hosts]\n", "hosts: there is none"),
        ('[hosts.web1]\njump = "gw"\n', "'gw', which is not in the fleet"),
        ('[hosts.web1]\n[[checks]]\nname = "c"\non = "@web"\ntcp = { port = 1 }\n', "no host has the tag 'web'"),
        ('[hosts.web1]\njump = "web1"\n', "hosts.web1: depends on itself: web1 -> web1"),
        ('[hosts.a]\ndepends_on = ["b"]\n[hosts.b]\njump = "a"\n', "depends on itself: "),
        ('[hosts.a]\n[[checks]]\nname = "c"\non = "a&!a"\ntcp = { port = 1 }\n', "'a&!a' selects no host"),
        ('[hosts.a]\n[policies.p]\nwaves = [{ on = "a&!a" }]\n', "'a&!a' selects no host"),
        ('[hosts."a b"]\n', "hosts.a b: not a host name"),
        ('[hosts."a\\n"]\nport = "x"\n', r"hosts.'a\n'.port"),
        ('[hosts.a]\nhost_key = "SHA256:abc"\n', "hosts.a.host_key: not a public key"),
        (
            '[hosts.a]\nbuild_on = "target"\ninstallable = "path:/x#deploy.nodes.a.profiles.system.path"\n',
            "hosts.a.build_on: what deploy-rs has of a system is a wrapper",
        ),
        ('[hosts.a]\nuser = "-oProxyCommand=x"\n', "may begin with a dash"),
        ("[hosts.a]\nkeep_generations = { newest = 0 }\n", "hosts.a.keep_generations.newest: "),
        ('[hosts.a]\nkeep_generations = { younger = "3d" }\n', "hosts.a.keep_generations.newest: "),
        ("[hosts.a]\nkeep_generations = 5\n", "hosts.a.keep_generations: "),
        ("[hosts.a]\nunlock = { command = [] }\n", "hosts.a.unlock.command: "),
        ('[hosts.a]\nunlock = { command = [""] }\n', "hosts.a.unlock.command: begins with the name of a program"),
        ('[hosts.a]\npower_cycle = { command = ["x"], timeout = "1h" }\n', "hosts.a.power_cycle.timeout: 1h is more"),
        (
            '[hosts.a]\nunlock = { command = ["x"], stdin = "pass" }\n',
            "hosts.a.unlock.stdin: 'pass' must be an absolute",
        ),
        ('[hosts.a]\naddress = ["x", "-oProxyCommand=x"]\n', "may begin with a dash"),
        (
            '[hosts.a]\naddress = "unix:run/a"\n',
            "hosts.a.address: 'unix:run/a' must name a socket by its absolute path",
        ),
        (f'[hosts.a]\naddress = "unix:/{"x" * 107}"\n', "is longer than the path of a socket may be (107 bytes)"),
        ('[hosts.a]\naddress = "unix:/run/a"\njump = "b"\n[hosts.b]\n', "where no jump host leads (leave out jump)"),
        (
            '[hosts.a]\naddress = "unix:/run/a"\n[hosts.b]\njump = "a"\n',
            "hosts.b.jump: 'a' is reached through a socket",
        ),
        (
            '[hosts.a]\naddress = "unix:/run/a"\n[[checks]]\nname = "c"\ntcp = { port = 1 }\n',
            'checks (c): the controller cannot ask a over the network (write: via = "host")',
        ),
        (
            '[hosts.a]\naddress = "unix:/run/a"\n[[checks]]\nname = "c"\nhttp = { url = "http://{address}/" }\n',
            "checks (c): the controller cannot ask a over the network",
        ),
        ('[hosts.a]\ntoplevel = "/etc"\n', "hosts.a.toplevel: "),
        ('[hosts.a]\nfile = "x.nix"\n', "file and attr go together"),
        ('[hosts.a]\ninstallable = "git+https://kim:pw@git.example.org/infra#a"\n', "installable: it holds a secret"),
        ('[hosts.a]\nfile = "x.nix"\nattr = "a"\n', "must be absolute here"),
        ('[hosts.a]\ninstallable = "x"\ntoplevel = "/etc"\n', "installable and toplevel exclude each other"),
        ('[hosts.a]\n[[checks]]\nname = "login"\ntcp = { port = 1 }\n', "belongs to a built-in check"),
        (
            '[hosts.a]\n[[checks]]\nname = "c"\ntcp = { port = 1 }\n[[checks]]\nname = "c"\ntcp = { port = 2 }\n',
            "checks (c): 2 checks have this name",
        ),
        (
            '[hosts.a]\n[[checks]]\nname = "c"\ntcp = { port = 1 }\ninterval = "0s"\n',
            "checks.0.interval: '0s' leaves no time",
        ),
        ('[hosts.a]\n[policies.p]\nrevert_timeout = "0ms"\n', "policies.p.revert_timeout: '0ms' leaves no time"),
        ('[hosts.a]\n[policies.p]\nmin_healthy = "3651d"\n', "is longer than 3650d"),
        (f'[hosts.a]\n[policies.p]\nmin_healthy = "{"9" * 400}s"\n', "is longer than 3650d"),
        ('[hosts.a]\n[[checks]]\nname = "c"\ntcp = { port = 0 }\n', "checks.0.tcp.port"),
        ('[hosts.a]\n[policies.p]\nbuiltin_off = ["logn"]\n', "no built-in check 'logn' (there are: login"),
        ("[hosts.a]\n[policies.p]\nwaves = [{ count = 1, percent = 5 }]\n", "exactly one of count, percent, on"),
        ('[hosts.a]\n[policies.p]\nreboot = "sometimes"\n', "policies.p.reboot"),
        ('[hosts.a]\n[policies.p]\nreboot = "always"\nreboot_timeout = "20m"\n', "two reboots of 20m"),
        ('[hosts.a]\n[policies.p]\nreboot_timeout = "0s"\n', "policies.p.reboot_timeout"),
        ('[hosts.a]\n[policies.p]\non_failure = "shrug"\n', "policies.p.on_failure"),
        ('[hosts.a]\n[policies.p]\nwaves = [{ count = 1, approval = "soon" }]\n', "waves.0.approval"),
        ("[hosts.a]\n[[hooks]]\n", "hooks.0.on: Field required"),
        (HOOK + "wen = 'before'", "hooks.0.wen: unknown key 'wen'; did you mean 'when'?"),
        (HOOK.replace("'*'", "'@none'"), "hooks (before-1).on: "),
        (HOOK + "timeout = '3h'", "hooks.0 (before-1).timeout: 3h is more than 2h"),
        (HOOK + "name = ' '", "hooks.0 ( ).name: must be a word or more"),
        (
            HOOK.replace("['drain']", "['drain', '{host}']"),
            "(before-1).command: unknown {host} (there are {name}",
        ),
        (
            HOOK.replace("['drain']", "['A=b', 'drain']"),
            "(before-1).command: begins with the name of a program",
        ),
        (
            HOOK.replace("before", "always-after") + "on_failure = 'skip-host'",
            "a host is passed over before its trial",
        ),
        (HOOK + "name = 'x'\n" + HOOK.removeprefix("[hosts.a]") + "name = 'x'", "hooks (x): 2 hooks have this name"),
        ('[hosts.web1]\n[[checks]]\nname = "c"\n', "exactly one kind"),
        ('[hosts.web1]\n[[checks]]\nname = "c"\nhttp = { url = "http://{addres}/" }\n', "unknown {addres}"),
        ('[hosts.web1]\n[policies.p]\ngoal = "build"\n', "policies.p.goal"),
        ('[hosts.web1]\n[policies.p]\nmax_parallel = "some"\n', "is no size"),
        ("[hosts.web1]\n[policies.p]\nwaves = [{percent = 60}, {percent = 60}]\n", "add up to 120%"),
        ('[hosts.web1]\n[policies.p]\nhealthy_deadline = "1m"\n', "= 2m must be at most healthy_deadline = 1m"),
        ('[hosts.web1]\n[policies.p]\ncontact_timeout = "1m"\n', "contact_timeout = 1m must be at least 3m"),
        ('[hosts.web1]\n[policies.p]\nprogress_deadline = "5m"\n', "progress_deadline = 5m must be more than"),
        ("[hosts.web1]\n[[groups]]\nname = 'x'\n", "groups.0.on"),
        ("[hosts.web1]\n[[groups]]\nname = 'x'\non = '@db'\n", "groups (x).on: selector '@db': no host has the tag"),
        ("[hosts.web1]\n[[groups]]\nname = 'x'\non = 'web1'\nmax_unavailable = 0\n", "groups.0.max_unavailable"),
        (
            "[hosts.web1]\n[[groups]]\nname = 'x'\non = 'web1'\n[[groups]]\nname = 'x'\non = 'web1'\n",
            "groups (x): 2 groups have this name",
        ),
        ("brake = '101%'\n[hosts.web1]\n", "brake: '101%' is no size"),
    ],
)
def test_mistakes_are_told(text: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert told in str(caught.value)


def test_every_mistake_is_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        parse('[hosts.web1]\njump = "gw"\n[policies.p]\nbuiltin_off = ["logn"]\n')
    assert len(str(caught.value).splitlines()) == 2


def test_a_host_may_be_reached_through_a_socket_or_over_the_network() -> None:
    fleet = parse(
        '[hosts.a]\naddress = ["unix:/run/a", "10.0.0.1"]\n[hosts.b]\naddress = "unix:/run/b"\n'
        '[[checks]]\nname = "c"\non = "a"\ntcp = { port = 1 }\n'
        '[[checks]]\nname = "d"\ntcp = { port = 1, via = "host" }\n'
        '[[checks]]\nname = "e"\nhttp = { url = "http://front/{name}" }\n'
    )
    assert [fleet.hosts[name].network_addresses for name in ("a", "b")] == [("10.0.0.1",), ()]
