"""``make demo``: the main job on six real hosts, five scenes. Every claim is read from the hosts, not from fleetd."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo_view import View, label
from lab import HostSpec, Lab, LabError, LabUnavailable, look
from lab import system as systems
from lab.control import Control, policy_with
from lab.scene import SEED
from rich.console import Console
from rich.panel import Panel
from rich.table import Table

NAMES = tuple(f"web{n}" for n in range(1, 7))
SPECS = tuple(HostSpec(name, ("web",), f"rack-{'abc'[n % 3]}") for n, name in enumerate(NAMES))
POLICY = policy_with(
    waves=[{"name": "canary", "count": 1, "soak": "2s"}, {"name": "half", "percent": 50, "soak": "2s"}],
    max_parallel=3,
    rollback_max_parallel=3,
)
Revision = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a scene; ``wrong`` says what the hosts did not bear out."""

    title: str
    wrong: list[str]
    seconds: float


class Demo:
    """The lab, a control node, a console, and what was found so far."""

    def __init__(self, console: Console, lab: Lab, directory: Path) -> None:
        self.console = console
        self.lab = lab
        self.control = Control(lab, directory, policy=POLICY)
        self.view = View(console, self.control, lab.hosts)
        self.results: list[Result] = []

    def build(self, make: Callable[..., systems.System], text: str) -> dict[str, str]:
        """Build one revision for every host."""
        return {name: systems.build(make(name, self.lab.controller_address, text)) for name in NAMES}

    def scene(self, title: str, act: Callable[[], list[str]]) -> None:
        """Play one scene, and keep what the hosts do not bear out."""
        self.console.print()
        self.console.rule(f"[bold]{title}", align="left")
        started = time.monotonic()
        wrong = act()
        self.results.append(Result(title, wrong, time.monotonic() - started))
        for line in wrong:
            self.console.print(f"  [red]✘[/red] {line}", highlight=False)
        if not wrong:
            self.console.print("  [green]✔[/green] borne out by every host", highlight=False)

    def wrong_with(self, revision: Revision, text: str) -> list[str]:
        """Return which hosts do not run, keep, boot and serve a revision, by their own word."""
        wrong = []
        for name, host in self.lab.hosts.items():
            running, profile, boots = look.runs(host)
            for what, path in (("runs", running), ("keeps", profile), ("would boot", boots)):
                if path != revision[name]:
                    wrong.append(f"{name} {what} {label(path, name)} and not {text}")
            if (page := look.page(host)) != f"greeting {text}":
                wrong.append(f"{name} serves {page!r} and not 'greeting {text}'")
        return wrong

    def touched(self) -> set[str]:
        """Return the hosts on which a switch has begun since they booted, each with how often."""
        return {f"{name} {look.switches(host)}" for name, host in self.lab.hosts.items()}


def ended(document: Mapping[str, Any], phase: str, *words: str) -> list[str]:
    """Return what is wrong with how a rollout ended: its phase, or what its reason does not name."""
    found = [] if document["phase"] == phase else [f"{document['id']} is {document['phase']}, not {phase}"]
    return found + [f"the reason does not say {word!r}" for word in words if word not in document["finish_reason"]]


