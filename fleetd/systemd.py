"""What systemd is told of a daemon: that it is ready, that it is about to end, and that it still turns."""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import suppress

NOTIFY_WAIT_S = 5.0
"""That it is ready, or about to end, is worth a wait: systemd would end a daemon that it takes for hung."""


def notify(state: str, wait_s: float = NOTIFY_WAIT_S) -> None:
    """Tell systemd, where it asked to be told (sd_notify(3)).

    Its queue is full while it does not read, as in a long reload: then this waits ``wait_s`` seconds and gives up.
    """
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel, suppress(OSError):
        channel.settimeout(wait_s)
        channel.connect("\0" + address[1:] if address.startswith("@") else address)
        channel.sendall(state.encode())


async def watchdog() -> None:
    """Tell systemd that the event loop turns, twice as often as it wants to hear it (sd_watchdog_enabled(3))."""
    limit_us = os.environ.get("WATCHDOG_USEC", "")
    while limit_us.isdecimal() and int(limit_us) > 0:
        # Without waiting: a systemd that is busy must not stop the loop that keeps trials alive.
        notify("WATCHDOG=1", wait_s=0)
        await asyncio.sleep(int(limit_us) / 1e6 / 2)
