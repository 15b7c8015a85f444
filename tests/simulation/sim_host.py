"""What one host does, as a reference model of the host protocol's state table: no clock, no chance, no I/O.

Every method is one step that can happen to a host, at a whole second ``at`` on its boot clock. What a step needs to
know of the world (how the switch ended, whether a step of the commit worked) is an argument, so that a test decides
it; ``sim_machine`` decides it by a seed and lets time pass. The same steps exist in the helper on real hosts.

Disk (``fence``, ``active``, ``records``, ``profile``, ``boot_default``) survives a power cut; the rest does not.
"""

from __future__ import annotations

from dataclasses import dataclass

from fleetd.model.facts import HelperState, Verdict
from fleetd.model.fence import NO_FENCE, Fence
from fleetd.model.order import Order, OrderTimes, Verb

S = HelperState
STOP_SWITCH_S = 30
REVERT_ATTEMPTS = 3
REVERT_RUNS = 6
"""A revert that fails asks for a person after its third run, one that is killed each time after its sixth."""

STILL = (S.IDLE, S.COMMITTED, S.REVERTED, S.RELEASED, S.STAGED)
"""The states in which a new trial may be armed."""

ENDED = (*STILL, S.INTERFERED, S.STRANDED)
"""The states in which nothing of ours is under way."""


@dataclass(slots=True)
class Record:
    """What is on the host's disk about one activation."""

    id: str
    old: str
    new: str
    boot_id: str
    armed_at: int
    times: OrderTimes
    deadline: int
    state: HelperState = S.SWITCHING
    commit_deadline: int = 0
    verdict: Verdict = Verdict.NONE
    by: str = ""
    attempts: int = 0
    runs: str = ""
    """What ran when it was armed: another system than ``old`` where a test had been left running."""
    by_reboot: bool = False
    """Whether the trial is a boot of the new system, and not a switch to it."""

    @property
    def goes_back_by_reboot(self) -> bool:
        """Whether the way back is a boot as well."""
        return self.by_reboot and self.old != self.new

    def is_known(self, system: str) -> bool:
        """Whether a system is one of the activation's own, and not somebody else's choice."""
        return system in (self.old, self.new, self.runs)


@dataclass(slots=True)
class Units:
    """Which of our units run. All of it is gone after a reboot."""

    guard: bool = False
    switch: bool = False
    commit: bool = False
    revert: bool = False
    stage: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """How an order ended: ``ok``, ``refused`` or ``error``, and the helper's word."""

    end: str
    code: str


