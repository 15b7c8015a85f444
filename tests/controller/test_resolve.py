"""From a request to a frozen rollout: what is asked is what is rolled out, and what makes no sense is refused whole."""

from __future__ import annotations

from typing import Any

import pytest

from fleetd.controller.commands import RequestKey, SubmitRollout
from fleetd.controller.own_host import Machine, own_host
from fleetd.controller.resolve import check_allowed, deploy_of
from fleetd.errors import RefusedError, SelectorError, ToplevelError, UsageError
from fleetd.model.fleet import FileAttribute, Fleet, Installable, Prebuilt
from fleetd.model.goal import Goal
from fleetd.model.policy import OnFailure
from fleetd.rollout.spec import HostGroup, Member, RolloutSpec
from fleetd.schema.fleet_file import parse_fleet

FLAKE = "git+ssh://git@git.example.org/infra?ref=main"
PATH = f"/nix/store/{'1' * 32}-nixos-system-web1-2"
TABLE: dict[str, Any] = {
    "hosts": {
        "web1": {"tags": ["web"], "domain": "a"},
        "web2": {"tags": ["web"], "domain": "b"},
        "web3": {"tags": ["web"], "domain": "a"},
        "db1": {"file": "/hive.nix", "attr": "db1"},
        "old1": {"installable": "path:/old#old1"},
    },
    "checks": [{"name": "web answers", "on": "@web", "tcp": {"port": 80}}],
    "hooks": [
        {"name": "drain", "on": "web1,web2", "when": "before", "command": ["drain", "{name}"]},
        {"name": "of nobody here", "on": "old1", "when": "always-after", "command": ["x"]},
    ],
    "policies": {"quick": {"goal": "test", "waves": [{"on": "db1"}, {"count": 1}, {"percent": 50}]}},
}


def fleet(flake: str | None = FLAKE) -> Fleet:
    return parse_fleet(TABLE, file="fleet.toml", flake=flake, contact_s=60)


def deploy(flake: str | None = FLAKE, **request: Any) -> RolloutSpec:
    return deploy_of(fleet(flake), SubmitRollout("kim", **request), 60)


def attribute(host: str) -> str:
    return f"#nixosConfigurations.{host}.config.system.build.toplevel"


def own_waves(own: str, **request: Any) -> list[tuple[str, tuple[str, ...], bool]]:
    spec = deploy_of(fleet(), SubmitRollout("kim", **request), 60, own)
    return [(wave.name, wave.hosts, wave.apart) for wave in spec.waves]


def test_the_host_that_fleetd_runs_on_is_last_and_alone_whatever_is_asked() -> None:
    assert own_waves("db1", policy="quick") == [
        ("wave-2", ("web1",), False),
        ("wave-3", ("web3", "web2", "old1"), False),
        ("control node", ("db1",), True),
    ]
    assert [wave[1] for wave in own_waves("db1", policy="quick", on="db1,web1")] == [("web1",), ("db1",)]
    assert own_waves("db1", policy="quick", on="db1") == [("canary", ("db1",), False)]
    assert ("control node", ("db1",), True) not in own_waves("db1", policy="quick", on="@web")


def test_the_host_that_fleetd_runs_on_is_known_by_its_machine_id_or_by_its_name_until_then() -> None:
    machine = Machine("m1", "web2")
    assert own_host(machine, fleet(), {"web1": "m1", "web2": "m2"}.get) == "web1"  # type: ignore[arg-type]
    known = dict.fromkeys(fleet().hosts, "")
    assert own_host(machine, fleet(), known.__getitem__) == "web2"
    assert own_host(machine, fleet(), (known | {"web2": "m2"}).__getitem__) is None
    assert own_host(Machine("", "elsewhere"), fleet(), known.__getitem__) is None


def test_hooks_are_frozen_for_the_hosts_that_have_them_and_none_where_nothing_is_switched() -> None:
    spec = deploy(on="@web")
    assert [hook.name for hook in spec.hooks] == ["drain"]
    assert {plan.name: plan.hooks for plan in spec.hosts} == {"web1": ("drain",), "web2": ("drain",), "web3": ()}
    assert deploy(on="@web", goal=Goal.TEST).hooks == spec.hooks
    dry = deploy(on="@web", goal=Goal.DRY_ACTIVATE)
    assert (dry.hooks, [plan.hooks for plan in dry.hosts]) == ((), [(), (), ()])


