"""The network of a lab: one bridge, and for each host a namespace with one link to it. Nothing leads further.

Names: the bridge of lab N is ``flbN``; the namespace, control group and packet filter of its host M are ``flNhM``, the
link's outer end is ``v-flNhM``; its inner end is ``host0``.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from lab.errors import LabError
from lab.run import lines, quiet, run

NAME = re.compile(r"flb(\d+)|(?:v-)?fl(\d+)h\d+")
ENDS = (("iifname", "oifname"), ("oifname", "iifname"))
DIRECTIONS = ("both", "in", "out")


def make_bridge(bridge: str, address: str) -> None:
    """Make a lab's bridge with the controller's address; nothing is forwarded from or to it, even on a router."""
    run("ip", "link", "add", bridge, "type", "bridge")
    chain = f"inet {bridge} forward"
    rules = [
        f"add table inet {bridge}",
        f"add chain {chain} {{ type filter hook forward priority 0 ; policy accept ; }}",
        # Between two ports of the bridge nothing is forwarded in this sense, unless the machine filters bridges too.
        *(f'add rule {chain} {one} "{bridge}" {other} != "{bridge}" drop' for one, other in ENDS),
    ]
    run("nft", "-f", "-", text_in="\n".join(rules) + "\n")
    _no_ipv6(Path(f"/proc/sys/net/ipv6/conf/{bridge}/disable_ipv6"))
    run("ip", "addr", "add", f"{address}/24", "dev", bridge)
    run("ip", "link", "set", bridge, "up")


def wire(short: str, bridge: str) -> None:
    """Make a host's namespace and its link; the addresses are set at each boot (``supervise.sh``)."""
    run("ip", "netns", "add", short)
    run("ip", "link", "add", f"v-{short}", "type", "veth", "peer", "name", "host0", "netns", short)
    _no_ipv6(Path(f"/proc/sys/net/ipv6/conf/v-{short}/disable_ipv6"))
    run("ip", "link", "set", f"v-{short}", "master", bridge, "up")


def _no_ipv6(switch: Path) -> None:
    if switch.exists():  # Not on a kernel without IPv6.
        switch.write_text("1")


def cut(short: str, direction: str) -> None:
    """Drop a host's packets at the outer end of its link, where nothing on the host can undo it.

    ``in`` is towards the host, ``out`` is from it. Address resolution still works, so that the open direction stays
    open.
    """
    if direction not in DIRECTIONS:
        raise LabError(f"a link is cut in one of the directions {', '.join(DIRECTIONS)}, not {direction!r}")
    # "Add" before "delete": deleting a table that is not there fails. All in one transaction.
    rules = [f"add table netdev {short}", f"delete table netdev {short}", f"add table netdev {short}"]
    for wanted, hook in (("in", "egress"), ("out", "ingress")):
        if direction in (wanted, "both"):
            chain = f"netdev {short} cut_{wanted}"
            rules.append(
                f'add chain {chain} {{ type filter hook {hook} device "v-{short}" priority 0 ; policy drop ; }}'
            )
            rules.append(f"add rule {chain} ether type arp accept")
    run("nft", "-f", "-", text_in="\n".join(rules) + "\n")


def heal(short: str) -> None:
    """Undo ``cut``."""
    run("nft", "-f", "-", text_in=f"add table netdev {short}\ndelete table netdev {short}\n")


def slow(short: str, rate: str) -> None:
    """Limit a host's link to a rate, as ``tc`` writes it, in each direction."""
    limit = ("root", "tbf", "rate", rate, "burst", "32k", "latency", "400ms")
    run("tc", "qdisc", "replace", "dev", f"v-{short}", *limit)
    run("tc", "-n", short, "qdisc", "replace", "dev", "host0", *limit)


def unslow(short: str) -> None:
    """Undo ``slow``."""
    quiet("tc", "qdisc", "del", "dev", f"v-{short}", "root")
    quiet("tc", "-n", short, "qdisc", "del", "dev", "host0", "root")


def index_of(name: str) -> int | None:
    """Return the lab that a device, namespace, filter or control group belongs to; None when it is not a lab's."""
    found = NAME.fullmatch(name)
    return int(found[1] or found[2]) if found is not None else None


def _devices() -> list[str]:
    return [str(link["ifname"]) for link in json.loads(run("ip", "-j", "link").stdout)]


def _namespaces() -> list[str]:
    return [line.split()[0] for line in lines(["ip", "netns"]) if line.strip()]


def _filters() -> list[tuple[str, str]]:
    """Return (family, name) of the machine's packet filters."""
    found = [line.split() for line in lines(["nft", "list", "tables"])]
    return [(words[1], words[2]) for words in found if len(words) == 3]


def things() -> dict[str, int]:
    """Return everything that labs have here, in words, with the number of the lab that it belongs to."""
    kinds = (
        ("link", _devices()),
        ("network namespace", _namespaces()),
        ("packet filter", [name for _family, name in _filters()]),
    )
    found = {f"{kind} {name}": index_of(name) for kind, names in kinds for name in names}
    return {line: index for line, index in found.items() if index is not None}


def indices() -> set[int]:
    """Return the labs of which anything is left."""
    return set(things().values())


def remove(index: int) -> None:
    """Take away everything that a lab has here. Safe to repeat; the hosts must be off."""
    for family, name in _filters():
        if index_of(name) == index:
            quiet("nft", "delete", "table", family, name)
    # A link's inner end goes with its outer end, at once; with its namespace it would go some time later.
    for name in _devices():
        if index_of(name) == index:
            quiet("ip", "link", "del", name)
    for name in _namespaces():
        if index_of(name) == index:
            quiet("ip", "netns", "del", name)
    if index in indices():
        raise LabError(f"the network of lab number {index} does not go away (see: ip link, ip netns, nft list tables)")
