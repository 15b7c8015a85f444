"""What a simulated run is given: a fleet, a policy, how the new systems behave, and what goes wrong when."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from fleetd.controller.resolve import as_goal_asks
from fleetd.model.check import Check, HttpCheck
from fleetd.model.facts import Verdict
from fleetd.model.fleet import Installable, Prebuilt
from fleetd.model.goal import Goal
from fleetd.model.policy import FailureBudget, OnFailure, Policy, Reboot, RollbackScope, Size, Unreachable
from fleetd.model.store_path import StorePath
from fleetd.model.window import Window
from fleetd.rollout.spec import HostGroup, HostPlan, Kind, Member, RolloutSpec, Wave
from tests.simulation.sim_hooks import Hooked, draw_hooks, with_hooks
from tests.simulation.sim_machine import GOOD, Behaviour
from tests.simulation.sim_ports import Weather

CONTACT_S = 10.0
CALM = Weather()
CHECK = Check("web", "*", HttpCheck("http://{address}/"), interval_s=2, timeout_s=2, successes=2, soak_interval_s=5)
POLICY = Policy(
    max_parallel=Size(count=3),
    max_domains=9,
    switch_timeout_s=60,
    min_healthy_s=4,
    healthy_deadline_s=30,
    contact_timeout_s=60,
    commit_timeout_s=30,
    revert_timeout_s=40,
    reboot_timeout_s=180,
    progress_deadline_s=900,
    failure_budget=FailureBudget(Size(), Size(), Size()),
)


@dataclass(frozen=True, slots=True)
class Mishap:
    """Something that goes wrong on one host. ``for_s`` is how long a link or the power is away."""

    at_s: float
    kind: str
    host: str
    for_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Crash:
    """The controller dies at an append, before it is durable or just after, and is back after a while.

    ``refused``: the disk does not take the append, and the controller must end by itself. ``clock_s``: how far the
    control node's clock was set, forward or back, when it starts again.
    """

    append: int
    durable: bool
    away_s: float
    refused: bool = False
    clock_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Request:
    """What a person asks for, and when: ``deploy`` (the next revision), or a verb about the first rollout."""

    at_s: float
    kind: str
    hosts: tuple[str, ...] = ()
    for_s: float | None = None
    goal: Goal = Goal.SWITCH
    supersede: bool = False


@dataclass(frozen=True, slots=True)
class Scenario:
    """One run. ``quiet_at_s`` is when the last mishap is over, and the weather good for the rest.

    ``meddled`` are the hosts on which people work by hand as well.
    """

    seed: int
    hosts: tuple[str, ...]
    policy: Policy = POLICY
    waves: tuple[int, ...] = (1, 2)
    soak_s: float = 20.0
    domains: int = 3
    behaviours: dict[str, Behaviour] = field(default_factory=dict)
    broken: tuple[str, ...] = ()
    weather: Weather = CALM
    mishaps: tuple[Mishap, ...] = ()
    crashes: tuple[Crash, ...] = ()
    requests: tuple[Request, ...] = (Request(0.0, "deploy"),)
    quiet_at_s: float = 4000.0
    meddled: tuple[str, ...] = ()
    brake: int = 0
    groups: tuple[tuple[tuple[str, ...], int], ...] = ()
    """Hosts that need each other, and how many of them may be unavailable."""
    aided: bool = False
    """Whether the control node can unlock hosts and cycle their power."""
    locked: tuple[str, ...] = ()
    """Hosts that wait for a passphrase whenever they boot."""
    observe_s: float | None = None
    """How often hosts in no rollout are looked at."""
    hooked: Hooked | None = None


def system(host: str, version: int) -> StorePath:
    """Return the toplevel of a host's version."""
    digits = f"{version:02d}{host.removeprefix('h'):0>4}"
    return StorePath(f"/nix/store/{'0' * (32 - len(digits))}{digits}-nixos-system-{host}-v{version}")


