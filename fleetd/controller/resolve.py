"""From a request and the fleet as it is to a frozen specification: names resolved, waves laid out. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from fleetd.controller.commands import RebootHosts, RequestKey, RestoreHost, SubmitRollout
from fleetd.controller.own_host import LAST_WAVE
from fleetd.errors import RefusedError, SelectorError, UsageError
from fleetd.model.fleet import Fleet, Host, Installable, Prebuilt, ToplevelSource
from fleetd.model.goal import Goal
from fleetd.model.policy import FailureBudget, OnFailure, Policy, Reboot, Size
from fleetd.model.reference import INSTEAD, carries_secret
from fleetd.model.selector import EVERY, select
from fleetd.model.store_path import StorePath, parse_store_path
from fleetd.rollout.spec import HostGroup, HostPlan, Kind, Member, RolloutSpec, Wave

COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Asked:
    """What a specification keeps of the request: ``revision`` as it is shown, ``flake`` if it is to be locked first."""

    kind: Kind
    revision: str
    flake: str | None
    on: str
    goal: Goal
    requested_by: str
    reason: str
    key: RequestKey | None
    force: bool = False
    supersede: bool = False


def deploy_of(fleet: Fleet, request: SubmitRollout, contact_s: float, own: str | None = None) -> RolloutSpec:
    """Return what a request asks for; ``own`` is the host that fleetd runs on. Raises UsageError and its kinds."""
    policy = _policy_of(fleet, request.policy)
    goal = request.goal or policy.goal
    names = _hosts_of(fleet, request)
    flake = _flake_of(fleet, request)
    sources = {name: _source_of(fleet.hosts[name], request, fleet, flake) for name in names}
    locks = any(
        isinstance(s, Installable) and flake is not None and s.text.startswith(f"{flake}#") for s in sources.values()
    )
    asked = Asked(
        kind=Kind.DEPLOY,
        revision=request.revision or flake or "prebuilt toplevels",
        flake=flake if locks else None,
        on=request.on or EVERY,
        goal=goal,
        requested_by=request.requested_by,
        reason=request.reason,
        key=request.key,
        force=request.force,
        supersede=request.supersede,
    )
    return as_goal_asks(specify(fleet, policy, sources, asked, contact_s, own))


def as_goal_asks(spec: RolloutSpec) -> RolloutSpec:
    """Leave out what says nothing where the new system does not run in the end: checks, and soaks.

    Of a dry activation nothing is at stake, so that every host is asked at once, whatever others answer.
    """
    if spec.goal is Goal.TEST:
        # A reboot would leave the profile behind, and end the test as well.
        return replace(spec, policy=replace(spec.policy, reboot=Reboot.NEVER))
    if spec.goal.is_observable:
        return spec
    hosts = tuple(replace(plan, checks=()) for plan in spec.hosts)
    waves = tuple(replace(wave, soak_s=0.0) for wave in spec.waves)
    policy, every = spec.policy, Size(percent=100)
    if spec.goal is Goal.DRY_ACTIVATE:
        hosts, spec = tuple(replace(plan, hooks=()) for plan in hosts), replace(spec, hooks=())
        waves = (Wave("all", tuple(host for wave in waves for host in wave.hosts)),)
        budget = FailureBudget(every, every, every)
        policy = replace(policy, on_failure=OnFailure.STOP, failure_budget=budget, unreachable_budget=every)
    return replace(spec, checks=(), hosts=hosts, waves=waves, policy=policy)


def reboot_of(
    fleet: Fleet, request: RebootHosts, runs: Mapping[str, str], contact_s: float, own: str | None = None
) -> RolloutSpec:
    """Return a rollout that boots what hosts run; ``runs`` is what each of the selected ones does.

    There is nothing to take them back to, so a failure stops the rollout. Raises UsageError.
    """
    policy = _policy_of(fleet, request.policy)
    reboot = Reboot.WHEN_NEEDED if request.when_needed else Reboot.ALWAYS
    on_failure = OnFailure.STOP if policy.on_failure is OnFailure.ROLLBACK else policy.on_failure
    rebooting = replace(policy, reboot=reboot, on_failure=on_failure)
    if policy.reboot is Reboot.NEVER:
        # The policy's own sum has no room for reboots, and this is what they take.
        rebooting = replace(rebooting, progress_deadline_s=policy.progress_deadline_s + rebooting.may_reboot_s)
    sources: dict[str, ToplevelSource] = {name: Prebuilt(parse_store_path(system)) for name, system in runs.items()}
    asked = Asked(
        kind=Kind.REBOOT,
        revision="what runs",
        flake=None,
        on=request.on,
        goal=Goal.SWITCH,
        requested_by=request.requested_by,
        reason=request.reason,
        key=request.key,
    )
    return specify(fleet, rebooting, sources, asked, contact_s, own)


def restore_of(
    fleet: Fleet, request: RestoreHost, left: StorePath, policy: str, contact_s: float, own: str | None = None
) -> RolloutSpec:
    """Return a rollout of one host to what fleetd left there, by the policy with which it did; a failure ends it."""
    chosen = fleet.policies.get(policy) or _policy_of(fleet, "default")
    asked = Asked(
        kind=Kind.RESTORE,
        revision="what fleetd left",
        flake=None,
        on=request.host,
        goal=Goal.SWITCH,
        requested_by=request.requested_by,
        reason=request.reason,
        key=request.key,
    )
    quick = replace(chosen, waves=(), on_failure=OnFailure.STOP)
    return specify(fleet, quick, {request.host: Prebuilt(left)}, asked, contact_s, own)


def _policy_of(fleet: Fleet, name: str) -> Policy:
    policy = fleet.policies.get(name)
    if policy is None:
        raise UsageError(f"no policy {name!r} (there are: {', '.join(sorted(fleet.policies))})")
    return policy


def check_allowed(revision: str | None, allowed: Sequence[str]) -> None:
    """Refuse a flake reference from outside that is none of these; commits are of the configured flake, and pass.

    References are compared up to their parameters (``?ref=…``), letter by letter: a pattern would let paths with ``..``
    through. An empty list allows everything; one with a secret in it is refused. Raises RefusedError, UsageError.
    """
    if revision is not None and carries_secret(revision):
        # Not shown: the refusal is kept in logs as well.
        raise UsageError(f"the revision cannot be used as it is: {INSTEAD}")
    if not allowed or revision is None or COMMIT.fullmatch(revision) is not None:
        return
    if "#" in revision or revision.partition("?")[0] not in allowed:
        raise RefusedError(f"{revision!r} is none of the references that fleet.allow has: {', '.join(allowed)}")


def selected(fleet: Fleet, on: str) -> tuple[str, ...]:
    """Return the hosts to act on. Raises SelectorError: an empty rollout would succeed without having done anything."""
    names = select(fleet, on)
    if not names:
        raise SelectorError(f"selector {on!r}: each of its terms exists, but no host is in all of them")
    return names


def _hosts_of(fleet: Fleet, request: SubmitRollout) -> tuple[str, ...]:
    unknown = sorted(set(request.toplevels) - set(fleet.hosts))
    if unknown:
        raise UsageError(f"toplevel for {unknown[0]!r}, which is not in the fleet")
    if not request.on:
        return tuple(name for name in fleet.hosts if name in request.toplevels) or tuple(fleet.hosts)
    names = selected(fleet, request.on)
    left_out = sorted(set(request.toplevels) - set(names))
    if left_out:
        raise UsageError(f"toplevel for {left_out[0]!r}, which {request.on!r} does not select")
    return names


def _flake_of(fleet: Fleet, request: SubmitRollout) -> str | None:
    if request.revision is None:
        return fleet.flake
    if COMMIT.fullmatch(request.revision) is not None:
        if fleet.flake is None:
            raise UsageError("a commit needs a configured flake ([fleet] ref) to be a commit of")
        joint = "&" if "?" in fleet.flake else "?"
        return f"{fleet.flake}{joint}rev={request.revision}"
    if request.revision.startswith("-"):
        raise UsageError(f"{request.revision!r} is not a revision")
    return request.revision


def _source_of(host: Host, request: SubmitRollout, fleet: Fleet, flake: str | None) -> ToplevelSource:
    given = request.toplevels.get(host.name)
    if given is not None:
        return Prebuilt(parse_store_path(given))
    configured, own = host.source, f"{fleet.flake}#"
    if flake is not None and configured is None:
        return Installable(f"{flake}#nixosConfigurations.{host.name}.config.system.build.toplevel")
    if flake is not None and isinstance(configured, Installable) and configured.text.startswith(own):
        # Whichever attribute of the configured flake it is: a revision is a revision of all of it.
        return Installable(f"{flake}#{configured.text.removeprefix(own)}")
    if configured is None:
        raise UsageError(f"{host.name}: nothing says what to deploy there (toplevel, installable, file or flake)")
    return configured


def specify(
    fleet: Fleet,
    policy: Policy,
    sources: Mapping[str, ToplevelSource],
    asked: Asked,
    contact_s: float,
    own: str | None = None,
) -> RolloutSpec:
    """Freeze a rollout of the hosts that have a source, in the fleet's order."""
    names = [name for name in fleet.hosts if name in sources]
    checks_on = {check.name: set(select(fleet, check.on)) for check in fleet.checks}
    hooks_on = {hook.name: set(select(fleet, hook.on)) for hook in fleet.hooks}
    plans = tuple(
        HostPlan(
            name=name,
            source=sources[name],
            domain=fleet.hosts[name].domain,
            depends_on=fleet.hosts[name].depends_on,
            checks=tuple(check.name for check in fleet.checks if name in checks_on[check.name]),
            hooks=tuple(hook.name for hook in fleet.hooks if name in hooks_on[hook.name]),
        )
        for name in names
    )
    groups = _groups_of(fleet, names, checks_on)
    used = {check for plan in plans for check in plan.checks}
    used |= {check for group in groups for member in group.members for check in member.checks}
    return RolloutSpec(
        id="",
        kind=asked.kind,
        revision=asked.revision,
        flake=asked.flake,
        on=asked.on,
        goal=asked.goal,
        policy=policy,
        checks=tuple(check for check in fleet.checks if check.name in used),
        hosts=plans,
        waves=lay_out(fleet, policy, names, own),
        requested_by=asked.requested_by,
        reason=asked.reason,
        contact_s=contact_s,
        key=asked.key.name if asked.key else None,
        request=asked.key.digest if asked.key else "",
        force=asked.force,
        supersede=asked.supersede,
        groups=groups,
        brake=fleet.brake.rounded_down(len(fleet.hosts)),
        hooks=tuple(hook for hook in fleet.hooks if any(hook.name in plan.hooks for plan in plans)),
    )


