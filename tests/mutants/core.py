"""Bugs in the core: each takes the protection of one promise out."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

PROMISES = ("tests/simulation/test_promises.py",)
REBOOTS = ("tests/simulation/test_reboots.py",)
TABLE = ("tests/rollout/test_transitions.py",)

CORE = (
    Mutant(
        "the slot of a lost host is freed",
        "fleetd/rollout/transitions.py",
        "            return Lost(state.task, state.live, event.reason, event.at)\n",
        '            return Failed(state.task, "lost", event.reason, event.at)\n',
        PROMISES,
    ),
    Mutant(
        "a wave passes without evidence",
        "fleetd/rollout/gates.py",
        "    if not counts[Mark.EVIDENCE]:\n",
        "    if False:\n",
        PROMISES,
    ),
    Mutant(
        "a wave passes with a host unproven",
        "fleetd/rollout/gates.py",
        "    if counts[Mark.UNPROVEN]:\n",
        "    if False:\n",
        PROMISES,
    ),
    Mutant(
        "a commit is ordered without proof of health",
        "fleetd/rollout/live.py",
        "    if is_proven(health, required, checks, spec.policy.min_healthy_s) and draft.take",
        "    if draft.take",
        PROMISES,
    ),
    Mutant(
        "an unknown outcome counts as a switch that went well",
        "fleetd/rollout/transitions.py",
        "            return replace(state, live=_lost(state.live, event.at))\n"
        "        case e.HostReported() | e.OrderRejected()",
        "            return Trial(state.task, replace(state.live, flight=None), event.at)\n"
        "        case e.HostReported() | e.OrderRejected()",
        TABLE,
    ),
    Mutant(
        "an unknown outcome counts as never started",
        "fleetd/rollout/transitions.py",
        "            return replace(state, live=_lost(state.live, event.at))\n"
        "        case e.HostReported() | e.OrderRejected()",
        "            return Copied(state.task, event.at)\n        case e.HostReported() | e.OrderRejected()",
        PROMISES,
    ),
    Mutant(
        "an outcome is applied twice",
        "fleetd/rollout/transitions.py",
        "    return live.flight is not None and live.flight.fence == fence\n",
        "    return True\n",
        TABLE,
    ),
    Mutant(
        "the failure budget is forgotten",
        "fleetd/rollout/gates.py",
        "    if not every:\n",
        "    if True:\n",
        PROMISES,
    ),
    Mutant(
        "the limit counts one rollout alone",
        "fleetd/rollout/decision.py",
        "        return self.world.unproven_count() + len(self._started)\n",
        "        return len(self._started)\n",
        PROMISES,
    ),
    Mutant(
        "the limit of another rollout is ignored",
        "fleetd/rollout/decision.py",
        "        return min([limit_of(rollout, direction), *limits])\n",
        "        return limit_of(rollout, direction)\n",
        PROMISES,
    ),
    Mutant(
        "the first host is not alone",
        "fleetd/rollout/starting.py",
        "    if first and (rollout.tally.count(Mark.UNPROVEN) or draft.has_started(name)):\n",
        "    if False:\n",
        PROMISES,
    ),
    Mutant(
        "failure domains are not counted",
        "fleetd/rollout/starting.py",
        "    return plan.domain in domains or len(domains) < rollout.header.spec.policy.max_domains\n",
        "    return True\n",
        PROMISES,
    ),
    Mutant(
        "a fence is used twice",
        "fleetd/rollout/decision.py",
        "return Fence(self.world.term, self.world.seq + len(self._events) + 1)",
        "return Fence(self.world.term, self.world.seq + 1)",
        PROMISES,
    ),
    Mutant(
        "an order leaves before its intent is durable",
        "fleetd/controller/loop.py",
        "            events.append(event)\n        if events:\n            await self",
        "            events.append(event)\n            self._start(event)\n        if events:\n            await self",
        PROMISES,
    ),
    Mutant(
        "a host in flight is planned for again",
        "fleetd/rollout/live.py",
        "live.flight.fence.term == draft.world.term and now < live.flight.deadline:",
        "live.flight.fence.term == draft.world.term and now < live.armed_at:",
        PROMISES,
    ),
    Mutant(
        "a restart believes what it knew before",
        "fleetd/rollout/transitions.py",
        "            return replace(state, live=_unheard(state.live, at, away_s))\n",
        "            return state\n",
        TABLE,
    ),
    Mutant(
        "a restart forgets a commit that was under way",
        "fleetd/rollout/transitions.py",
        "        case Rebooting() | Trial() | Committing():\n",
        "        case Committing():\n"
        '            return Committed(state.task, state.live.old, (), at, "")\n'
        "        case Trial():\n",
        PROMISES,
    ),
    Mutant(
        "a soak counts the time when nobody looked",
        "fleetd/rollout/health.py",
        "at - health.passing_since <= LARGEST_GAP_INTERVALS * interval_s",
        "at >= health.passing_since",
        ("tests/rollout",),
    ),
    Mutant(
        "an answer of an earlier step is believed",
        "fleetd/rollout/observations.py",
        "    if seen is None or seen.step != message.step:\n",
        "    if seen is None:\n",
        ("tests/rollout",),
    ),
    Mutant(
        "a rollback goes to the system that failed",
        "fleetd/rollout/gates.py",
        "    return state.old if good is None or good == state.task.to else good\n",
        "    return state.task.to or state.old\n",
        PROMISES,
    ),
    Mutant(
        "a commit is sent over the old connection",
        "fleetd/executor/on_host.py",
        "            fresh = order.verb is Verb.COMMIT\n",
        "            fresh = False\n",
        PROMISES,
    ),
    Mutant(
        "an illegal outcome ends the loop",
        "fleetd/controller/loop.py",
        "        except IllegalTransition as error:\n            rollout = getattr(outcome",
        "        except ZeroDivisionError as error:\n            rollout = getattr(outcome",
        PROMISES,
    ),
    Mutant(
        "a rollback waits behind deploys",
        "fleetd/rollout/starting.py",
        "        draft.closed = True\n",
        "        pass\n",
        ("tests/rollout",),
    ),
    Mutant(
        "old facts are believed",
        "fleetd/rollout/starting.py",
        "since=max(state.at, draft.now - FACTS_FRESH_S)",
        "since=0.0",
        ("tests/rollout",),
    ),
    Mutant(
        "being asked again counts as progress",
        "fleetd/rollout/world.py",
        "        if _is_progress(before, after):\n",
        "        if True:\n",
        ("tests/rollout",),
    ),
    Mutant(
        "a request is answered before it is durable",
        "fleetd/controller/loop.py",
        "            answers.append((waiting, rollout, repeated))\n",
        "            answers.append((waiting, rollout, repeated))\n"
        "            waiting.answer.set_result(Accepted(rollout, {}, repeated))\n",
        ("tests/controller",),
    ),
    Mutant(
        "an effect that breaks is never heard of",
        "fleetd/executor/executor.py",
        "                outcome = broken_effect(intent, fault, self._clock.now())\n",
        "                return\n",
        ("tests/executor",),
    ),
    Mutant(
        "a trial starts in the plan that finds a failure",
        "fleetd/rollout/starting.py",
        "        if state.task.direction is Direction.DEPLOY and draft.has_failed(name):\n            break\n",
        "",
        ("tests/rollout/test_planner.py",),
    ),
    Mutant(
        "what changed is not looked at",
        "fleetd/rollout/observations.py",
        "    world.agenda.touch((message.rollout, message.host))\n",
        "",
        ("tests/simulation/test_oracle.py",),
    ),
    Mutant(
        "a check that fails is excused where the new system runs already",
        "fleetd/rollout/starting.py",
        "    if facts.current == to and rollout.header.spec.kind is not Kind.REBOOT:\n",
        "    if False:\n",
        ("tests/rollout/test_planner.py",),
    ),
    Mutant(
        "a rollback is judged by what passes on the system that it leaves",
        "fleetd/rollout/starting.py",
        "    if rollout.header.spec.kind is Kind.ROLLBACK and to == record.came_from:\n",
        "    if False:\n",
        ("tests/rollout/test_planner.py",),
    ),
    Mutant(
        "a paused rollout starts hosts",
        "fleetd/rollout/planner.py",
        "    if header.paused is not None or draft.has_failed(name):\n",
        "    if draft.has_failed(name):\n",
        ("tests/controller/test_verb_table.py",),
    ),
    Mutant(
        "a wave starts without its approval",
        "fleetd/rollout/gates.py",
        "    if header.wave >= len(header.waves) or header.wave in header.approved:\n        return False\n",
        "    if True:\n        return False\n",
        ("tests/controller/test_verb_table.py",),
    ),
    Mutant(
        "a promoted wave passes though it turned sick",
        "fleetd/rollout/gates.py",
        "    exceeded = _exceeded(rollout)\n",
        '    exceeded = "" if header.promoted is not None else _exceeded(rollout)\n',
        ("tests/controller/test_verb_table.py",),
    ),
    Mutant(
        "a host that reboots holds no slot",
        "fleetd/rollout/states.py",
        "LiveState = Switching | Rebooting | Trial |",
        "LiveState = Switching | Trial |",
        REBOOTS,
    ),
    Mutant(
        "a host that does not come back is waited for until its guard has fired",
        "fleetd/rollout/live.py",
        "    if isinstance(state, Rebooting):\n        return state.since",
        "    if False:\n        return state.since",
        REBOOTS,
    ),
    Mutant(
        "hosts are not told whether they may reboot",
        "fleetd/executor/orders.py",
        "        reboot=spec.policy.reboot.value if starts else ",
        "        reboot=",
        REBOOTS,
    ),
    Mutant(
        "a host is rebooted into what it does not run any more",
        "fleetd/rollout/starting.py",
        "        blocked = _blocked_reboot(facts, to)\n",
        "",
        REBOOTS,
    ),
)