def names(count: int) -> tuple[str, ...]:
    """Return the names of a fleet."""
    return tuple(f"h{number}" for number in range(1, count + 1))


def spec_of(scenario: Scenario, request: Request, version: int) -> RolloutSpec:
    """Return what a deploy request asks for."""
    hosts = request.hosts or scenario.hosts
    number = {host: index for index, host in enumerate(scenario.hosts)}
    plans = tuple(
        HostPlan(host, Installable(f"f#{system(host, version)}"), f"d{number[host] % scenario.domains}", (), ("web",))
        for host in hosts
    )
    waves: list[Wave] = []
    left = hosts
    for size in scenario.waves:
        chosen, left = left[:size], left[size:]
        if chosen:
            waves.append(Wave(f"wave-{len(waves) + 1}", chosen, scenario.soak_s))
    if left:
        waves.append(Wave("rest", left))
    spec = RolloutSpec(
        id="",
        kind=Kind.DEPLOY,
        revision=f"v{version}",
        flake=None,
        on="*",
        goal=request.goal,
        policy=scenario.policy,
        checks=(CHECK,),
        hosts=plans,
        waves=tuple(waves),
        requested_by="simulation",
        reason="",
        contact_s=CONTACT_S,
        key=f"v{version}",
        brake=scenario.brake,
        supersede=request.supersede,
        groups=tuple(
            HostGroup(f"g{index}", tuple(Member(name, ("web",)) for name in members), most)
            for index, (members, most) in enumerate(scenario.groups)
            if not set(members).isdisjoint(hosts)
        ),
    )
    return with_hooks(as_goal_asks(spec), scenario.hooked)


def reboot_of(scenario: Scenario, request: Request) -> RolloutSpec:
    """Return what a request to reboot hosts asks for: each into what it ran from the start."""
    spec = spec_of(scenario, request, 1)
    hosts = tuple(replace(plan, source=Prebuilt(system(plan.name, 1))) for plan in spec.hosts)
    policy = replace(scenario.policy, reboot=Reboot.ALWAYS, on_failure=OnFailure.STOP)
    return replace(spec, kind=Kind.REBOOT, hosts=hosts, policy=policy, revision="what runs", key=f"{request.at_s}")


BY_HAND = ("meddle", "menu", "state")
"""What people do to a host behind fleetd's back; what they made of it is theirs, and is not promised."""

BAD = (
    replace(GOOD, healthy=False),
    replace(GOOD, sick_after_s=25.0),
    replace(GOOD, cuts_network=True),
    replace(GOOD, ends=Verdict.FAILED),
    replace(GOOD, ends=Verdict.NOT_STARTED),
    replace(GOOD, ends=Verdict.INTERRUPTED),
    replace(GOOD, hangs=True),
    replace(GOOD, commit_skips="profile"),
    replace(GOOD, commit_skips="boot"),
    replace(GOOD, commit_hangs=True),
    replace(GOOD, healthy=False, reverts_failing=1),
    replace(GOOD, healthy=False, reverts_failing=5),
)


UNBOOTABLE: tuple[dict[str, Any], ...] = (
    {"kernel": "bad", "boots": False},
    {"kernel": "bad", "panics": True},
    {"kernel": "bad", "lists": False},
    {"guarded": False},
    {"major": "next"},
)

SMALL_FLEET = 10