def play(demo: Demo) -> None:
    """The five scenes."""
    control, view = demo.control, demo.view
    v2, v3 = (demo.build(systems.good, text) for text in ("v2", "v3"))

    def good_revision() -> list[str]:
        final = view.follow(control.deploy_detached(v2))
        steps = [(event["kind"], event["host"]) for event in control.events() if event["rollout"] == final["id"]]
        upto = steps[: steps.index(("WavePassed", ""))] if ("WavePassed", "") in steps else steps
        tried = [host for kind, host in upto if kind == "TrialIntended"]
        early = [f"{name} was tried before the canary's wave had passed" for name in tried if name != "web1"]
        return ended(final, "succeeded") + early + demo.wrong_with(v2, "v2")

    def answers_500() -> list[str]:
        before = demo.touched()
        final = view.follow(control.deploy_detached(demo.build(systems.answers_500, "broken")))
        others = {word.split()[0] for word in demo.touched() - before} - {"web1"}
        wrong = [f"{name} was switched as well" for name in sorted(others)]
        return ended(final, "rolled-back", "web1", "500") + wrong + demo.wrong_with(v2, "v2")

    def network_down() -> list[str]:
        bad = {"web1": demo.build(systems.network_down, "cut-off")["web1"]}
        wrong = ended(view.follow(control.deploy_detached(bad)), "rolled-back")
        by = look.record(demo.lab.hosts["web1"], "by")
        wrong += [] if by == "guard" else [f"web1 was taken back by {by or 'nobody'}, not by its guard"]
        return wrong + demo.wrong_with(v2, "v2")

    def killed() -> list[str]:
        name, old = control.deploy_detached(v3), control.pid
        new: list[int] = []

        def kill(document: Mapping[str, Any]) -> None:
            inside = [host["state"] for host in document["hosts"].values() if host["wave"] == "half"]
            if not new and {"switching", "trial"} & set(inside):
                demo.console.print(f"  kill -9 of fleetd (process {old}) in the middle of wave half")
                control.kill()
                control.start()
                new.append(control.pid)
                demo.console.print(f"  a new fleetd (process {control.pid}) goes on from the journal")

        wrong = ended(view.follow(name, kill), "succeeded")
        return wrong + ([] if new else ["the daemon was never killed"]) + demo.wrong_with(v3, "v3")

    def back() -> list[str]:
        done = control.ctl("--json", "rollback", "--detach", "--reason", "the demo ends")
        return ended(view.follow(control.id_in(done)), "succeeded") + demo.wrong_with(v2, "v2")

    demo.scene("(a) A good revision: canary, half, rest", good_revision)
    demo.scene("(b) A revision that answers 500: the canary goes back, no other host is touched", answers_500)
    demo.scene("(c) A revision that takes its host's network down: the host comes back by itself", network_down)
    demo.scene("(d) kill -9 of the daemon in the middle of a wave: the rollout ends as it would have", killed)
    demo.scene("(e) fleetctl rollback: back to the revision before", back)


def summary(results: list[Result], total_s: float) -> Table:
    """Return what was promised and what the hosts said."""
    made = Table(title="As read on the hosts: running system, profile, boot default, page", title_justify="left")
    for column in ("scene", "result", "seconds"):
        made.add_column(column, justify="right" if column == "seconds" else "left")
    for result in results:
        verdict = f"[red]✘ {len(result.wrong)} claims not true" if result.wrong else "[green]✔ as promised"
        made.add_row(result.title, verdict, f"{result.seconds:.0f}")
    made.add_section()
    made.add_row("everything, with six hosts booted", "", f"{total_s:.0f}")
    return made


def stage(console: Console) -> list[Result]:
    """Bring hosts and a control node up, play, take all down again."""
    started = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="fleetd-demo-") as directory,
        Lab.up(f"demo-{os.getpid()}", SPECS, seed=SEED, quiet=True) as lab,
    ):
        domains = len({spec.domain for spec in SPECS})
        console.print(
            Panel.fit(
                f"{len(lab.hosts)} hosts in {domains} failure domains are up after {time.monotonic() - started:.0f} s: "
                "real systemd, sshd and Nix, each with a store of its own.\n"
                "A host on trial runs the new system and would still boot the old one, until it is committed.",
                title="fleetd",
            )
        )
        demo = Demo(console, lab, Path(directory))
        demo.control.start()
        try:
            play(demo)
        finally:
            demo.control.kill()
    console.print()
    console.print(summary(demo.results, time.monotonic() - started))
    return demo.results


def main() -> int:
    """Play, and exit 0 only if every scene was borne out by the hosts."""
    console = Console()
    try:
        results = stage(console)
    except (LabUnavailable, LabError) as error:
        console.print(f"[red]{type(error).__name__}[/red]: {error}", highlight=False)
        return 1
    except KeyboardInterrupt:
        console.print("ended; hosts and control node are gone")
        return 130
    return int(any(result.wrong for result in results))


if __name__ == "__main__":
    sys.exit(main())
