"""What a scenario acts on: fresh hosts by name, revisions for them, and control nodes that know them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lab import look
from lab import system as systems
from lab.control import CHECKS, POLICY, Control
from lab.host import LabHost, Seed
from lab.lab import Lab
from lab.run import until
from lab.seed import copy_to, seed_with


def first_system(host: LabHost) -> systems.System:
    """Return what every host runs when a test begins."""
    return systems.good(host.name, host.wiring.gateway, "v1")


SEED = seed_with(first_system)


class Scene:
    """One test's view of the lab. Its ways of looking are those of ``lab.look``."""

    runs = staticmethod(look.runs)
    profile = staticmethod(look.profile)
    page = staticmethod(look.page)
    switches = staticmethod(look.switches)
    invocation = staticmethod(look.invocation)
    began_s = staticmethod(look.began_s)
    has_begun = staticmethod(look.has_begun)
    took_s = staticmethod(look.took_s)
    orders = staticmethod(look.orders)
    record = staticmethod(look.record)
    wait_state = staticmethod(look.wait_state)

    def __init__(self, lab: Lab, directory: Path) -> None:
        self.lab = lab
        self.gateway = lab.controller_address
        self._directory = directory
        self.controls: list[Control] = []

    def hosts(self, *names: str, seed: Seed = SEED) -> list[LabHost]:
        """Return these hosts, made anew where a test used them before, or where they must begin with another system."""
        chosen = [self.lab.hosts[name] for name in names]
        self.lab.reset([host for host in chosen if seed is not SEED or not host.is_pristine()], seed)
        for host in chosen:
            host.mark_used()
        return chosen

    def control(
        self,
        names: Sequence[str],
        *,
        policy: str = POLICY,
        checks: str = CHECKS,
        fleet: str = "",
        extra: str = "",
        keys: Mapping[str, Mapping[str, object]] | None = None,
        start: bool = True,
    ) -> Control:
        """Return a running control node for these hosts; see ``Control`` for the rest."""
        place = self._directory / f"control{len(self.controls)}"
        control = Control(
            self.lab, place, names=names, policy=policy, checks=checks, fleet=fleet, extra=extra, keys=keys
        )
        self.controls.append(control)
        if start:
            control.start()
        return control

    def build(self, make: Callable[..., systems.System], names: Sequence[str], *words: object) -> dict[str, str]:
        """Build a system for each host."""
        return {name: systems.build(make(name, self.gateway, *words)) for name in names}

    def is_taken_back(self, host: LabHost, make: Callable[..., systems.System]) -> Mapping[str, Any]:
        """Deploy a bad system to a host that serves v1, see that it was tried and is gone, and return what is told."""
        before = self.runs(host)
        control = self.control([host.name])
        done = control.deploy(self.build(make, [host.name], "v2"))
        assert done.returncode == 2, done.stdout + control.log()
        assert self.has_begun(host, "fleetd-switch-*"), "it never came to a switch"
        assert self.runs(host) == before
        assert self.page(host) == "greeting v1"
        told: Mapping[str, Any] = control.rollout("r-1")["hosts"][host.name]
        assert told["state"] == "reverted"
        assert str(told["reason"]).splitlines()[0] in done.stdout
        return told

    def switch_by_hand(self, host: LabHost, toplevel: str) -> None:
        """Bring a system to a host and make it run, as somebody at its console would; profile and boot default stay."""
        copy_to(host.root, toplevel)
        host.inside(f"{toplevel}/bin/switch-to-configuration", "test", check=False, timeout_s=60)

    def untrue_claims(self, rollout: Mapping[str, Any], before: Mapping[str, str]) -> list[str]:
        """Return what a rollout that is over says of its hosts and the hosts do not bear out.

        ``before`` is what each host ran when it began. Committed is: runs, keeps and would boot the new system; any
        other end that is no failure is: runs, keeps and would boot the one before.
        """
        wrong = []
        for name, host in rollout["hosts"].items():
            expected = host["to"] if host["state"] in ("committed", "current") else before[name]
            shown = self.runs(self.lab.hosts[name])
            if shown != (expected,) * 3:
                wrong.append(f"{name} is said to be {host['state']}, and shows {shown}")
        return wrong

    def until(self, true: Callable[[], bool], what: str, timeout_s: float = look.ENDS_S) -> None:
        """Wait until something is so. Raises LabError, with what fleetd has said, when it does not come to that."""
        until(true, timeout_s, lambda: f"waited for: {what}; {self.log()}")

    def log(self) -> str:
        """Return the last words of the control nodes."""
        return "\n".join(control.log()[-1500:] for control in self.controls)

    def end(self) -> None:
        """End the control nodes."""
        for control in self.controls:
            control.kill()