def draw(rng: Random, *, seed: int, hosts: int | None = None) -> Scenario:
    """Draw a scenario; the same generator state gives the same one."""
    fleet = names(hosts or rng.randint(1, 8))
    policy = replace(
        POLICY,
        max_parallel=Size(count=rng.randint(1, 4)),
        rollback_max_parallel=Size(count=rng.randint(1, 3)),
        max_domains=rng.choice((1, 2, 9)),
        failure_budget=FailureBudget(
            Size(count=rng.choice((0, 0, 1))), Size(count=rng.randint(0, 2)), Size(count=rng.randint(0, 3))
        ),
        on_failure=rng.choice((OnFailure.ROLLBACK, OnFailure.ROLLBACK, OnFailure.STOP)),
        rollback_scope=rng.choice(tuple(RollbackScope)),
        unreachable=rng.choice(tuple(Unreachable)),
        windows=(Window("UTC", rng.randrange(1, 8), rng.randrange(8, 30)),) if rng.random() < 0.1 else (),
    )
    if len(fleet) > SMALL_FLEET:
        # In a large fleet something always fails: budgets in shares let rollouts get to their later waves.
        share = FailureBudget(Size(count=1), Size(percent=30), Size(percent=rng.choice((10, 30))))
        policy = replace(policy, failure_budget=share, unreachable_budget=Size(percent=50), max_domains=9)
        policy = replace(policy, max_parallel=Size(percent=rng.choice((10, 30))))
    behaviours: dict[str, Behaviour] = {}
    some = rng.choice((0.0, 0.1, 0.3))
    for host in fleet:
        if rng.random() < some:
            behaviours[system(host, 2)] = rng.choice(BAD)
        elif rng.random() < 0.3:
            behaviours[system(host, 2)] = replace(GOOD, switch_s=rng.uniform(0.5, 40.0), commit_s=rng.uniform(0.5, 9.0))
    rough = rng.random() < 0.5
    weather = (
        Weather(
            lost=rng.choice((0.0, 0.05, 0.2)),
            answer_lost=rng.choice((0.0, 0.05, 0.2)),
            late=rng.choice((0.0, 0.05, 0.2)),
            doubled=rng.choice((0.0, 0.1)),
            refused=rng.choice((0.0, 0.1)),
            copy_cut=rng.choice((0.0, 0.2)),
        )
        if rough
        else CALM
    )
    kinds = ("link", "deaf", "mute", "mute", "power", "power", "guard", "commit", "meddle", "state", "menu", "disk")
    cuts = tuple(
        Mishap(rng.uniform(0, 250), "uplink", fleet[0], rng.choice((3.0, 30.0, 100.0, 400.0)))
        for _ in range(rng.choice((0, 0, 0, 1, 2)))
    )
    mishaps = cuts + tuple(
        Mishap(rng.uniform(0, 250), rng.choice(kinds), rng.choice(fleet), rng.choice((2.0, 20.0, 90.0, 250.0, 3000.0)))
        for _ in range(rng.choice((0, 1, 2, 4, 8)))
    )
    crashes = tuple(
        Crash(
            rng.randint(2, 20 * len(fleet)),
            rng.random() < 0.5,
            rng.choice((0.5, 5.0, 20.0, 29.0, 50.0, 62.0, 80.0, 200.0, 2000.0)),
            refused=rng.random() < 0.2,
            clock_s=rng.choice((0.0, 0.0, 0.0, -500.0, 500.0, 90000.0)),
        )
        for _ in range(rng.choice((0, 0, 1, 1, 3)))
    )
    drawn = Scenario(
        seed=seed,
        hosts=fleet,
        policy=policy,
        waves=rng.choice(((), (1,), (1, 2), (2, 2), (1, 3))),
        soak_s=rng.choice((0.0, 15.0, 40.0)),
        domains=rng.randint(1, 3),
        behaviours=behaviours,
        broken=tuple(host for host in fleet if rng.random() < 0.03),
        weather=weather,
        mishaps=mishaps,
        crashes=crashes,
        requests=_with_goals(rng, (Request(0.0, "deploy"), *_more_requests(rng, fleet))),
        brake=rng.choice((0, 1, 1, 2)),
        groups=_groups(rng, fleet),
        meddled=tuple(dict.fromkeys(mishap.host for mishap in mishaps if mishap.kind in BY_HAND)),
        # Of a generator of its own: what else is drawn stays as it was.
        observe_s=Random(f"observe {seed}").choice((None, 20.0, 120.0)),
    )
    drawn = _without_names(rng, _with_reboots(rng, drawn))
    return replace(drawn, hooked=draw_hooks(rng, fleet))


