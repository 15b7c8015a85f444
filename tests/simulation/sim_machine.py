"""A host with time: ``SimHost``'s steps happen by themselves, as long and as well as its systems' behaviours say."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fleetd.model.facts import HelperState, HostFacts, HostStatus, Verdict
from fleetd.model.order import Order, Verb
from tests.simulation.sim_host import ENDED, Answer, SimHost

GUARD_LOOKS_AFTER_S = 1.0
GOES_DOWN_S = 4.0
POWER_OFF_S = 5.0
POWER_CYCLED_S = 2500.0
"""When somebody notices a machine that hangs in its boot."""
RESTART_S = 2.0
"""systemd starts a revert that failed again after this."""


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How a toplevel is on one host: what its switch does, and how well it runs."""

    switch_s: float = 4.0
    ends: Verdict = Verdict.LIVE
    hangs: bool = False
    healthy: bool = True
    sick_after_s: float | None = None
    cuts_network: bool = False
    commit_s: float = 2.0
    commit_skips: str = ""
    """``profile`` or ``boot``: that step of the commit does not work."""
    commit_hangs: bool = False
    revert_s: float = 3.0
    reverts_failing: int = 0
    """How many times going back from it fails first."""
    kernel: str = ""
    """What only a boot can bring."""
    major: str = ""
    """What no live switch may cross."""
    guarded: bool = False
    """Whether it brings the guard of a reboot."""
    boot_s: float = 20.0
    boots: bool = True
    """Whether it comes up at all: if not, somebody cycles the power much later."""
    panics: bool = False
    """Whether its boot ends in another one, which starts the default."""
    lists: bool = True
    """Whether the boot loader takes it up for a boot of its own."""


GOOD = Behaviour()


