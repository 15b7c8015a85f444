"""``make demo``: the main job on six real hosts, five scenes. Every claim is read from the hosts, not from fleetd."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from lab import HostSpec, Lab, LabError, LabHost, LabUnavailable
from lab import system as systems
from lab.control import Control
from lab.seed import seed_with
from rich.console import Console
from rich.table import Table

NAMES = tuple(f"web{n}" for n in range(1, 7))
SPECS = tuple(HostSpec(name, ("web",), f"rack-{'abc'[n % 3]}") for n, name in enumerate(NAMES))
console = Console()


class Demo:
    """The lab, a control node, and what was found so far."""

    def __init__(self, lab: Lab, directory: Path) -> None:
        self.lab = lab
        self.control = Control(lab, directory)
        self.results: list[tuple[str, bool, float]] = []

    def build(self, make: Callable[..., systems.System], text: str) -> dict[str, str]:
        """Build one revision for every host."""
        return {name: systems.build(make(name, self.lab.controller_address, text)) for name in NAMES}

    def scene(self, title: str, act: Callable[[], bool]) -> None:
        """Play one scene and keep whether the hosts bear it out."""
        console.rule(f"[bold]{title}")
        started = time.monotonic()
        good = act()
        self.results.append((title, good, time.monotonic() - started))

    def follow(self, *words: str) -> int:
        """Run fleetctl and show its last words."""
        done = self.control.ctl(*words)
        for line in done.stdout.splitlines()[-8:]:
            console.print("  " + line, highlight=False)
        return done.returncode

    def show(self, rollout: str) -> None:
        """Show the hosts of a rollout by wave and state."""
        document = self.control.rollout(rollout)
        table = Table(title=f"{rollout}: {document['phase']}  {document['finish_reason'][:90]}", title_justify="left")
        for column in ("host", "wave", "state", "page"):
            table.add_column(column)
        for name, host in document["hosts"].items():
            table.add_row(name, host["wave"], host["state"], page(self.lab.hosts[name]))
        console.print(table)

    def all_run(self, revision: Mapping[str, str], text: str) -> bool:
        """Whether every host runs, keeps, boots and serves this, by its own word."""
        return all(
            facts(host) == (revision[host.name],) * 3 and page(host) == f"greeting {text}"
            for host in self.lab.hosts.values()
        )


def facts(host: LabHost) -> tuple[str, str, str]:
    """Return (running system, profile, boot default), read at the host's console."""
    shown = host.inside("sh", "-c", "cat /boot/loader/entries/$(sed -n 's/^default //p' /boot/loader/loader.conf)")
    init = next(word for word in shown.stdout.split() if word.startswith("init="))
    default = init.removeprefix("init=").removesuffix("/init")
    return host.readlink("/run/current-system"), host.readlink("/nix/var/nix/profiles/system"), default


def page(host: LabHost) -> str:
    """Return the page that the host serves."""
    return host.inside("curl", "-s", "--max-time", "5", "http://127.0.0.1:8080/", check=False).stdout.strip()


def play(demo: Demo) -> None:
    """The five scenes."""
    v1, v2, v3 = (demo.build(systems.good, text) for text in ("v1", "v2", "v3"))
    words = Control.toplevel_words

    def good_revision() -> bool:
        code = demo.follow("deploy", *words(v2))
        demo.show("r-1")
        return code == 0 and demo.all_run(v2, "v2")

    def answers_500() -> bool:
        code = demo.follow("deploy", *words(demo.build(systems.answers_500, "bad")))
        demo.show("r-2")
        return code == 2 and demo.all_run(v2, "v2")

    def network_down() -> bool:
        bad = demo.build(systems.network_down, "cut-off")
        code = demo.follow("deploy", "--on", "web1", *words({"web1": bad["web1"]}))
        demo.show("r-3")
        return code == 2 and demo.all_run(v2, "v2")

    def killed() -> bool:
        name = demo.control.deploy_detached(v3)
        demo.control.wait_for(name, "web3", "switching", "trial", "committed", timeout_s=90)
        console.print("  kill -9 of the daemon, and a new one")
        demo.control.kill()
        demo.control.start()
        final = demo.control.wait_final(name)
        demo.show(name)
        return final["phase"] == "succeeded" and demo.all_run(v3, "v3")

    def back() -> bool:
        code = demo.follow("rollback", "--reason", "the demo ends")
        demo.show("r-5")
        return code == 0 and demo.all_run(v2, "v2")

    del v1
    demo.scene("(a) a good revision: canary, half, rest", good_revision)
    demo.scene("(b) a revision that answers 500: the canary goes back, nothing else is touched", answers_500)
    demo.scene("(c) a revision that takes its host's network down: the host comes back by itself", network_down)
    demo.scene("(d) the daemon is killed in the middle of a wave", killed)
    demo.scene("(e) fleetctl rollback: the revision before", back)


def main() -> int:
    """Play, and exit 0 only if every scene was borne out by the hosts."""
    started = time.monotonic()
    try:
        with (
            tempfile.TemporaryDirectory(prefix="fleetd-demo-") as directory,
            Lab.up("demo", SPECS, seed=seed_with(lambda h: systems.good(h.name, h.wiring.gateway, "v1"))) as lab,
        ):
            console.print(f"{len(lab.hosts)} hosts up after {time.monotonic() - started:.0f} s")
            demo = Demo(lab, Path(directory))
            demo.control.start()
            try:
                play(demo)
            finally:
                demo.control.kill()
    except (LabUnavailable, LabError) as error:
        console.print(f"[red]{error}")
        return 1
    table = Table(title="summary, as read on the hosts")
    for column in ("scene", "result", "seconds"):
        table.add_column(column)
    for title, good, seconds in demo.results:
        table.add_row(title, "[green]as promised" if good else "[red]NOT as promised", f"{seconds:.0f}")
    console.print(table)
    return 0 if all(good for _title, good, _seconds in demo.results) else 1


if __name__ == "__main__":
    sys.exit(main())