def test_nothing_said_is_every_host_from_its_own_source() -> None:
    spec = deploy()
    assert {plan.name: plan.source for plan in spec.hosts} == {
        **{name: Installable(FLAKE + attribute(name)) for name in ("web1", "web2", "web3")},
        "db1": FileAttribute("/hive.nix", "db1"),
        "old1": Installable("path:/old#old1"),
    }
    assert (spec.revision, spec.flake, spec.on, spec.goal) == (FLAKE, FLAKE, "*", Goal.SWITCH)
    assert {plan.name: plan.checks for plan in spec.hosts if plan.checks} == dict.fromkeys(
        ("web1", "web2", "web3"), ("web answers",)
    )


def test_the_goal_is_the_request_s_else_the_policy_s() -> None:
    assert deploy(policy="quick").goal is Goal.TEST
    assert deploy(policy="quick", goal=Goal.SWITCH).goal is Goal.SWITCH
    assert deploy(goal=Goal.BOOT).goal is Goal.BOOT


def test_where_nothing_new_runs_there_is_nothing_to_check_or_to_soak() -> None:
    tested, staged, asked = (deploy(goal=goal) for goal in (Goal.TEST, Goal.BOOT, Goal.DRY_ACTIVATE))
    assert any(wave.soak_s for wave in tested.waves)
    assert tested.checks
    for spec in (staged, asked):
        assert not any(wave.soak_s for wave in spec.waves)
        assert not (spec.checks or any(plan.checks for plan in spec.hosts))
    assert [wave.hosts for wave in staged.waves] == [wave.hosts for wave in tested.waves]
    assert staged.policy == tested.policy
    assert [set(wave.hosts) for wave in asked.waves] == [{plan.name for plan in tested.hosts}]
    assert asked.policy.on_failure is OnFailure.STOP


@pytest.mark.parametrize(
    ("revision", "flake"),
    [
        ("a" * 40, f"{FLAKE}&rev={'a' * 40}"),
        ("b" * 64, f"{FLAKE}&rev={'b' * 64}"),
        ("github:me/infra/main", "github:me/infra/main"),
    ],
)
def test_a_revision_is_of_the_flake_s_hosts_alone(revision: str, flake: str) -> None:
    spec = deploy(revision=revision)
    sources = {plan.name: plan.source for plan in spec.hosts}
    assert sources["web1"] == Installable(flake + attribute("web1"))
    assert sources["db1"] == FileAttribute("/hive.nix", "db1")
    assert (spec.revision, spec.flake) == (revision, flake)


def test_a_commit_is_joined_to_a_flake_without_parameters_too() -> None:
    assert deploy("git+file:///infra", revision="a" * 40).flake == f"git+file:///infra?rev={'a' * 40}"


def test_prebuilt_toplevels_need_no_flake_and_select_their_hosts() -> None:
    spec = deploy(None, toplevels={"web1": PATH}, reason="why", key=RequestKey("k", "d"))
    assert [(plan.name, plan.source) for plan in spec.hosts] == [("web1", Prebuilt(PATH))]  # type: ignore[arg-type]
    assert (spec.revision, spec.flake, spec.reason, spec.key, spec.request) == (
        *("prebuilt toplevels", None, "why"),
        *("k", "d"),
    )
    mixed = deploy(toplevels={"web1": PATH}, on="@web")
    assert [type(plan.source) for plan in mixed.hosts] == [Prebuilt, Installable, Installable]


def test_waves_round_up_and_the_rest_is_last() -> None:
    waves = deploy(policy="quick").waves
    assert [(wave.name, wave.hosts) for wave in waves] == [
        ("canary", ("db1",)),
        ("wave-2", ("web1",)),
        ("wave-3", ("web3", "web2", "old1")),
    ]
    assert [wave.hosts for wave in deploy(policy="quick", on="web1").waves] == [("web1",)]