class SimMachine:
    """One simulated machine. ``changed`` is called after each of its steps, and may raise."""

    def __init__(
        self,
        host: SimHost,
        behaviours: Mapping[str, Behaviour],
        loop: asyncio.AbstractEventLoop,
        changed: Callable[[SimMachine], None],
    ) -> None:
        self.host = host
        self.behaviours = behaviours
        self.loop = loop
        self.changed = changed
        self.booted_at = loop.time()
        self.powered = True
        self.hears = True
        self.answers = True
        """The two directions of its link. Half of it dead is worse than all of it: orders arrive, answers do not."""
        self.boots = 1
        self.began_at = loop.time()
        """When what runs now began to run."""
        self.armed: dict[str, int] = {}
        """How many times each activation was armed: more than once would be a doubled step."""
        self._running: dict[str, object] = {}
        self._boots_next = ""
        self.disk_full = False
        self._reverts_failed = 0
        self._guard_looks_at = 0.0
        self.needs_passphrase = False
        self.waits_for_passphrase = False
        self._hangs: asyncio.TimerHandle | None = None
        self.cycles: dict[str, int] = {}
        """How often its power was cycled by a program, by the activation that was its newest."""
        self.reboots_asked = 0
        """How often something of ours asked for a reboot."""
        for path, behaviour in behaviours.items():
            host.kernels[path], host.majors[path] = behaviour.kernel, behaviour.major
            if behaviour.guarded:
                host.guarded.add(path)

    # -- seen from outside --------------------------------------------------------------------------------------

    @property
    def receives(self) -> bool:
        """Whether packets reach it."""
        return self.powered and self.hears and not self._running_system().cuts_network

    @property
    def reachable(self) -> bool:
        """Whether packets reach it and come back."""
        return self.receives and self.answers

    @property
    def healthy(self) -> bool:
        """Whether its service answers as it should."""
        system = self._running_system()
        sick = system.sick_after_s is not None and self.loop.time() - self.began_at >= system.sick_after_s
        return self.powered and system.healthy and not sick

    @property
    def under_way(self) -> bool:
        """Whether something of ours is: what the blast radius bounds."""
        return self.host.state not in ENDED

    def uptime_s(self) -> int:
        """Return whole seconds of the boot clock."""
        return int(self.loop.time() - self.booted_at)

    def facts(self) -> HostFacts:
        """Return what the helper says of the host."""
        self._step(lambda: self.host.facts(self.uptime_s()))
        host = self.host
        return HostFacts(
            fence=host.fence,
            state=host.state,
            id=host.active,
            current=host.current,
            booted=host.booted,
            profile=host.profile,
            boot_default=host.boot_default,
            boot_kind="systemd-boot",
            boot_id=host.boot_id,
            uptime_s=float(self.uptime_s()),
            machine_id=host.machine_id,
            hostname=host.name,
            system="x86_64-linux",
            nix_version="2.26",
            needs_reboot=False,
            state_durable=True,
            nix_free_bytes=1 << 30,
            nix_free_inodes=1 << 20,
            boot_free_bytes=1 << 28,
            clock=self.loop.time(),
            kept=host.kept if host.kept == host.current else "",
        )

    def status(self) -> HostStatus:
        """Return how its newest activation stands."""
        record, host = self.host.record, self.host
        return HostStatus(
            fence=host.fence,
            state=host.state,
            id=host.active,
            old=record.old if record else "",
            new=record.new if record else "",
            current=host.current,
            deadline_in_s=float(record.deadline - self.uptime_s()) if record else None,
            verdict=record.verdict if record else Verdict.NONE,
            exit_code="",
            failed_units=(),
            down_units=(),
            behind_units=(),
            route_ok=True,
            by=record.by if record else "",
            message="",
            log="",
        )

    def order(self, order: Order) -> Answer:
        """Take an order."""
        before = self.host.state
        answer = self.host.order(order, self.uptime_s())
        started = answer in (Answer("ok", "started"), Answer("ok", "staging"))
        if started:
            self.armed[order.id] = self.armed.get(order.id, 0) + 1
            self._reverts_failed = 0
        if started or self.host.state is not before or order.verb in (Verb.SETTLE, Verb.REVERT, Verb.COMMIT):
            self._after()
        return answer

    # -- what happens to it -------------------------------------------------------------------------------------

    def power_cut(self, off_s: float) -> None:
        """Lose power at once, and boot the default after a while."""
        if not self.powered:
            return
        self.powered = False
        self._running.clear()
        self.loop.call_later(off_s, self._boot)
        self.changed(self)

    @property
    def is_at_work(self) -> bool:
        """Whether taking its power away would end something of ours, or another system than it would boot."""
        return self.powered and (bool(self._running) or self.host.current != self.host.boot_default)

    def cycle_power(self) -> None:
        """Do as a management controller is told."""
        self.cycles[self.host.active] = self.cycles.get(self.host.active, 0) + 1
        if self._hangs is not None:
            self._hangs.cancel()
            self._hangs = None
            self.loop.call_later(POWER_OFF_S, self._boot)
        self.power_cut(POWER_OFF_S)

    def unlock(self) -> None:
        """Give the passphrase; a machine that does not wait for it takes no notice."""
        if self.waits_for_passphrase:
            self.waits_for_passphrase = False
            self._come_up()

    def _boot(self) -> None:
        self._hangs = None
        self.waits_for_passphrase = self.needs_passphrase
        if self.needs_passphrase:
            self.loop.call_later(POWER_CYCLED_S, self.unlock)  # somebody notices
        else:
            self._come_up()

    def _come_up(self) -> None:
        host = self.host
        starts = self.behaviours.get(self._boots_next or host.oneshot or host.boot_default, GOOD)
        if host.oneshot and not self._boots_next and (starts.panics or not starts.boots):
            # The boot loader forgets the choice as it takes it; what it chose does not get far enough to be seen.
            host.oneshot = ""
            later = self.loop.call_later(starts.boot_s if starts.panics else POWER_CYCLED_S, self._boot)
            self._hangs = None if starts.panics else later
            return
        self.powered = True
        self.boots += 1
        self.booted_at = self.began_at = self.loop.time()
        host.reboots(f"boot-{self.boots}", self._boots_next)
        self._boots_next = ""
        host.comes_up(0)
        self._after()

    def _reboot(self) -> None:
        """Go down in an orderly way, as asked, and come up again."""
        if self.powered and self.host.going_down:
            self.reboots_asked += 1
            self.power_cut(self._new().boot_s)

    def kill_guard(self) -> None:
        """Somebody kills the guard: systemd starts the revert."""
        if self.powered:
            self._step(self.host.guard_dies)

    def kill_commit(self) -> None:
        """The commit's process is killed in the middle."""
        if self.powered and self.host.units.commit:
            self._step(self.host.commit_dies)

    def meddle(self, system: str) -> None:
        """An operator switches by hand."""
        if self.powered:
            self._step(lambda: self.host.operator_switches(system))

    def lose_state(self) -> None:
        """The helper's directory is gone: a host that was installed anew, or restored."""
        if self.powered:
            self._step(self.host.loses_state)

    def boot_other(self, system: str, off_s: float) -> None:
        """Somebody boots another entry of the menu by hand."""
        if self.powered:
            self._boots_next = system
            self.power_cut(off_s)

    # -- what it does by itself ---------------------------------------------------------------------------------

    def _running_system(self) -> Behaviour:
        return self.behaviours.get(self.host.current, GOOD)

    def _new(self) -> Behaviour:
        record = self.host.record
        return GOOD if record is None else self.behaviours.get(record.new, GOOD)

    def _step(self, step: Callable[[], None]) -> None:
        before = self.host.current
        step()
        if self.host.current != before:
            self.began_at = self.loop.time()
        self._after()

    def _after(self) -> None:
        """Start and forget processes so that they are those that the host says run."""
        units = self.host.units
        begin = {
            "guard": self._guard,
            "switch": self._switch,
            "commit": self._commit,
            "revert": self._revert,
            "stage": self._stage,
        }
        for name, start in begin.items():
            runs = bool(getattr(units, name))
            if runs and name not in self._running:
                self._running[name] = token = object()
                start(token)
            elif not runs:
                self._running.pop(name, None)
        if self.host.going_down and "reboot" not in self._running:
            self._running["reboot"] = token = object()
            self._later("reboot", token, GOES_DOWN_S, self._reboot)
        if "guard" in self._running and self._guard_looks_next() < self._guard_looks_at:
            # It looks each second on a real host: a deadline that came nearer is noticed.
            self._running["guard"] = again = object()
            self._guard(again)
        self.changed(self)

    def _later(self, name: str, token: object, delay_s: float, step: Callable[[], None]) -> None:
        def happen() -> None:
            if self._running.get(name) is token and self.powered:
                step()

        self.loop.call_later(delay_s, happen)

    def _guard_looks_next(self) -> float:
        record, now = self.host.record, self.loop.time()
        if record is None:
            return now + GUARD_LOOKS_AFTER_S
        deadline = record.commit_deadline if record.state is HelperState.COMMITTING else record.deadline
        return max(now, self.booted_at + deadline + 1) + GUARD_LOOKS_AFTER_S

    def _guard(self, token: object) -> None:
        self._guard_looks_at = self._guard_looks_next()
        wait_s = self._guard_looks_at - self.loop.time()

        def look() -> None:
            self._step(lambda: self.host.guard_looks(self.uptime_s()))
            if self._running.get("guard") is token:
                self._guard(token)

        self._later("guard", token, wait_s, look)

    def _switch(self, token: object) -> None:
        new = self._new()
        record = self.host.record
        if record is None:
            return
        if record.by_reboot:
            self._switch_by_reboot(token, new, record.state)
            return
        if new.ends not in (Verdict.NOT_STARTED, Verdict.NEEDS_REBOOT):
            self._later("switch", token, new.switch_s * 0.6, lambda: self._step(self.host.switch_moves))
        hangs_s = float(record.times.switch_timeout_s)
        ends, after_s = (Verdict.INTERRUPTED, hangs_s) if new.hangs else (new.ends, min(new.switch_s, hangs_s))
        self._later("switch", token, after_s, lambda: self._step(lambda: self._switch_ends(ends)))

    def _switch_by_reboot(self, token: object, new: Behaviour, state: HelperState) -> None:
        if state is HelperState.SWITCHING:
            self._later(
                "switch", token, 1.0, lambda: self._step(lambda: self.host.goes_down(self.uptime_s(), ready=new.lists))
            )
            return
        record = self.host.record
        failing = new.ends in (Verdict.FAILED, Verdict.INTERRUPTED)
        ends = Verdict.INTERRUPTED if new.hangs else Verdict.FAILED if failing else Verdict.LIVE
        after_s = float(record.times.switch_timeout_s) if new.hangs and record is not None else 3.0
        self._later("switch", token, after_s, lambda: self._step(lambda: self._switch_ends(ends)))

    def _switch_ends(self, verdict: Verdict) -> None:
        record = self.host.record
        if record is not None and not record.is_known(self.host.current):
            verdict = Verdict.INTERFERED
        self.host.switch_ends(verdict, self.uptime_s())

    def _commit(self, token: object) -> None:
        new = self._new()
        if new.commit_hangs:
            return
        third = new.commit_s / 3
        if new.commit_skips != "profile":
            self._later("commit", token, third, lambda: self._step(self.host.commit_sets_profile))
        if new.commit_skips != "boot":
            self._later("commit", token, 2 * third, lambda: self._step(self.host.commit_sets_boot_default))
        self._later("commit", token, new.commit_s, lambda: self._step(self.host.commit_ends))

    def _stage(self, token: object) -> None:
        self._later("stage", token, 0.1, lambda: self._stage_runs(token))

    def _stage_runs(self, token: object) -> None:
        new, host, record = self._new(), self.host, self.host.record
        if record is None:
            return
        if not host.stage_begins():
            self._later("stage", token, 1.0, lambda: self._step(lambda: host.stage_undoes(well=True)))
            return
        if new.commit_hangs:
            # Its unit is killed, and run again.
            self._later("stage", token, float(record.times.commit_timeout_s), lambda: self._stage(token))
            return
        third = new.commit_s / 3
        if new.commit_skips != "profile":
            self._later("stage", token, third, lambda: self._step(host.stage_sets_profile))
        if new.commit_skips != "boot":
            self._later("stage", token, 2 * third, lambda: self._step(host.stage_sets_boot_default))
        self._later("stage", token, new.commit_s, lambda: self._stage_ends(token))

    def _stage_ends(self, token: object) -> None:
        self._step(self.host.stage_ends)
        self._later("stage", token, 1.0, lambda: self._step(lambda: self.host.stage_undoes(well=True)))

    def _revert(self, token: object) -> None:
        self._later("revert", token, 0.1, lambda: self._step(self.host.revert_begins))
        self._later("revert", token, 0.1 + self._new().revert_s, lambda: self._revert_ends(token))

    def _revert_ends(self, token: object) -> None:
        well = self._reverts_failed >= self._new().reverts_failing
        self._reverts_failed += not well
        self._step(lambda: self.host.revert_ends(well=well))
        if self._running.get("revert") is token and not self.host.going_down:
            self._later("revert", token, RESTART_S, lambda: self._revert(token))