def _groups_of(fleet: Fleet, names: Sequence[str], checks_on: Mapping[str, set[str]]) -> tuple[HostGroup, ...]:
    """Return the groups that hosts of a rollout belong to, with all of their members."""
    found = []
    for group in fleet.groups:
        inside = select(fleet, group.on)
        if not set(inside).isdisjoint(names):
            members = tuple(Member(n, tuple(c.name for c in fleet.checks if n in checks_on[c.name])) for n in inside)
            found.append(HostGroup(group.name, members, group.max_unavailable))
    return tuple(found)


def lay_out(fleet: Fleet, policy: Policy, names: Sequence[str], own: str | None = None) -> tuple[Wave, ...]:
    """Return the waves: sizes round up, domain by domain, and whatever is left is the last one.

    The host that fleetd runs on has a wave of its own after all others, whatever a wave selects.
    """
    domains = list(dict.fromkeys(fleet.hosts[name].domain for name in names))
    others = [name for name in names if name != own or len(names) == 1]
    left = sorted(others, key=lambda name: domains.index(fleet.hosts[name].domain))
    waves: list[Wave] = []
    for wave in policy.waves:
        if wave.on:
            wanted = set(select(fleet, wave.on))
            chosen = [name for name in left if name in wanted]
        else:
            chosen = left[: wave.size.rounded_up(len(names))]
        left = [name for name in left if name not in chosen]
        if chosen:
            waves.append(Wave(wave.name, tuple(chosen), wave.soak_s, wave.approval_s))
    if left:
        waves.append(Wave("rest", tuple(left)))
    waves += [Wave(LAST_WAVE, (name,), apart=True) for name in names if name not in others]
    return tuple(waves)