@pytest.mark.parametrize(
    ("request_", "error", "told"),
    [
        ({"on": "web9"}, SelectorError, r"no host matches 'web9' \(there are: db1, old1, web1"),
        ({"on": "@wbe"}, SelectorError, r"no host has the tag 'wbe' \(there are: web\)"),
        ({"on": "domain:z"}, SelectorError, r"no host is in the domain 'z'"),
        ({"on": "web1,"}, SelectorError, "empty term"),
        ({"on": "web1&db1"}, SelectorError, "no host is in all of them"),
        ({"policy": "careless"}, UsageError, r"no policy 'careless' \(there are: default, quick\)"),
        ({"toplevels": {"web9": PATH}}, UsageError, "toplevel for 'web9', which is not in the fleet"),
        ({"toplevels": {"web1": PATH}, "on": "db1"}, UsageError, "toplevel for 'web1', which 'db1' does not select"),
        ({"toplevels": {"web1": "/etc/passwd"}}, ToplevelError, "is not a store path"),
        ({"toplevels": {"web1": PATH + "/../x"}}, ToplevelError, "is not a store path"),
        ({"revision": "--impure"}, UsageError, "is not a revision"),
    ],
)
def test_what_makes_no_sense_is_refused(request_: dict[str, Any], error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told):
        deploy(**request_)


def test_without_a_flake_some_things_mean_nothing() -> None:
    with pytest.raises(UsageError, match="a commit needs a configured flake"):
        deploy(None, revision="a" * 40)
    with pytest.raises(UsageError, match="web1: nothing says what to deploy there"):
        deploy(None)


def test_a_wave_keeps_its_approval() -> None:
    waves = [{"count": 1}, {"percent": 50, "approval": "4h", "soak": "1m"}]
    table = {**TABLE, "policies": {"asked": {"waves": waves}}}
    asked = parse_fleet(table, file="fleet.toml", flake=FLAKE, contact_s=60)
    spec = deploy_of(asked, SubmitRollout("kim", policy="asked"), 60)
    assert [(wave.soak_s, wave.approval_s) for wave in spec.waves] == [(0, None), (60, 4 * 3600), (0, None)]


ALLOWED = ("git+ssh://git@git.example.org/infra",)
AT_COMMIT = f"{ALLOWED[0]}?rev={'a' * 40}"


@pytest.mark.parametrize(
    "revision", [None, "a" * 40, ALLOWED[0], f"{ALLOWED[0]}?ref=main", f"{ALLOWED[0]}?rev={'a' * 40}"]
)
def test_what_is_allowed_passes(revision: str | None) -> None:
    check_allowed(revision, ALLOWED)


@pytest.mark.parametrize(
    "revision",
    [
        f"{ALLOWED[0]}2",
        f"{ALLOWED[0]}/../other",
        f"{ALLOWED[0]}#x",
        f"{ALLOWED[0]}?ref=main#x",
        "git+ssh://git@git.example.org/INFRA",
        "git+ssh://git.example.org/infra",
        "path:/tmp/x",
        "nixpkgs",
        "a" * 39,
        "",
    ],
)
def test_what_is_not_allowed_is_refused_and_by_default_all_is(revision: str) -> None:
    with pytest.raises(RefusedError, match=r"none of the references that fleet\.allow has: git\+ssh"):
        check_allowed(revision, ALLOWED)
    check_allowed(revision, ())


def test_groups_are_frozen_with_all_their_members_and_what_tells_how_they_are() -> None:
    groups = [
        {"name": "pair", "on": "web1,db1", "max_unavailable": 1},
        {"name": "elsewhere", "on": "web3"},
    ]
    several = parse_fleet({**TABLE, "groups": groups, "brake": "50%"}, file="f", flake=FLAKE, contact_s=60)
    spec = deploy_of(several, SubmitRollout("kim", on="db1"), 60)
    assert spec.groups == (HostGroup("pair", (Member("web1", ("web answers",)), Member("db1")), 1),)
    assert [check.name for check in spec.checks] == ["web answers"], "none of its own hosts has it"
    assert spec.hosts[0].checks == ()
    assert spec.brake == 2, "of the whole fleet of five, whatever is selected"


def test_a_revision_with_a_secret_is_refused_without_being_repeated() -> None:
    with pytest.raises(UsageError) as refused:
        check_allowed("git+https://kim:hunter2@git.example.org/infra", ["git+https://git.example.org/infra"])
    assert "holds a secret" in str(refused.value)
    assert "hunter2" not in str(refused.value)
