"""The promises, checked at every event and every step of every host. Written from design, not from the core's code.

``Watch`` folds the durable records into a world of its own, so that it knows exactly what a controller that starts now
would know, and compares that with what is true on the machines.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from fleetd.model.facts import HelperState, Verdict
from fleetd.model.fence import NO_FENCE, Fence
from fleetd.model.goal import Goal
from fleetd.model.policy import OnDrift, Reboot, Size
from fleetd.ports import Record
from fleetd.rollout import events as e
from fleetd.rollout.codec import decode_event
from fleetd.rollout.roots import WantedRoots
from fleetd.rollout.spec import Kind
from fleetd.rollout.states import (
    Committed,
    Committing,
    Copied,
    Copying,
    Current,
    Deferred,
    Direction,
    DryRun,
    DryRunning,
    Failed,
    HostState,
    Lost,
    Rebooting,
    Reverted,
    Reverting,
    RolledBack,
    Staged,
    Staging,
    Stranded,
    Switching,
    Trial,
    TrialKept,
)
from fleetd.rollout.world import Rollout, World
from tests.simulation.scenario import Mishap, Scenario
from tests.simulation.sim_hooks import HookWatch, SimHookRunner
from tests.simulation.sim_machine import GOOD, SimMachine
from tests.simulation.sim_ports import Weather
from tests.simulation.virtual_time import EPOCH_S

_UNPROVEN = (Switching, Rebooting, Staging, Trial, Committing, Reverting, Lost)
_BEGUN = (Copying, Copied, DryRunning, Switching, Rebooting, Staging, Trial, Committing, Reverting)


TROUBLE_FORGOTTEN_S = 300.0
"""A machine that had trouble of its own for this long before the control node had may still be judged by it."""


CATCH_UPS = 13
"""Ten tries that come to nothing, and a few that gave way to what people asked for."""


OFF_IS_KNOWN_S = 90.0
"""By then a look at a machine that is off has ended, and every earlier one is too old."""


_ON_DISK: dict[type, HelperState] = {
    Committed: HelperState.COMMITTED,
    TrialKept: HelperState.RELEASED,
    Staged: HelperState.STAGED,
}


class ViolationError(AssertionError):
    """A promise was broken."""


def require(holds: object, promise: str) -> None:
    """Raise when a promise does not hold."""
    if not holds:
        raise ViolationError(promise)


class Watch:
    """Sees every durable record and every step of a machine."""

    def __init__(self, scenario: Scenario, machines: Mapping[str, SimMachine], runner: SimHookRunner) -> None:
        self.scenario = scenario
        self.machines = machines
        self.world = World()
        self.trace: list[str] = []
        self.events = 0
        self.hooks = HookWatch(self.world, runner, self._limit, require)
        self._fences: dict[str, Fence] = dict.fromkeys(machines, NO_FENCE)
        self._troubled_until: dict[str, float] = {}
        self._uplink_cut_at: float | None = None
        self._off_since: dict[str, float] = {}
        self._cleared: dict[str, None] = {}
        self._lost_state: dict[str, None] = {}
        """Hosts that obeyed orders, and know of none of them any more."""
        self._debts: dict[str, str] = {}
        """What hosts are owed by rollouts that went well."""
        self._failed_there: dict[tuple[str, str | None], None] = {}
        self._catch_ups: Counter[tuple[str, str]] = Counter()
        self._ill: dict[str, None] = {}
        """Hosts in no rollout that were found to be unwell."""
        self._held_until: dict[str, float] = {}
        """Until when each locked host is, and under "" the whole fleet."""

    def cycled(self, machine: SimMachine) -> None:
        """The power of a machine is about to be cycled by a program of the control node."""
        name = machine.host.name
        require(not machine.is_at_work, f"{name}: the power of a host that may still work is cycled")
        require(not machine.cycles.get(machine.host.active), f"{name}: its power is cycled twice in an activation")
        rollouts = self.world.rollouts.values()
        durable = any(isinstance(s := r.hosts.get(name), Lost) and s.cycled_at is not None for r in rollouts)
        require(durable, f"{name}: its power is cycled, and no intent is on disk")

    # -- the journal --------------------------------------------------------------------------------------------

    def appended(self, records: Sequence[Record]) -> None:
        """Check and fold what has just become durable."""
        for record in records:
            event = decode_event(record.kind, record.at, record.rollout, record.host, record.data, record.version)
            self.trace.append(f"{record.seq} {record.at:.3f} {record.rollout} {record.host} {record.kind}")
            self._before(event)
            self.hooks.before(event)
            self.world.apply(event)
            self._after(event)
            self.events += 1

    def _before(self, event: e.Event) -> None:
        match event:
            case (
                e.TrialIntended()
                | e.StageIntended()
                | e.CommitIntended()
                | e.ReleaseIntended()
                | e.RevertIntended()
                | e.SettleIntended()
            ):
                self._one_flight(event)
            case e.WavePassed():
                self._wave_has_evidence(event)
            case _:
                pass
        if isinstance(event, e.HostFoundUnwell):
            self._found(event)
        if isinstance(event, e.RolloutRequested) and event.spec.kind.pays:
            self._catches_up(event)
        if isinstance(event, e.TrialIntended) and self.world.rollouts[event.rollout].header.spec.kind.pays:
            to = self.world.rollouts[event.rollout].hosts[event.host].task.to
            require((event.host, to) not in self._failed_there, f"{event.host}: {to} failed there, and is tried again")
        if isinstance(event, e.HostUnhealthy | e.HostGivenUp):
            self._not_blamed_for_the_uplink(event)
        if isinstance(event, e.TrialIntended | e.StageIntended | e.CopyIntended | e.WavePassed | e.RolloutStarted):
            require(self.world.fleetwide.isolated is None, f"{event}: it starts while the controller hears nobody")
        if isinstance(event, e.TrialIntended | e.StageIntended | e.CopyIntended):
            self._not_held(event)
        if isinstance(event, e.RolloutSuperseded):
            states = self.world.rollouts[event.rollout].hosts.values()
            back = any(state.task.direction is Direction.ROLLBACK for state in states)
            require(not back, f"{event.rollout} takes hosts back, and is superseded")
        if isinstance(event, e.HostAdopted):
            self._adopted(event)
        if isinstance(event, e.TrialIntended | e.StageIntended):
            self._knows_the_host(event)
            rollout = self.world.rollouts[event.rollout]
            if rollout.hosts[event.host].task.direction is Direction.DEPLOY:
                require(rollout.header.paused is None, f"{event.host}: a trial starts in a paused rollout")
                require(not rollout.header.superseded_by, f"{event.host}: a trial starts in a superseded rollout")
                self._budget_allows(rollout)
                self._brake_allows(event.host)

    def _after(self, event: e.Event) -> None:
        if isinstance(event, e.HostGivenUp | e.HostReported | e.OrderNotSent | e.OrderRejected):
            self._counted(self.machines[event.host])
        if isinstance(event, e.HostReported):
            self._not_blamed_for_what_nobody_asked(event)
        if isinstance(event, e.RevertIntended) and event.unjudged:
            header = self.world.rollouts[event.rollout].header
            require(header.paused is not None or header.starts_nothing, f"{event.host}: not judged, and not paused")
        if isinstance(event, e.HostReported | e.FoundCurrent):
            self._settle_debt(event)
            state = self.world.rollouts[event.rollout].hosts[event.host]
            if isinstance(state, Committed | TrialKept | Current | RolledBack):
                self._ill.pop(event.host, None)
        match event:
            case e.TrialIntended() | e.StageIntended():
                dry = self.world.rollouts[event.rollout].header.spec.goal is Goal.DRY_ACTIVATE
                require(not dry, f"{event.host}: a dry activation changes something")
                self._radius(event)
                self._quorum(event)
            case e.CommitIntended() | e.ReleaseIntended():
                self._proven(event)
            case e.HostReported(state=HelperState.COMMITTED | HelperState.RELEASED | HelperState.STAGED):
                self._committed(event)
            case e.RolloutFinished():
                self._finished(event)
            case e.HostOwed():
                self._passed_over(event)
            case e.HostNotOwed():
                self._debts.pop(event.host, None)
            case e.HostAdopted():
                self._lost_state.pop(event.host, None)
            case e.HostCleared():
                self._cleared[event.host] = None
            case e.HostFoundUnwell():
                self._ill.pop(event.host, None)
                if event.kind is not e.Ailment.DRIFTED:
                    self._ill[event.host] = None
            case e.HostFoundWell() | e.HostExcused():
                self._ill.pop(event.host, None)
            case e.HostLocked() | e.HostUnlocked():
                self._held_until[event.host] = _held_until(event)
            case e.FreezeSet() | e.FreezeLifted():
                self._held_until[""] = _held_until(event)
            case _:
                pass

    def _not_held(self, event: e.TrialIntended | e.StageIntended | e.CopyIntended) -> None:
        if self.world.rollouts[event.rollout].hosts[event.host].task.direction is Direction.DEPLOY:
            for name, word in (("", "frozen"), (event.host, "locked")):
                until = self._held_until.get(name, -math.inf)
                require(event.at >= until, f"{event.host}: {type(event).__name__} while it is {word}")
            # The simulation's windows are of UTC, and open every day.
            minute = event.at % 86400 / 60
            windows = self.scenario.policy.windows
            is_open = not windows or any(window.start_min <= minute < window.end_min for window in windows)
            require(is_open, f"{event.host}: {type(event).__name__} outside of its windows")

    def _not_blamed_for_what_nobody_asked(self, event: e.HostReported) -> None:
        state = self.world.rollouts[event.rollout].hosts[event.host]
        blamed = isinstance(state, Reverted) and "could not be judged" in state.reason and event.verdict is Verdict.NONE
        require(not blamed, f"{event.host}: its checks could not be asked, and it counts as failed")

    def mishap(self, mishap: Mishap, at: float) -> None:
        """Something is wrong with one machine for a while."""
        if mishap.kind in ("power", "menu"):
            self._off_since.setdefault(mishap.host, at)
        if mishap.kind not in ("uplink", "names"):
            self._troubled_until[mishap.host] = max(self._troubled_until.get(mishap.host, 0.0), at + mishap.for_s)

    def uplink_cut(self, at: float) -> None:
        """The control node hears nobody from now on."""
        self._uplink_cut_at = at

    def _passed_over(self, event: e.HostOwed) -> None:
        self._debts[event.host] = event.to
        if not event.rollout:
            wanted = self.world.record(event.host).left == event.to
            require(self.scenario.policy.on_drift is OnDrift.RESTORE, f"{event.host}: nobody wants {event.to} back")
            require(event.host in self.scenario.meddled and wanted, f"{event.host}: {event.to} is not what was left")
            return
        rollout = self.world.rollouts[event.rollout]
        evidence = any(_well(state) for state in rollout.hosts.values())
        require(evidence, f"{event.host} is owed {event.to}, which works nowhere")
        require(isinstance(rollout.hosts[event.host], Deferred), f"{event.host} is owed, and was not passed over")

    def _catches_up(self, event: e.RolloutRequested) -> None:
        """A host is caught up only to what it is owed, while nobody holds it, and not for ever."""
        require(self.world.fleetwide.isolated is None, "a catch-up begins while the controller hears nobody")
        for plan in event.spec.hosts:
            host = plan.name
            for name, word in (("", "frozen"), (host, "locked")):
                held = event.at < self._held_until.get(name, -math.inf)
                require(not held, f"{host}: a catch-up begins while it is {word}")
            owners = [name for name, rollout in self.world.active() if host in rollout.hosts]
            require(not owners, f"{host}: a catch-up begins in the middle of {owners}")
            to = self._debts.get(host)
            require(to is not None, f"{host} is caught up, and owed nothing")
            self._catch_ups[host, str(to)] += 1
            times = self._catch_ups[host, str(to)]
            require(times <= CATCH_UPS, f"{host} was brought to {to} {times} times, in vain")

    def _settle_debt(self, event: e.HostReported | e.FoundCurrent) -> None:
        """What became of a host in a rollout: the system that it was owed, or one that failed on it."""
        rollout = self.world.rollouts[event.rollout]
        state = rollout.hosts[event.host]
        to = state.task.to
        if isinstance(state, Committed | Current | RolledBack):
            self._debts.pop(event.host, None)
            self._failed_there.pop((event.host, to), None)
            if rollout.header.spec.kind.pays and event.host not in self.scenario.meddled:
                has = self.machines[event.host].host
                require(to in (has.current, has.profile), f"{event.host}: said to be caught up, and is not")
        elif isinstance(state, Reverted) and state.task.direction is Direction.DEPLOY:
            self._failed_there[event.host, to] = None

    def _knows_the_host(self, event: e.TrialIntended | e.StageIntended) -> None:
        """Nothing is tried on a host that is not as it was left, unless the policy says so, nor on a stranger."""
        rollout, record = self.world.rollouts[event.rollout], self.world.record(event.host)
        require(event.host not in self._lost_state, f"{event.host} lost its state, and {type(event).__name__}")
        if rollout.header.spec.policy.on_drift is not OnDrift.BLOCK or rollout.header.spec.kind is Kind.RESTORE:
            return
        ours = (record.left, record.kept, record.staged, record.tried, rollout.hosts[event.host].task.to)
        require(record.left is None or event.old in ours, f"{event.host} has drifted to {event.old}, and is tried")

    def _adopted(self, event: e.HostAdopted) -> None:
        """Only by the policy that says so, only what is there, and only while nothing of ours is under way."""
        host = self.machines[event.host].host
        require(self.scenario.policy.on_drift is OnDrift.ADOPT, f"{event.host} is adopted, and nobody said so")
        require(event.host in self.scenario.meddled, f"{event.host} is adopted, and nobody changed it")
        require(event.host not in self._lost_state, f"{event.host} lost its state, and is adopted by a policy")
        require(event.machine_id == host.machine_id, f"{event.host}: another machine is adopted")
        require(not any(name == event.host for _r, name in self._unproven()), f"{event.host} is unproven, and adopted")

    def _found(self, event: e.HostFoundUnwell) -> None:
        """What is said of a host that is in no rollout is so, or was a moment ago."""
        host, machine = event.host, self.machines[event.host]
        owners = [name for name, rollout in self.world.active() if host in rollout.hosts]
        require(not any(place == host for _name, place in self._unproven()), f"{host} is unproven, and found {event}")
        since = event.at - EPOCH_S - TROUBLE_FORGOTTEN_S
        untroubled = [name for name in self.machines if self._troubled_until.get(name, -math.inf) < since]
        if owners or host in self.scenario.meddled or host not in untroubled or self.scenario.weather != Weather():
            return
        match event.kind:
            case e.Ailment.DRIFTED:
                require(False, f"{host}: nobody switched it, and it is said to have drifted: {event.reason}")
            case e.Ailment.UNHEALTHY:
                require(not machine.healthy or self._uplink_cut_at is not None, f"{host} is healthy: {event.reason}")
            case e.Ailment.UNREACHABLE if len(untroubled) > 1:  # else there is nobody to compare it with
                require(not machine.reachable, f"{host} answers, and is said not to: {event.reason}")

    def _not_blamed_for_the_uplink(self, event: e.HostUnhealthy | e.HostGivenUp) -> None:
        machine, cut_at = self.machines[event.host], self._uplink_cut_at
        known = [name for _rollout, of in self.world.active() for name in of.hosts]
        others = [name for name in (*known, *self.world.records) if name != event.host]
        if cut_at is None or not others or event.host in self.scenario.meddled:
            return
        untroubled = self._troubled_until.get(event.host, -math.inf) < cut_at - TROUBLE_FORGOTTEN_S
        well = machine.healthy and machine.reachable and machine.host.state in (HelperState.IDLE, HelperState.COMMITTED)
        blamed = isinstance(event, e.HostUnhealthy) and untroubled and well
        require(not blamed, f"{event.host} is well, and is blamed for the control node's own network")

    def _one_flight(self, event: e.OrderIntent) -> None:
        state = self.world.rollouts[event.rollout].hosts[event.host]
        flight = state.live.flight if isinstance(state, _UNPROVEN) else None
        over = flight is None or flight.fence.term < self.world.term or event.at >= flight.deadline
        require(over, f"{event.host}: {type(event).__name__} while {flight} is under way (one order at a time)")
        expected = Fence(self.world.term, self.world.seq + 1)
        require(event.fence == expected, f"{event.host}: the fence {event.fence} is not its record's {expected}")

    def _wave_has_evidence(self, event: e.WavePassed) -> None:
        rollout = self.world.rollouts[event.rollout]
        states = [rollout.hosts[host] for host in rollout.header.waves[event.wave].hosts]
        require(any(_well(state) for state in states), f"wave {event.wave} passed without evidence (promise 1)")
        require(not any(isinstance(s, _UNPROVEN) for s in states), f"wave {event.wave} passed with a host unproven")

    def _budget_allows(self, rollout: Rollout) -> None:
        budget, forgiven = rollout.header.spec.policy.failure_budget, rollout.header.forgiven
        waves = rollout.header.waves
        for index, wave in enumerate(waves):
            size = budget.canary if index == 0 and len(waves) > 1 else budget.wave
            failed = [host for host in wave.hosts if _failed(rollout.hosts[host]) and host not in forgiven]
            require(len(failed) <= _floor(size, len(wave.hosts)), f"a trial starts though {failed} failed (promise 2)")
        failed = [host for host in rollout.hosts if _failed(rollout.hosts[host]) and host not in forgiven]
        require(len(failed) <= _floor(budget.total, len(rollout.hosts)), f"a trial starts though {failed} failed")

    def _brake_allows(self, host: str) -> None:
        unwell: dict[str, None] = {}
        for rollout in self.world.rollouts.values():
            for name, state in rollout.hosts.items():
                unhealthy = isinstance(state, Committed | TrialKept | Current) and state.unhealthy
                if isinstance(state, Lost | Stranded) or unhealthy:
                    if name not in self._cleared:
                        unwell[name] = None
                elif isinstance(state, Committed | TrialKept | Current | RolledBack):
                    unwell.pop(name, None)
        unwell |= self._ill
        allowed = not self.scenario.brake or len(unwell) <= self.scenario.brake or host in unwell
        require(allowed, f"{host}: a trial starts though {list(unwell)} are unwell (the brake)")

    def _radius(self, event: e.TrialIntended | e.StageIntended) -> None:
        policy, rollout = self.scenario.policy, self.world.rollouts[event.rollout]
        going_back = rollout.hosts[event.host].task.direction is Direction.ROLLBACK
        unproven = self._unproven()
        # Every rollout that has a host at stake was promised its own limit.
        limit = min(self._limit(name, host) for name, host in unproven)
        require(len(unproven) <= limit, f"{unproven} are unproven, {limit} allowed (promise 2)")
        names = {host for _rollout, host in unproven}
        number = {host: index for index, host in enumerate(self.scenario.hosts)}
        domains = {number[host] % self.scenario.domains for host in names}
        require(len(domains) <= max(1, policy.max_domains), f"unproven in domains {domains}")
        if not going_back and not any(_well(state) for state in rollout.hosts.values()):
            mine = [host for name, host in unproven if name == event.rollout]
            require(len(mine) == 1, f"the first host is not alone: {mine}")

    def _quorum(self, event: e.TrialIntended | e.StageIntended) -> None:
        """What the journal knows of a group's members, and what has been so on the machines for a while."""
        gone = {name for name, machine in self.machines.items() if not machine.powered and self._is_off(name, event.at)}
        # One that was found unwell between rollouts may be well by now: it is looked at anew.
        gone |= {host for _rollout, host in self._unproven()} | set(self.world.fleetwide.blamed)
        for members, most in self.scenario.groups:
            excused = event.host in self.world.fleetwide.unwell or not self.machines[event.host].healthy
            if event.host not in members or excused or event.host in self._troubled_until:
                continue
            missing = sorted(gone & set(members))
            require(len(missing) <= most, f"{missing} of a group are unavailable, {most} may be (groups)")

    def _is_off(self, name: str, at: float) -> bool:
        since = self._off_since.get(name)
        return since is not None and at > since + OFF_IS_KNOWN_S

    def _limit(self, name: str, host: str) -> int:
        policy, hosts = self.scenario.policy, self.world.rollouts[name].hosts
        going_back = hosts[host].task.direction is Direction.ROLLBACK
        size = policy.rollback_max_parallel if going_back else policy.max_parallel
        return max(1, _floor(size, len(hosts)))

    def _unproven(self) -> list[tuple[str, str]]:
        return [
            (name, host)
            for name, rollout in self.world.rollouts.items()
            for host, state in rollout.hosts.items()
            if isinstance(state, _UNPROVEN)
        ]

    def _proven(self, event: e.CommitIntended | e.ReleaseIntended) -> None:
        task = self.world.rollouts[event.rollout].hosts[event.host].task
        if task.direction is Direction.DEPLOY:
            behaviour = self.scenario.behaviours.get(str(task.to), GOOD)
            good = behaviour.healthy and not behaviour.cuts_network
            require(good, f"{event.host}: a bad system is committed (promise 1)")

    def _committed(self, event: e.HostReported) -> None:
        state = self.world.rollouts[event.rollout].hosts[event.host]
        if isinstance(state, Committed | TrialKept | Staged):
            host = self.machines[event.host].host
            on_disk = [record for record in host.records.values() if record.new == state.task.to]
            word = _ON_DISK[type(state)]
            true = any(record.state is word for record in on_disk)
            boot = host.kernels.get(host.booted, "") == host.kernels.get(str(state.task.to), "")
            live = self.scenario.policy.reboot is Reboot.NEVER or event.host in self.scenario.meddled
            require(live or boot or not isinstance(state, Committed), f"{event.host}: a new kernel is committed")
            require(true or event.host in self.scenario.meddled, f"{event.host}: said to be {word}, and is not")

    def _finished(self, event: e.RolloutFinished) -> None:
        rollout = self.world.rollouts[event.rollout]
        begun = [name for name, state in rollout.hosts.items() if isinstance(state, _BEGUN)]
        require(not begun, f"{event.rollout} ends, and {begun} have begun and not ended")
        if event.phase is e.Phase.SUCCEEDED:
            for name, state in rollout.hosts.items():
                if name in self.scenario.meddled or isinstance(state, DryRun):
                    continue
                host, to = self.machines[name].host, state.task.to
                boots = state.old if isinstance(state, TrialKept) else to
                true = host.current == to and host.profile == host.boot_default == boots
                # A power cut ends a test, whatever was claimed before.
                ended = isinstance(state, TrialKept) and host.current == boots
                staged = isinstance(state, Staged) and host.profile == host.boot_default == to
                require(true or ended or staged, f"{name}: success claimed, not true")
        if event.phase is e.Phase.ROLLED_BACK:
            for name in rollout.hosts:
                runs, revision = self.machines[name].host.current, rollout.header.spec.revision
                taken_back = not runs.endswith(f"-{revision}") or name in self.scenario.meddled
                require(taken_back, f"{name}: said to be rolled back, and runs {runs}")
        if event.phase in (e.Phase.SUCCEEDED, e.Phase.INCOMPLETE):
            require(any(_well(state) for state in rollout.hosts.values()), "an end without evidence (promise 1)")

    def kept(self, wanted: WantedRoots) -> None:
        """Check that what hosts run and may go back to is not collected (promise 7)."""
        for name, machine in self.machines.items():
            if name in self.scenario.meddled or self.world.record(name).last_good is None:
                continue
            for path in (machine.host.current, machine.host.boot_default):
                require(path in wanted.paths, f"{name}: {path} could be collected, and it has it (promise 7)")

    # -- the machines -------------------------------------------------------------------------------------------

    def state_lost(self, name: str) -> None:
        """A host was installed anew: what it knew of fences is gone with the rest."""
        if self._obeyed(name):
            self._lost_state[name] = None
        self._fences[name] = NO_FENCE

    def _obeyed(self, name: str) -> bool:
        """Whether the journal says that the host has obeyed an order, and the host knows it."""
        fence, known = self.world.record(name).fence, self._fences[name]
        return fence is not None and (known.term, known.seq) >= (fence.term, fence.seq)

    def stepped(self, machine: SimMachine) -> None:
        """Check what is true on a machine after one of its steps."""
        host, name = machine.host, machine.host.name
        require(host.fence >= self._fences[name], f"{name}: its fence fell to {host.fence} (promise 5)")
        self._fences[name] = host.fence
        for activation, times in machine.armed.items():
            once = times == 1 or name in self.scenario.meddled
            require(once, f"{name}: {activation} was armed {times} times (promise 6)")
        record = host.record
        if name in self.scenario.meddled or record is None:
            return
        by_word = any(request.kind == "reboot" for request in self.scenario.requests)
        allowed = by_word or self.scenario.policy.reboot is not Reboot.NEVER
        require(allowed or not host.going_down, f"{name} is rebooted, and the policy says never")
        if record.state in (HelperState.SWITCHING, HelperState.TRIAL, HelperState.REBOOTING):
            safe = host.boot_default == record.old and record.boot_id == host.boot_id
            rebooted = record.boot_id != host.boot_id
            require(safe or rebooted, f"{name}: in trial, and would boot {host.boot_default} (promise 4)")
        self._counted(machine)

    def _counted(self, machine: SimMachine) -> None:
        """Something of ours is under way on the machine, so whoever reads the journal must know that it may be."""
        name = machine.host.name
        if machine.under_way and name not in self.scenario.meddled:
            counted = any(host == name for _rollout, host in self._unproven())
            require(counted, f"{name} is {machine.host.state} and counts nowhere as unproven (promise 2)")


def _held_until(event: e.HostLocked | e.HostUnlocked | e.FreezeSet | e.FreezeLifted) -> float:
    if isinstance(event, e.HostUnlocked | e.FreezeLifted):
        return event.at
    return math.inf if event.until is None else event.until


def _well(state: HostState) -> bool:
    if isinstance(state, Staged | DryRun):
        return True
    return isinstance(state, Committed | TrialKept | Current) and state.unhealthy == ""


def _failed(state: HostState) -> bool:
    if isinstance(state, Committed | TrialKept | Current):
        return state.unhealthy != ""
    return isinstance(state, Reverted | Stranded | Lost) or (isinstance(state, Failed) and state.kind != "source")


def _floor(size: Size, total: int) -> int:
    return size.count or math.floor(size.percent * total / 100 + 1e-9)
