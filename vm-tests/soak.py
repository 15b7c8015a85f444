"""``make soak N=200``: activations of real hosts with random faults, each judged by what its host shows in the end.

A host is *broken* when it does not end on a system that works: out of reach, not still, with running system, profile
and boot default apart, with another system's page, with a unit down that ran before and is its system's, or with a
guard that is still armed. A claim is *false* when the helper says committed or reverted and the host shows something
else: links, boot entry, web page and units are read on the host itself, not from the helper's words.
The seed is printed: the same seed makes the same choices, though the host's own timing differs.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from lab import HostSpec, Lab, LabHost
from lab import system as systems
from lab.deputy import TIMES, Deputy
from lab.errors import LabError
from lab.seed import seed_with
from lab.system.rig import Rig

from fleetd.errors import FleetdError
from fleetd.model.facts import HelperState as S
from fleetd.model.facts import HostFacts, HostStatus
from fleetd.model.order import Verb

QUICK = replace(TIMES, switch_timeout_s=12, contact_timeout_s=8, commit_timeout_s=12, revert_timeout_s=40)
END_S = 300.0
"""Three reverts with their limits, a reboot, and a machine that is shared."""

KINDS: tuple[Callable[[str, str, str], systems.System], ...] = (
    systems.good,
    systems.good,
    systems.good,
    systems.answers_500,
    systems.unit_fails,
    systems.unit_hangs,
    systems.network_down,
    systems.sshd_off,
    systems.activation_fails,
    systems.sshd_when_needed,
    systems.unit_flaps,
    lambda name, gateway, greeting: systems.slow_start(name, gateway, greeting, 4),
    lambda *words: systems.good(*words).with_fault("stop-unheard"),
    lambda *words: systems.good(*words).with_fault("pause-after-stop", 2),
    lambda *words: systems.good(*words).with_fault("die-after-activation", 1),
    lambda *words: systems.good(*words).with_fault("boot-sleep", 2),
    lambda *words: systems.good(*words).with_fault("boot-fail-between"),
    lambda *words: systems.good(*words).with_fault("boot-die-between"),
    lambda *words: systems.good(*words).with_fault("boot-loader"),
)

SHELL_FAULTS = (
    "kill -9 $(systemctl show -p MainPID --value 'fleetd-guard-*')",
    "systemctl kill -s KILL 'fleetd-guard-*'",
    "kill -9 $(systemctl show -p MainPID --value 'fleetd-switch-*')",
    "systemctl kill -s KILL 'fleetd-switch-*'",
    "systemctl kill -s KILL 'fleetd-commit-*'",
    "kill -9 $(systemctl show -p MainPID --value 'fleetd-revert-*')",
    "systemctl stop 'fleetd-guard-*'",
    "systemctl daemon-reexec",
    "for i in 1 2 3 4 5; do systemctl daemon-reload; sleep 0.3; done",
    "for i in 1 2 3 4 5 6; do systemctl daemon-reexec; sleep 0.5; done",
    "systemctl restart dbus",
    "systemctl restart systemd-logind",
    "systemctl restart network",
    "systemctl kill -s KILL nix-daemon",
    "systemctl kill -s KILL --kill-whom=main sshd.service",
    "for i in 1 2 3 4 5 6; do systemctl restart sshd.service; sleep 0.5; done",
    "systemctl isolate multi-user.target",
    "kill -9 $(systemctl show -p MainPID --value 'fleetd-commit-*')",
    "pkill -9 -f '[s]shd-session: root|[s]shd: root'",
)

TWO_FAULTS = 0.25
"""The share of activations that two faults strike, each at a moment of its own."""


def power_cycle(host: LabHost) -> None:
    """Cut the power and bring it back."""
    host.power_cycle()


def reboot(host: LabHost) -> None:
    """Ask the host to boot anew."""
    host.reboot(wait=False)


def cut_for_a_while(host: LabHost) -> None:
    """Take the link away, for shorter or longer than a trial survives."""
    host.cut()
    time.sleep(10)
    host.heal()


def fill_for_a_while(host: LabHost) -> None:
    """Leave no room on its one disk, which the state of the helper is on as well."""
    host.fill_disk()
    time.sleep(8)
    host.unfill()


def without_answer_for_a_while(host: LabHost) -> None:
    """Let sshd and its sessions stand still."""
    host.pause_sshd()
    time.sleep(10)
    host.resume_sshd()


@dataclass(slots=True)
class Result:
    """What the whole run found."""

    done: int = 0
    broken: list[str] = field(default_factory=list)
    false: list[str] = field(default_factory=list)
    ends: dict[str, int] = field(default_factory=dict)


def strike(host: LabHost, choice: random.Random) -> tuple[str, threading.Thread]:
    """Begin one random fault at a random moment of the next seconds; return its name."""
    faults: list[tuple[str, Callable[[], object]]] = [
        (words, lambda words=words: host.inside("sh", "-c", words, check=False))  # type: ignore[misc]
        for words in SHELL_FAULTS
    ]
    faults += [("power", lambda: power_cycle(host)), ("reboot", lambda: reboot(host))]
    faults += [("cut", lambda: cut_for_a_while(host)), ("full disk", lambda: fill_for_a_while(host))]
    faults += [("no answer", lambda: without_answer_for_a_while(host)), ("none", lambda: None), ("none", lambda: None)]
    name, act = choice.choice(faults)
    delay_s = choice.uniform(0, 6)

    def later() -> None:
        time.sleep(delay_s)
        try:
            act()
        except Exception as error:
            print(f"{host.name}: the fault {name!r} could not be made: {error}", flush=True)

    thread = threading.Thread(target=later, name=f"fault/{host.name}", daemon=True)
    thread.start()
    return f"{name} after {delay_s:.1f} s", thread


def units_of(host: LabHost, toplevel: str) -> set[str]:
    """Return the services and sockets of a system that are active on the host, as systemd there says."""
    said = host.inside("systemctl", "list-units", "--type=service,socket", "--state=active", "--plain", "--no-legend")
    names = {line.split()[0] for line in said.stdout.splitlines() if line.strip()}
    own = {path.name for path in host.path(f"{toplevel}/etc/systemd/system").iterdir()}
    return names & own


def control(deputy: Deputy, new: str, choice: random.Random) -> str:
    """Do what a controller does with one activation: confirm it, take it back, or vanish."""
    plan = choice.choice(["commit", "commit", "commit", "commit", "revert", "vanish"])
    try:
        status = deputy.trial(new, times=QUICK)
        if status.state is not S.TRIAL or plan == "vanish":
            return plan
        deputy.send(deputy.write(Verb.EXTEND))
        if plan == "revert" or status.failed_units or status.down_units or status.behind_units:
            deputy.send(deputy.write(Verb.REVERT))
            return "revert"
        deputy.send(deputy.write(Verb.COMMIT), fresh=True)
    except (FleetdError, LabError) as error:
        return f"{plan}, then lost: {str(error)[:80]}"
    return plan


def still(deputy: Deputy) -> tuple[HostStatus, HostFacts]:
    """Wait until the host stands still, asking for facts as a controller that comes back does. Raises TimeoutError."""
    end = time.monotonic() + END_S
    last: object = None
    while time.monotonic() < end:
        try:
            facts = deputy.facts()
            status = deputy.status()
            if not facts.state.is_moving and facts.state is not S.TRIAL:
                return status, facts
            last = facts.state
        except (FleetdError, LabError) as error:
            last = error
        time.sleep(1)
    raise TimeoutError(str(last))


def judge(
    rig: Rig, deputy: Deputy, old: str, new: str, page: Callable[[str], str], before: set[str], result: Result
) -> str:
    """Look at the host; add to the result what is wrong. Return how the activation ended.

    ``before`` are the units of the old system that were active.
    """
    try:
        status, facts = still(deputy)
    except TimeoutError as error:
        result.broken.append(f"never stood still: {error}")
        return "broken"
    shown = (rig.current, rig.host.readlink("/nix/var/nix/profiles/system"), rig.boot_default)
    ours = facts.id == status.id and status.new == new
    if ours and status.state is S.COMMITTED and shown != (new, new, new):
        result.false.append(f"says committed, shows {shown}")
    if ours and status.state is S.REVERTED and shown != (old, old, old):
        result.false.append(f"says reverted, shows {shown}")
    if len(set(shown)) != 1 or shown[0] not in (old, new):
        result.broken.append(f"says {status.state}, shows {shown}, was {old}")
    end = time.monotonic() + 30
    while wrong := wrong_units(rig, shown[0], page(shown[0]), before if shown[0] == old else set()):
        if time.monotonic() > end:
            found = result.false if ours and status.state in (S.COMMITTED, S.REVERTED) else result.broken
            found.append(f"says {status.state}, runs {shown[0]}: {wrong}")
            break
        time.sleep(1)
    return str(status.state)


def wrong_units(rig: Rig, current: str, page: str, before: set[str]) -> str:
    """Return what of a host that stands still is not its system's; empty when all is."""
    if (said := rig.page()) != page:
        return f"its page says {said!r}, not {page!r}"
    if missing := before - units_of(rig.host, current):
        return f"down: {' '.join(sorted(missing))}"
    armed = rig.shell("systemctl list-units --plain --no-legend --state=active,activating 'fleetd-*'")
    return f"still there: {armed}" if armed else ""


