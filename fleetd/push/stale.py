"""Servers that an earlier copy left behind on a host: one that still waits for the rest of a path holds its lock.

That happens when a link dies without a word, and the host's sshd has not found out yet (nix issue 2699).
"""

from __future__ import annotations

import asyncio

from fleetd.errors import OutcomeUnknown
from fleetd.ports import HostLink

MARK = "FLEETD_PUSH=1"
"""In the environment of our servers: those of other people's copies are none of our business."""

MARKED = ("env", MARK)

END = """
mine() {
  for file in $(grep -lzx "$1" /proc/[0-9]*/environ 2>/dev/null); do
    pid=${file#/proc/} pid=${pid%/environ}
    [ /proc/$pid/ns/pid -ef /proc/self/ns/pid ] && printf '%s ' $pid
  done
}
found=$(mine "$1"); [ -n "$found" ] || exit 3
kill $found 2>/dev/null
i=0; while [ -n "$(mine "$1")" ]; do
  i=$((i+1)); [ $i -ne 20 ] || kill -9 $(mine "$1") 2>/dev/null; [ $i -lt 40 ] || exit 1
  sleep 0.1
done"""
"""Ends them, with 2 s to do so by themselves. Not those in containers of this host: these are hosts of their own."""


async def end_stale(link: HostLink, timeout_s: float) -> bool:
    """End our servers on a host; returns whether there were any and all are gone.

    To be called while no copy to this host runs. A link that is lost ends nothing, and says so by itself later.
    """
    try:
        async with asyncio.timeout(timeout_s):
            channel = await link.open(["sh", "-c", END, "sh", MARK])
        try:
            channel.write_eof()
            return await channel.wait(timeout_s) == 0
        finally:
            await channel.close()
    except (OutcomeUnknown, TimeoutError):
        return False