def _without_names(rng: Random, scenario: Scenario) -> Scenario:
    """Now and then the control node cannot look up a name for a while: it can log in, and make no check."""
    found = tuple(
        Mishap(rng.uniform(0, 120), "names", scenario.hosts[0], rng.choice((10.0, 60.0, 200.0)))
        for _ in range(rng.choice((0, 0, 0, 1)))
    )
    return replace(scenario, mishaps=scenario.mishaps + found)


def _with_reboots(rng: Random, scenario: Scenario) -> Scenario:
    """Some fleets get systems that must be booted, and a policy that allows it, or not."""
    if rng.random() < 0.5:
        return scenario
    reboot = rng.choice((Reboot.NEVER, Reboot.WHEN_NEEDED, Reboot.WHEN_NEEDED, Reboot.ALWAYS))
    behaviours = dict(scenario.behaviours)
    for host in scenario.hosts:
        behaviours[system(host, 1)] = replace(GOOD, guarded=rng.random() < 0.5)
        for version in (2, 3):
            path = system(host, version)
            like = behaviours.get(path, GOOD)
            if rng.random() < 0.6:
                like = replace(like, kernel=f"{version}", boot_s=rng.uniform(5.0, 80.0), guarded=True)
            if rng.random() < 0.2:
                like = replace(like, **rng.choice(UNBOOTABLE))
            behaviours[path] = like
    aided = rng.random() < 0.4
    locked = tuple(host for host in scenario.hosts if aided and rng.random() < 0.3)
    policy = replace(scenario.policy, reboot=reboot)
    return replace(scenario, behaviours=behaviours, policy=policy, aided=aided, locked=locked)


def _groups(rng: Random, fleet: tuple[str, ...]) -> tuple[tuple[tuple[str, ...], int], ...]:
    found = []
    for _ in range(rng.choice((0, 0, 1, 2))):
        members = tuple(host for host in fleet if rng.random() < 0.6)
        if members:
            found.append((members, rng.choice((1, 1, 2))))
    return tuple(found)


GOALS = (*(Goal.SWITCH,) * 6, Goal.TEST, Goal.BOOT, Goal.DRY_ACTIVATE)


def _with_goals(rng: Random, requests: tuple[Request, ...]) -> tuple[Request, ...]:
    return tuple(replace(asked, goal=rng.choice(GOALS)) if asked.kind == "deploy" else asked for asked in requests)


def _more_requests(rng: Random, fleet: tuple[str, ...]) -> tuple[Request, ...]:
    found = []
    for _ in range(rng.choice((0, 0, 1, 2))):
        kind = rng.choice(("abort", "rollback", "deploy", "deploy", "pause", "promote", "skip", "retry"))
        some = tuple(host for host in fleet if rng.random() < 0.6) or fleet[:1]
        at_s = rng.uniform(5, 250)
        asked = some if kind in ("deploy", "skip", "retry") else ()
        supersede = kind == "deploy" and rng.random() < 0.5
        found.append(Request(at_s, kind, fleet if supersede else asked, supersede=supersede))
        if kind == "pause":
            found.append(Request(at_s + rng.uniform(1, 2000), "resume"))
    for kind in ("freeze", "lock"):
        if rng.random() < 0.15:
            # One that nobody ends would hold a rollout for ever.
            some = tuple(host for host in fleet if rng.random() < 0.4) or fleet[:1]
            at_s, for_s = rng.uniform(0, 250), rng.choice((None, 20.0, 500.0))
            found.append(Request(at_s, kind, some, for_s))
            if for_s is None:
                found.append(Request(at_s + rng.uniform(1, 1000), f"un{kind}", some))
    return tuple(sorted(found, key=lambda request: request.at_s))