def run(host: LabHost, numbers: range, seed: int, result: Result, lock: threading.Lock) -> None:
    """Do some of the activations, one after the other, on one host."""
    rig = Rig(host, host.readlink("/run/current-system"))
    pages = {rig.current: "greeting v1"}
    for number in numbers:
        choice = random.Random(f"{seed}/{number}")
        make = choice.choice(KINDS)
        new = rig.install(make(host.name, host.wiring.gateway, f"v{number}"))
        pages[new] = f"greeting v{number}"
        old = rig.current
        mine = Result()
        before = units_of(host, old)
        with Deputy(host, seq=number * 1000, attempt=number * 10) as deputy:
            struck = [strike(host, choice) for _ in range(2 if choice.random() < TWO_FAULTS else 1)]
            plan = control(deputy, new, choice)
            for _, thread in struck:
                thread.join(timeout=120)
            fault = ", ".join(name for name, _ in struck)
            host.heal()
            host.unfill()
            ended = judge(rig, deputy, old, new, lambda system: pages.get(system, "?"), before, mine)
        with lock:
            result.done += 1
            result.ends[ended] = result.ends.get(ended, 0) + 1
            for kind, found, all_of_it in (("broken", mine.broken, result.broken), ("false", mine.false, result.false)):
                for text in found:
                    all_of_it.append(f"{host.name} activation {number} ({fault}; {plan}; {new}): {text}")
                    print(f"{kind}: {all_of_it[-1]}", flush=True)
            print(f"{result.done}: {host.name} {number} {plan}; {fault} -> {ended}", flush=True)
        if mine.broken:
            host.reset(seed_with(first))
            pages[rig.current] = "greeting v1"


def first(host: LabHost) -> systems.System:
    """Return what a host runs at the beginning."""
    return systems.good(host.name, host.wiring.gateway, "v1")


def main() -> int:
    """Run, print one line for each activation and the sum at the end; exit 0 only if nothing was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--activations", type=int, default=200)
    parser.add_argument("--hosts", type=int, default=3)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    words = parser.parse_args()
    print(f"seed {words.seed}", flush=True)
    result, lock = Result(), threading.Lock()
    specs = [HostSpec(f"soak{number}") for number in range(1, words.hosts + 1)]
    with Lab.up(f"soak-{os.getpid()}", specs, seed=seed_with(first)) as lab, ThreadPoolExecutor(words.hosts) as pool:
        jobs = [
            pool.submit(run, host, range(at, words.activations, words.hosts), words.seed, result, lock)
            for at, host in enumerate(lab.hosts.values())
        ]
        for job in jobs:
            job.result()
    print("ends: " + ", ".join(f"{name} {count}" for name, count in sorted(result.ends.items())))
    print(f"activations {result.done}, hosts broken {len(result.broken)}, false claims {len(result.false)}")
    return 1 if result.broken or result.false or result.done < words.activations else 0


if __name__ == "__main__":
    sys.exit(main())
