"""Small worlds, brought where a test wants them by the events that lead there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from fleetd.model.check import Check, HttpCheck
from fleetd.model.facts import HelperState, HostFacts, Verdict
from fleetd.model.fence import NO_FENCE, Fence
from fleetd.model.fleet import Prebuilt
from fleetd.model.goal import Goal
from fleetd.model.policy import FailureBudget, Policy, Size
from fleetd.model.store_path import StorePath
from fleetd.rollout import events as e
from fleetd.rollout.observations import Inspected, note
from fleetd.rollout.spec import HostPlan, Kind, RolloutSpec, Wave
from fleetd.rollout.world import World

CHECK = Check("web", "*", HttpCheck("http://x/"), interval_s=1, timeout_s=1, successes=2, soak_interval_s=1)
POLICY = Policy(
    max_parallel=Size(count=2),
    max_domains=9,
    min_healthy_s=2,
    healthy_deadline_s=20,
    contact_timeout_s=30,
    failure_budget=FailureBudget(Size(), Size(), Size()),
)
ORDER = ("built", "copied", "switching", "trial", "committing", "committed")


def system(host: str, version: int) -> StorePath:
    return StorePath(f"/nix/store/{version:032d}-nixos-system-{host}-v{version}")


def spec_of(hosts: tuple[str, ...], policy: Policy = POLICY, waves: tuple[Wave, ...] = ()) -> RolloutSpec:
    return RolloutSpec(
        id="",
        kind=Kind.DEPLOY,
        revision="v2",
        flake=None,
        on="*",
        goal=Goal.SWITCH,
        policy=policy,
        checks=(CHECK,),
        hosts=tuple(HostPlan(host, Prebuilt(system(host, 2)), checks=("web",)) for host in hosts),
        waves=waves or (Wave("all", hosts),),
        requested_by="test",
        reason="",
        contact_s=5.0,
    )


def facts_of(host: str, current: StorePath) -> HostFacts:
    return HostFacts(
        fence=NO_FENCE,
        state=HelperState.IDLE,
        id="",
        current=current,
        booted=current,
        profile=current,
        boot_default=current,
        boot_kind="systemd-boot",
        boot_id="boot-1",
        uptime_s=1.0,
        machine_id=f"m-{host}",
        hostname=host,
        system="x86_64-linux",
        nix_version="2.26",
        needs_reboot=False,
        state_durable=True,
        nix_free_bytes=1,
        nix_free_inodes=1,
        boot_free_bytes=1,
        clock=1.0,
    )


class Built:
    """A world with rollouts that roll, all of their hosts built."""

    def __init__(self, now: float = 1000.0) -> None:
        self.world = World()
        self.now = now
        self.apply(e.ControllerStarted(now, 1, 0.0))

    def apply(self, event: e.Event) -> None:
        self.world.apply(event)

    def fence(self) -> Fence:
        return Fence(self.world.term, self.world.seq + 1)

    def rollout(self, name: str, *hosts: str, policy: Policy = POLICY, waves: tuple[Wave, ...] = ()) -> None:
        """Begin a rollout and build its hosts."""
        self.roll(name, spec_of(hosts, policy, waves), {host: system(host, 2) for host in hosts})

    def roll(self, name: str, spec: RolloutSpec, built: Mapping[str, StorePath]) -> None:
        """Begin a rollout and let its hosts be built as given."""
        self.apply(e.RolloutRequested(self.now, name, replace(spec, id=name)))
        self.apply(e.RolloutStarted(self.now, name))
        for host, toplevel in built.items():
            fence = self.fence()
            self.apply(e.BuildIntended(self.now, name, host, fence, self.now + 9))
            self.apply(e.Built(self.now, name, host, fence, toplevel))
        self.apply(e.RollingStarted(self.now, name))

    def bring(self, name: str, host: str, to: str) -> None:
        """Bring a built host on to one of ``ORDER``."""
        for step in ORDER[1 : ORDER.index(to) + 1]:
            getattr(self, f"_{step}")(name, host)

    def bring_on(self, name: str, host: str, *steps: str) -> None:
        """Bring a host on by the steps named."""
        for step in steps:
            getattr(self, f"_{step}")(name, host)

    def report(self, name: str, host: str, state: HelperState, reason: str = "") -> None:
        """Let a host answer the order that is under way."""
        fence = self.world.rollouts[name].hosts[host].live.flight.fence  # type: ignore[union-attr]
        self.apply(e.HostReported(self.now, name, host, fence, state, True, Verdict.LIVE, "order", reason))

    def inspected(self, name: str, host: str, current: StorePath | None = None) -> None:
        """Let a host say what it is."""
        step = self.world.observation(name, host).step
        note(self.world, Inspected(self.now, name, host, step, self.facts(host, current or system(host, 1)), (), ""))

    def facts(self, host: str, current: StorePath) -> HostFacts:
        """Return the facts of a host that knows of every order that it has obeyed."""
        return replace(facts_of(host, current), fence=self.world.record(host).fence or NO_FENCE)

    def _copied(self, name: str, host: str) -> None:
        fence = self.fence()
        self.apply(e.CopyIntended(self.now, name, host, fence, self.now + 9))
        self.apply(e.CopyDone(self.now, name, host, fence, 1, 1))

    def _switching(self, name: str, host: str) -> None:
        old = system(host, 1)
        fence = self.fence()
        self.apply(e.TrialIntended(self.now, name, host, fence, self.now + 99, old, f"m-{host}", ("web",)))

    def _trial(self, name: str, host: str) -> None:
        self.report(name, host, HelperState.TRIAL)

    def _committing(self, name: str, host: str) -> None:
        self.apply(e.CommitIntended(self.now, name, host, self.fence(), self.now + 99))

    def _committed(self, name: str, host: str) -> None:
        self.report(name, host, HelperState.COMMITTED)
