"""``python -m lab``: the lab by hand."""

from __future__ import annotations

import argparse
import os
import sys
import time

from lab.base import base_tree, say
from lab.errors import LabError
from lab.host import HostSpec, LabHost
from lab.lab import Lab, clean, names

ONE_HOST = {
    "heal": (LabHost.heal, "undo cut"),
    "power-cut": (LabHost.power_cut, "take the power away"),
    "boot": (LabHost.boot, "power on"),
    "reboot": (LabHost.reboot, "reboot in an orderly way"),
    "unslow": (LabHost.unslow, "undo slow"),
    "fill-disk": (LabHost.fill_disk, "fill the host's disk"),
    "unfill": (LabHost.unfill, "undo fill-disk"),
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m lab", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    up = verbs.add_parser("up", help="boot hosts")
    up.add_argument("name")
    up.add_argument("--hosts", type=int, default=6)
    up.add_argument("--domains", type=int, default=3)
    up.add_argument("--tag", action="append", default=[], metavar="TAG=HOST,HOST")
    up.add_argument("--suite", default="trixie")
    verbs.add_parser("base", help="only build the base tree").add_argument("--suite", default="trixie")
    verbs.add_parser("list", help="labs and their hosts")
    verbs.add_parser("clean", help="remove every lab, and what crashed runs left")
    verbs.add_parser("down", help="remove a lab").add_argument("name")
    ssh = verbs.add_parser("ssh", help="log in to a host, or run a command there")
    ssh.add_argument("name")
    ssh.add_argument("host")
    ssh.add_argument("command", nargs=argparse.REMAINDER)
    for verb, (_do, text) in ONE_HOST.items():
        sub = verbs.add_parser(verb, help=text)
        sub.add_argument("name")
        sub.add_argument("host")
    cut = verbs.add_parser("cut", help="drop a host's packets")
    cut.add_argument("name")
    cut.add_argument("host")
    cut.add_argument("--direction", choices=("in", "out", "both"), default="both")
    slow = verbs.add_parser("slow", help="limit a host's link")
    slow.add_argument("name")
    slow.add_argument("host")
    slow.add_argument("--rate", default="1mbit")
    return parser


def _up(args: argparse.Namespace) -> None:
    tags: dict[str, list[str]] = {}
    for text in args.tag:
        tag, _, hosts = text.partition("=")
        for host in hosts.split(","):
            tags.setdefault(host, []).append(tag)
    specs = []
    for number in range(args.hosts):
        name = f"web{number + 1}"
        domain = f"rack-{chr(ord('a') + number % args.domains)}"
        specs.append(HostSpec(name, ("web", *tags.get(name, [])), domain))
    started = time.monotonic()
    lab = Lab.up(args.name, specs, suite=args.suite)
    say(f"{len(lab.hosts)} hosts up after {time.monotonic() - started:.1f} s")
    _show(lab)


def _show(lab: Lab) -> None:
    for host in lab.hosts.values():
        power = "on" if host.is_running() else "off"
        print(f"{lab.name}\t{host.name}\t{host.address}\t{host.domain}\t{','.join(host.tags)}\t{power}")


def _act(args: argparse.Namespace) -> int:
    match args.verb:
        case "up":
            _up(args)
        case "base":
            print(base_tree(args.suite))
        case "list":
            for name in names():
                _show(Lab.load(name))
        case "clean":
            say(f"removed: {', '.join(clean()) or 'nothing'}")
        case "down":
            Lab.load(args.name).down()
        case _:
            return _act_on_host(args)
    return 0


def _act_on_host(args: argparse.Namespace) -> int:
    lab = Lab.load(args.name)
    host = lab.hosts.get(args.host)
    if host is None:
        raise LabError(f"no host {args.host!r} in lab {args.name!r} (there are: {', '.join(lab.hosts)})")
    if args.verb == "ssh":
        options = [f"-i{lab.private_key}", f"-oUserKnownHostsFile={lab.known_hosts}", "-F/dev/null"]
        os.execvp("ssh", ["ssh", *options, f"root@{host.address}", *args.command])
    if args.verb == "cut":
        host.cut(args.direction)
    elif args.verb == "slow":
        host.slow(args.rate)
    else:
        ONE_HOST[args.verb][0](host)
    return 0


def main() -> int:
    """Run one command; errors of the lab are one line."""
    try:
        return _act(_parser().parse_args())
    except LabError as error:
        sys.stderr.write(f"lab: {error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