class SimHost:
    """One host. ``current`` is what runs; ``boot_default`` is what the next boot starts."""

    def __init__(self, name: str, system: str, *, machine_id: str = "", boot_id: str = "boot-1") -> None:
        self.name = name
        self.machine_id = machine_id or f"machine-{name}"
        self.boot_id = boot_id
        self.current = self.booted = self.profile = self.boot_default = system
        self.fence: Fence = NO_FENCE
        self.fence_order: Order | None = None
        self.active = ""
        self.records: dict[str, Record] = {}
        self.units = Units()
        self.valid: set[str] = {system}
        """Toplevels in the host's store; only membership is asked of it."""
        self.guard_starts = True
        self.kernels: dict[str, str] = {}
        """Of each system what only a boot can bring; one that is not named has the empty one."""
        self.majors: dict[str, str] = {}
        """Of each system what no live switch may cross."""
        self.guarded: set[str] = set()
        """Systems that bring the guard of a reboot."""
        self.oneshot_works = True
        self.oneshot = ""
        """The system that the next boot starts, once."""
        self.going_down = False
        """A reboot was asked for."""
        self.kept = ""
        """What the last released trial left running."""

    # -- questions ----------------------------------------------------------------------------------------------

    @property
    def record(self) -> Record | None:
        """The record of the newest activation."""
        return self.records.get(self.active)

    @property
    def state(self) -> HelperState:
        """The state of the newest activation."""
        record = self.record
        return S.IDLE if record is None else record.state

    def facts(self, at: int) -> None:
        """A question of facts mends what an interruption left; the answer is read off the attributes."""
        self._mend(at)

    # -- orders -------------------------------------------------------------------------------------------------

    def order(self, order: Order, at: int) -> Answer:
        """Carry out one order, as far as the helper does before it answers."""
        if order.verb in (Verb.TRIAL, Verb.STAGE, Verb.DRY_ACTIVATE):
            # A trial looks for what an interruption left before it is admitted, a settle after.
            self._mend(at)
        refused = self._admit(order, at)
        if refused is not None:
            return refused
        match order.verb:
            case Verb.TRIAL:
                return self._trial(order, at)
            case Verb.STAGE:
                return self._stage(order, at)
            case Verb.DRY_ACTIVATE:
                return self._dry_activate(order)
            case Verb.EXTEND:
                return self._extend(order, at)
            case Verb.COMMIT:
                return self._commit(order, at)
            case Verb.RELEASE:
                return self._release(order, at)
            case Verb.REVERT:
                return self._revert(order)
            case Verb.SETTLE:
                self._mend(at)
                return Answer("ok", "settled")
            case _:
                return Answer("error", "unknown-verb")

    def _admit(self, order: Order, at: int) -> Answer | None:
        if order.machine_id != self.machine_id:
            return Answer("refused", "wrong-host")
        if order.boot_id != self.boot_id or at > order.uptime_limit_s:
            return Answer("refused", "expired")
        if order.verb is Verb.EXTEND:
            return None if order.fence == self.fence else Answer("refused", "stale-fence")
        if order.fence < self.fence:
            return Answer("refused", "stale-fence")
        if order.fence == self.fence:
            same = order == self.fence_order
            return Answer("ok", "repeat") if same else Answer("refused", "fence-conflict")
        self.fence, self.fence_order = order.fence, order
        return None

    def _trial(self, order: Order, at: int) -> Answer:
        if self.state not in STILL:
            return Answer("refused", "busy")
        if order.id in self.records:
            return Answer("refused", "id-used")
        if self.current != order.expect_current or self.profile != order.expect_profile:
            return Answer("refused", "drifted")
        old = self.current
        staged = self.record is not None and self.state is S.STAGED and self.boot_default == self.record.new
        if self.current == order.toplevel and not (staged and self.boot_default != self.current):
            # It runs already: the boot default is what a reboot would go back to.
            old = self.boot_default
        elif self.current == self.kept and self.profile == self.boot_default:
            # A test was left running: a reboot ends it, and so does the way back.
            old = self.profile
        elif not self.profile == self.boot_default == self.current:
            return Answer("refused", "unsettled")
        if order.toplevel not in self.valid:
            return Answer("refused", "not-valid")
        by_reboot = self._is_by_reboot(order, old)
        if isinstance(by_reboot, Answer):
            return by_reboot
        times = order.times
        assert times is not None
        deadline = at + times.switch_timeout_s + STOP_SWITCH_S + times.contact_timeout_s
        record = Record(
            order.id, old, order.toplevel, self.boot_id, at, times, deadline, runs=self.current, by_reboot=by_reboot
        )
        self._remember(record)
        if not self.guard_starts:
            record.state, record.by = S.REVERTED, "guard"
            return Answer("error", "no-guard")
        self.units = Units(guard=True, switch=True)
        return Answer("ok", "started")

    def _is_by_reboot(self, order: Order, old: str) -> bool | Answer:
        """Whether the trial is a reboot; a refusal where it has to be one, and may or can not."""
        new = order.toplevel
        never_live = self.majors.get(old, "") != self.majors.get(new, "")
        if order.reboot == "never":
            return Answer("refused", "needs-reboot") if never_live else False
        kernel = self.kernels.get(self.booted, "") != self.kernels.get(new, "")
        if order.reboot == "when-needed" and not kernel and not never_live:
            return False
        if not order.unattended_boot or (old != new and not self.oneshot_works):
            return Answer("refused", "needs-reboot")
        if old != new and new not in self.guarded and order.reboot_risk != "accept":
            return Answer("refused", "needs-boot-guard")
        return True

    def _stage(self, order: Order, at: int) -> Answer:
        if self.state not in STILL:
            return Answer("refused", "busy")
        if order.id in self.records:
            return Answer("refused", "id-used")
        if self.current != order.expect_current or self.profile != order.expect_profile:
            return Answer("refused", "drifted")
        if self.profile != self.boot_default:
            return Answer("refused", "unsettled")
        if order.toplevel not in self.valid:
            return Answer("refused", "not-valid")
        times = order.times
        assert times is not None
        record = Record(order.id, self.profile, order.toplevel, self.boot_id, at, times, 0, runs=self.current)
        record.state = S.STAGING
        self._remember(record)
        self.kept = ""
        self.units = Units(stage=True)
        return Answer("ok", "staging")

    def _dry_activate(self, order: Order) -> Answer:
        if self.state not in STILL:
            return Answer("refused", "busy")
        if self.current != order.expect_current:
            return Answer("refused", "drifted")
        return Answer("ok", "shown") if order.toplevel in self.valid else Answer("refused", "not-valid")

    def _remember(self, record: Record) -> None:
        """Keep the record of the activation before as well, and forget older ones."""
        self.records = {id: kept for id, kept in self.records.items() if id == self.active} | {record.id: record}
        self.active = record.id

    def _extend(self, order: Order, at: int) -> Answer:
        record = self._require(order, S.TRIAL)
        if isinstance(record, Answer):
            return record
        if at >= record.deadline:
            return Answer("refused", "bad-state")
        times = record.times
        record.deadline = min(at + times.contact_timeout_s, record.armed_at + times.cap_s)
        return Answer("ok", "extended")

    def _commit(self, order: Order, at: int) -> Answer:
        record = self._require(order, S.TRIAL)
        if isinstance(record, Answer):
            return record
        if not self.units.guard or at >= record.deadline:
            return Answer("refused", "bad-state")
        record.commit_deadline = at + record.times.commit_timeout_s
        record.state = S.COMMITTING
        self.units.commit = True
        return Answer("ok", "committing")

    def _release(self, order: Order, at: int) -> Answer:
        record = self._require(order, S.TRIAL)
        if isinstance(record, Answer):
            return record
        if not self.units.guard or at >= record.deadline or self.current != record.new:
            return Answer("refused", "bad-state")
        self.kept = record.new
        record.by, record.state = "order", S.RELEASED
        return Answer("ok", "released")

    def _revert(self, order: Order) -> Answer:
        record = self._require(order, S.SWITCHING, S.TRIAL)
        if isinstance(record, Answer):
            return record
        record.by, record.state = "order", S.REVERTING
        self.units.revert = True
        return Answer("ok", "reverting")

    def _require(self, order: Order, *states: HelperState) -> Record | Answer:
        record = self.record
        if record is None or record.id != order.id:
            return Answer("refused", "unknown-id")
        return record if record.state in states else Answer("refused", "bad-state")

    # -- what the units do --------------------------------------------------------------------------------------

    def guard_looks(self, at: int) -> None:
        """One round of the guard: nothing before its deadline, and again and again after it."""
        record = self.record
        if record is None or not self.units.guard:
            return
        if record.state in ENDED:
            self.units.guard = False
            return
        if record.state in (S.SWITCHING, S.TRIAL, S.REBOOTING):
            if at <= record.deadline:
                return
            if record.state is S.TRIAL and not record.is_known(self.current):
                record.state = S.INTERFERED
                return
            record.by, record.state = "guard", S.REVERTING
        elif record.state is S.COMMITTING:
            if at <= record.commit_deadline:
                return
            record.by, record.state = "guard", S.UNDOING
        self.units.revert = True

    def guard_dies(self) -> None:
        """However the guard ends, systemd starts the revert."""
        if self.units.guard:
            self.units.guard = False
            self.units.revert = True

    def switch_moves(self) -> None:
        """The switch has made the new system the running one, and goes on."""
        record = self.record
        if record is not None and self.units.switch and record.state is S.SWITCHING:
            self.current = record.new

    def switch_ends(self, verdict: Verdict, at: int) -> None:
        """The switch unit ended, and was judged by what the host shows."""
        record = self.record
        if record is None or not self.units.switch:
            return
        self.units.switch = False
        if record.state not in (S.SWITCHING, S.REBOOTING):
            return
        record.verdict = verdict
        match verdict:
            case Verdict.LIVE | Verdict.LIVE_WARNING | Verdict.FAILED:
                record.state = S.TRIAL
                record.deadline = min(record.deadline, at + record.times.contact_timeout_s)
            case Verdict.NOT_STARTED | Verdict.NEEDS_REBOOT:
                record.by, record.state = "switch", S.REVERTED
            case Verdict.INTERFERED:
                record.state = S.INTERFERED
            case Verdict.INTERRUPTED | Verdict.NONE:
                record.by, record.state = "switch", S.REVERTING
                self.units.revert = True

    def goes_down(self, at: int, *, ready: bool = True) -> None:
        """A trial by reboot lists the new system, chooses it for one boot, and asks for the reboot; or it cannot."""
        record = self.record
        if record is None or not self.units.switch or record.state is not S.SWITCHING:
            return
        self.units.switch = False
        if record.old != record.new:
            self.profile = record.new
            self.boot_default = record.old if ready else self.boot_default
        if not ready or self.boot_default != record.old:
            record.verdict, record.by, record.state = Verdict.INTERRUPTED, "switch", S.REVERTING
            self.units.revert = True
            return
        record.state = S.REBOOTING
        record.deadline = at + record.times.reboot_timeout_s // 2
        self.oneshot = record.new if record.old != record.new else ""
        self.going_down = True

    def commit_sets_profile(self) -> None:
        """First step of the commit."""
        if self.units.commit and self.record is not None and self.state is S.COMMITTING:
            self.profile = self.record.new

    def commit_sets_boot_default(self) -> None:
        """Second step of the commit."""
        if self.units.commit and self.record is not None and self.state is S.COMMITTING:
            self.boot_default = self.record.new

    def commit_ends(self) -> None:
        """Read back, and then committed or undone."""
        record = self.record
        if record is None or not self.units.commit:
            return
        self.units.commit = False
        if record.state is not S.COMMITTING:
            return
        if self.current == self.profile == self.boot_default == record.new:
            record.by, record.state = "order", S.COMMITTED
        else:
            record.by, record.state = "commit", S.UNDOING
            self.units.revert = True

    def stage_begins(self) -> bool:
        """The stage unit runs; only its first run moves anything forward. Returns whether this is that."""
        record = self.record
        if record is None or not self.units.stage or record.state is not S.STAGING:
            return False
        record.attempts += 1
        return record.attempts == 1

    def stage_sets_profile(self) -> None:
        """First step."""
        if self.units.stage and self.record is not None and self.state is S.STAGING:
            self.profile = self.record.new

    def stage_sets_boot_default(self) -> None:
        """Second step."""
        if self.units.stage and self.record is not None and self.state is S.STAGING:
            self.boot_default = self.record.new

    def stage_ends(self) -> None:
        """Read back: staged, or still to be put back by the same run."""
        record = self.record
        if record is None or not self.units.stage or record.state is not S.STAGING:
            return
        if self.profile == self.boot_default == record.new:
            record.by, record.state = "order", S.STAGED
            self.units = Units()

    def stage_undoes(self, *, well: bool) -> None:
        """Profile and boot default were put back, or could not be; the third run that fails strands the host."""
        record = self.record
        if record is None or not self.units.stage or record.state is not S.STAGING:
            return
        if well:
            self.profile = self.boot_default = record.old
            record.by, record.state = "stage", S.REVERTED
            self.units = Units()
        elif record.attempts >= REVERT_ATTEMPTS:
            record.state = S.STRANDED
            self.units = Units()

    def commit_dies(self) -> None:
        """The commit unit was killed: its guard undoes it at the commit deadline."""
        self.units.commit = False

    def revert_begins(self) -> None:
        """The revert unit runs: it stops whatever else of ours does, and owns the host from here on."""
        record = self.record
        if record is None or not self.units.revert:
            return
        if record.state in ENDED:
            self.units.revert = False
            return
        if record.state is S.COMMITTING:
            self.units.commit = False
            record.state = S.UNDOING
        self.units.switch = False
        if not record.is_known(self.current):
            record.state = S.INTERFERED
            self.units.revert = False
            return
        if record.state in (S.SWITCHING, S.TRIAL, S.REBOOTING):
            record.state = S.REVERTING
        record.by = record.by or "guard"
        record.attempts += 1
        if record.attempts > REVERT_RUNS:
            record.state = S.STRANDED
            self.units = Units()

    def revert_ends(self, *, well: bool) -> None:
        """Everything was put back and judged; ``well`` is the judgement. The third failure strands the host."""
        record = self.record
        if record is None or not self.units.revert or record.state not in (S.REVERTING, S.UNDOING):
            return
        if well and record.goes_back_by_reboot and self.current == record.new:
            # The default is the old system again; a boot starts it, and whoever looks then says how it ended.
            self.profile = self.boot_default = record.old
            self.oneshot, self.going_down = "", True
            if record.attempts >= REVERT_ATTEMPTS:
                record.state = S.STRANDED  # it was told to reboot three times, and did not
                self.units = Units()
        elif well:
            self.oneshot = ""
            self.current = self.profile = self.boot_default = record.old
            record.state = S.REVERTED
            self.units = Units()
        elif record.attempts >= REVERT_ATTEMPTS:
            record.state = S.STRANDED
            self.units = Units()

    def revert_dies(self) -> None:
        """The revert unit was killed for good; facts, a settle or the guard start it again."""
        self.units.revert = False

    # -- what the world does ------------------------------------------------------------------------------------

    def reboots(self, boot_id: str, chosen: str = "") -> None:
        """Power was lost, or somebody rebooted: what runs is the boot default, or ``chosen`` in the boot menu."""
        self.boot_id = boot_id
        self.current = self.booted = chosen or self.oneshot or self.boot_default
        self.oneshot, self.going_down = "", False
        self.units = Units()

    def comes_up(self, at: int) -> None:
        """The service that systems bring for it looks at what the last boot left."""
        if self.current in self.guarded:
            self._mend(at)

    def operator_switches(self, system: str, *, boot_too: bool = True) -> None:
        """A person or another tool switches the host by hand."""
        self.valid.add(system)
        self.current = system
        if boot_too:
            self.profile = self.boot_default = system

    def person_clears(self) -> None:
        """A person says that a stranded or interfered host is in order again."""
        record = self.record
        if record is not None and record.state in (S.INTERFERED, S.STRANDED):
            record.state = S.REVERTED

    def loses_state(self) -> None:
        """The helper's directory is gone, and with it the fence."""
        self.fence, self.fence_order, self.active, self.kept = NO_FENCE, None, "", ""
        self.records.clear()
        self.units = Units()

    def _mend(self, at: int) -> None:
        record = self.record
        if record is None or record.state in ENDED:
            return
        if record.boot_id != self.boot_id:
            if not self.units.revert:  # else it says itself how it ends
                self._mend_after_boot(record, at)
            return
        if record.state is S.STAGING:
            self.units.stage = True
        if record.state in (S.SWITCHING, S.TRIAL, S.REBOOTING) and not self.units.guard:
            record.by, record.state = "guard", S.REVERTING
        if record.state is S.COMMITTING and not self.units.commit and not self.units.guard:
            record.by, record.state = "guard", S.UNDOING
        if record.state in (S.REVERTING, S.UNDOING):
            self.units.revert = True

    def _came_back(self, record: Record, at: int) -> None:
        """It was told to reboot, and this is another boot."""
        if self.current == self.booted == record.new:
            times = record.times
            record.boot_id, record.armed_at = self.boot_id, at
            record.deadline = at + times.switch_timeout_s + STOP_SWITCH_S + times.contact_timeout_s
            if self.guard_starts:
                self.units = Units(guard=True, switch=True)
            else:
                record.by, record.state = "guard", S.REVERTING
                self.units.revert = True
        elif not {self.current, self.booted} <= {record.old, record.new}:
            record.state = S.INTERFERED
        else:
            record.by, record.state = "reboot", S.UNDOING
            self.units.revert = True

    def _mend_stage_after_boot(self, record: Record) -> None:
        if self.profile == self.boot_default == record.new:
            record.by, record.state = "order", S.STAGED
        elif self.profile == self.boot_default == record.old:
            record.by, record.state = "reboot", S.REVERTED
        else:
            record.attempts = record.attempts or 1
            self.units.stage = True

    def _mend_after_boot(self, record: Record, at: int) -> None:
        if record.state is S.REBOOTING:
            self._came_back(record, at)
        elif record.state is S.STAGING:
            self._mend_stage_after_boot(record)
        elif self.current == self.profile == self.boot_default == record.old:
            if not record.by_reboot or record.state not in (S.REVERTING, S.UNDOING):
                record.by = "reboot"
            record.state = S.REVERTED
        elif not record.is_known(self.current):
            record.state = S.INTERFERED
        elif record.state is S.COMMITTING and self.current == self.profile == self.boot_default == record.new:
            record.by, record.state = "order", S.COMMITTED
        else:
            record.by, record.state = "reboot", S.UNDOING
            self.units.revert = True
