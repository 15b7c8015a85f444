"""Bugs in what runs hooks: each takes the protection of one promise out."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

RUNS = ("tests/simulation/test_hooks.py",)
PLANS = ("tests/rollout/test_hooks.py",)
PROGRAMS = ("tests/host/test_hooks.py",)

HOOKS = (
    Mutant(
        "a host is tried whatever became of its before",
        "fleetd/rollout/hooking.py",
        "        return not is_ready(spec, plan, work)\n",
        "        return False\n",
        RUNS,
    ),
    Mutant(
        "a host whose before failed is tried all the same",
        "fleetd/rollout/hooking.py",
        "        case When.BEFORE if not ignored and state.task.direction is Direction.DEPLOY:\n",
        "        case When.BEFORE if False:\n",
        RUNS,
    ),
    Mutant(
        "a rollback is held up by a host that cannot be drained",
        "fleetd/rollout/hooking.py",
        "        case When.BEFORE if not ignored and state.task.direction is Direction.DEPLOY:\n",
        "        case When.BEFORE if not ignored:\n",
        PLANS,
    ),
    Mutant(
        "only a host that was tried is given back",
        "fleetd/rollout/hooks.py",
        "    return _first(hooks, When.ALWAYS_AFTER)\n",
        "    return _first(hooks, When.ALWAYS_AFTER) if work.tried else None\n",
        RUNS,
    ),
    Mutant(
        "a host is given back before it was seen how it ended",
        "fleetd/rollout/hooks.py",
        "    if is_unproven(state):\n        return None\n    hooks",
        '    if is_unproven(state) and type(state).__name__ != "Lost":\n        return None\n    hooks',
        RUNS,
    ),
    Mutant(
        "a rollout on its way out ends while hosts are drained",
        "fleetd/rollout/gates.py",
        "tally.count(Mark.STARTABLE) or under_way(draft.world, name)\n",
        "tally.count(Mark.STARTABLE)\n",
        RUNS,
    ),
    Mutant(
        "a wave passes while its hosts are drained",
        "fleetd/rollout/gates.py",
        "    if not under_way(draft.world, name).keys().isdisjoint(wave.hosts):\n",
        "    if False:\n",
        PLANS,
    ),
    Mutant(
        "a drained host holds no slot",
        "fleetd/rollout/decision.py",
        "        return self.unproven_count() + len(self._apart) - started\n",
        "        return self.unproven_count()\n",
        PLANS,
    ),
    Mutant(
        "a drained host is not missing in its group",
        "fleetd/rollout/quorum.py",
        "        elif drained := world.hooks.drained_by(host):\n",
        '        elif drained := "":\n',
        PLANS,
    ),
    Mutant(
        "the first host is not drained alone",
        "fleetd/rollout/starting.py",
        "(first and under_way(draft.world, name).keys() - {plan.name})",
        "False",
        PLANS,
    ),
    Mutant(
        "a host stays drained while its rollout is paused",
        "fleetd/rollout/hooking.py",
        "    if header.paused is not None or header.starts_nothing or header.phase.is_final:\n        return True\n",
        "",
        PLANS,
    ),
    Mutant(
        "more hosts are drained although none comes back",
        "fleetd/rollout/hooking.py",
        "    if stuck and not rollout.header.phase.is_final:\n",
        "    if False:\n",
        RUNS,
    ),
    Mutant(
        "a rollout that left a host drained ends as if it were well",
        "fleetd/rollout/gates.py",
        '    return next((f"{host}: {work.stuck}" for host, work in stuck_in(draft.world, name).items()), "")\n',
        '    return ""\n',
        PLANS,
    ),
    Mutant(
        "a rollout of which a host is still drained leaves the journal",
        "fleetd/rollout/baseline.py",
        "        or bool(world.hooks.of_rollout(name))\n",
        "",
        PLANS,
    ),
    Mutant(
        "what a host is due for is put off by its hooks",
        "fleetd/rollout/hooking.py",
        "        rollout = draft.world.rollouts[name]\n        _plan_host(",
        "        rollout = draft.world.rollouts[name]\n        draft.place = (name, host)\n        _plan_host(",
        ("tests/simulation/test_oracle.py",),
    ),
    Mutant(
        "what was seen before the drain is the baseline",
        "fleetd/rollout/hooking.py",
        "    return 0.0 if work is None else work.ended_at\n",
        "    return 0.0\n",
        PLANS,
    ),
    Mutant(
        "what ran when the controller died is believed to have ended well",
        "fleetd/rollout/hooking.py",
        'HookEnd.UNKNOWN, "nobody saw its end"',
        'HookEnd.WELL, ""',
        PLANS,
    ),
    Mutant(
        "an end of another run ends a hook",
        "fleetd/rollout/hooks.py",
        "work.flight is not None and work.flight.fence == event.fence:",
        "work.flight is not None:",
        PLANS,
    ),
    Mutant(
        "what a controller that was killed left running goes on beside the next hook",
        "fleetd/host/hooks.py",
        "        await asyncio.to_thread(end_marked, mark)\n",
        "",
        PROGRAMS,
    ),
    Mutant(
        "what goes on on a host goes on beside the next hook",
        "fleetd/host/hooks.py",
        '  pid=${{file#/proc/}}; kill -KILL "${{pid%/environ}}" 2>/dev/null\n',
        "  :\n",
        PROGRAMS,
    ),
    Mutant(
        "a shell reads the words of a hook on a host",
        "fleetd/host/hooks.py",
        'exec timeout -k {KILL_AFTER_S} "$limit" env "{MARK}=$mark" "$@"\n',
        'exec timeout -k {KILL_AFTER_S} "$limit" env "{MARK}=$mark" sh -c "$*"\n',
        PROGRAMS,
    ),
)
