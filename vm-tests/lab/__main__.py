"""``python -m lab``: the lab by hand. Hosts that ``up`` boots stay until ``down``."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable

from lab import leftovers, net, state
from lab.base import SUITES, base_tree, default_suite, require
from lab.errors import LabError
from lab.host import HostSpec, LabHost
from lab.lab import Lab
from lab.run import say

EXAMPLES = """examples:
  PYTHONPATH=vm-tests python3 -m lab up demo --hosts 6 --domains 3 --tag canary=web1
  PYTHONPATH=vm-tests python3 -m lab ssh demo web1 systemctl --failed
  PYTHONPATH=vm-tests python3 -m lab cut demo web1 --direction in
  PYTHONPATH=vm-tests python3 -m lab down demo
"""
SIMPLE: dict[str, tuple[Callable[[LabHost], None], str]] = {
    "heal": (LabHost.heal, "undo cut"),
    "power-cut": (LabHost.power_cut, "take the power away; the disk stays"),
    "boot": (LabHost.boot, "power on"),
    "reboot": (LabHost.reboot, "reboot in an orderly way and wait for it"),
    "unslow": (LabHost.unslow, "undo slow"),
    "unfill": (LabHost.unfill, "undo fill-disk"),
    "pause-sshd": (LabHost.pause_sshd, "stop sshd in its tracks: it takes connections and says nothing"),
    "resume-sshd": (LabHost.resume_sshd, "undo pause-sshd"),
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m lab", description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="COMMAND")
    up = verbs.add_parser("up", help="boot hosts web1, web2, … in domains rack-a, rack-b, …")
    up.add_argument("lab", metavar="NAME")
    up.add_argument("--hosts", type=_positive, default=6, help="how many (default: 6)")
    up.add_argument("--domains", type=_positive, default=3, help="in how many failure domains (default: 3)")
    up.add_argument("--tag", action="append", default=[], metavar="TAG=HOST,…", help="all have the tag web")
    up.add_argument("--suite", default=default_suite(), choices=SUITES)
    verbs.add_parser("base", help="only build the base tree").add_argument(
        "--suite", default=default_suite(), choices=SUITES
    )
    verbs.add_parser("list", help="labs and their hosts")
    clean = verbs.add_parser("clean", help="remove what crashed runs left")
    clean.add_argument("--all", action="store_true", help="and every lab that is up")
    verbs.add_parser("down", help="remove a lab").add_argument("lab", metavar="NAME")
    watch = verbs.add_parser("watch", help="run a command, and fail when it leaves something behind on this machine")
    watch.add_argument("command", nargs=argparse.REMAINDER)
    ssh = _on_host(verbs.add_parser("ssh", help="log in to HOST (or deploy@HOST), or run a command there"))
    ssh.add_argument("command", nargs=argparse.REMAINDER)
    for verb, (_do, text) in SIMPLE.items():
        _on_host(verbs.add_parser(verb, help=text))
    cut = _on_host(verbs.add_parser("cut", help="drop a host's packets"))
    cut.add_argument("--direction", choices=net.DIRECTIONS, default="both", help="in: towards the host")
    slow = _on_host(verbs.add_parser("slow", help="limit a host's link"))
    slow.add_argument("--rate", default="1mbit", help="as tc writes it (default: 1mbit)")
    fill = _on_host(verbs.add_parser("fill-disk", help="fill the host's disk, /nix too"))
    fill.add_argument("--leave", type=int, default=0, metavar="BYTES")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


def _words(command: list[str]) -> list[str]:
    """Return a command without the two dashes that may come before it."""
    return command[command[:1] == ["--"] :]


def _on_host(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("lab", metavar="NAME", help="the lab")
    parser.add_argument("host", metavar="HOST")
    return parser


def specs(count: int, domains: int, tags: list[str]) -> list[HostSpec]:
    """Return the hosts that the options of ``up`` describe. Raises LabError for a tag that names no host."""
    names = [f"web{number + 1}" for number in range(count)]
    tags_of: dict[str, list[str]] = {name: ["web"] for name in names}
    for text in tags:
        tag, _, hosts = text.partition("=")
        for host in hosts.split(","):
            if not tag or host not in tags_of:
                raise LabError(f"--tag {text}: write TAG=HOST,HOST with hosts from web1 to web{count}")
            tags_of[host].append(tag)
    racks = [f"rack-{chr(ord('a') + number)}" if domains <= 26 else f"rack-{number + 1}" for number in range(domains)]
    return [HostSpec(name, tuple(tags_of[name]), racks[n % domains]) for n, name in enumerate(names)]


def _up(args: argparse.Namespace) -> None:
    wanted = specs(args.hosts, args.domains, args.tag)
    base_tree(args.suite)
    started = time.monotonic()
    lab = Lab.up(args.lab, wanted, suite=args.suite, quiet=True)
    lab.keep()
    say(f"{len(lab.hosts)} hosts up after {time.monotonic() - started:.1f} s; python -m lab down {lab.name} ends them")
    _show(lab)


def _show(lab: Lab) -> None:
    owner = state.owner_of(lab.name)
    fate = "kept" if owner is None else f"of {owner}" if owner.is_alive() else "crashed"
    for host in lab.hosts.values():
        power = "on" if host.is_running() else "off"
        print(f"{lab.name}\t{fate}\t{host.name}\t{host.address}\t{host.domain}\t{','.join(host.tags)}\t{power}")


def _act(args: argparse.Namespace) -> int:
    if args.verb not in ("up", "base") and os.geteuid() != 0:
        raise LabError("the lab needs root")
    match args.verb:
        case "up":
            _up(args)
        case "base":
            print(base_tree(args.suite))
        case "list":
            for name in state.names():
                _show(Lab.load(name))
        case "clean":
            require()
            say(f"removed: {', '.join(state.clean(everything=args.all)) or 'nothing'}")
        case "watch":
            return leftovers.watch(_words(args.command))
        case "down":
            Lab.load(args.lab).down()
        case _:
            _act_on_host(args)
    return 0


def _act_on_host(args: argparse.Namespace) -> None:
    lab = Lab.load(args.lab)
    user, _, name = args.host.rpartition("@")
    host = lab.hosts.get(name)
    if host is None:
        raise LabError(f"no host {name!r} in lab {args.lab!r} (there are: {', '.join(lab.hosts)})")
    match args.verb:
        case "ssh":
            words = _words(args.command)
            os.execvp("ssh", [*host.ssh_words(user or "root"), *(["--", *words] if words else [])])
        case "cut":
            host.cut(args.direction)
        case "slow":
            host.slow(args.rate)
        case "fill-disk":
            host.fill_disk(args.leave)
        case verb:
            SIMPLE[verb][0](host)


def main() -> int:
    """Run one command; errors of the lab are one line."""
    try:
        return _act(_parser().parse_args())
    except LabError as error:
        sys.stderr.write(f"lab: {error}\n")
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
