"""One stream over several ssh channels, for hosts that are far away.

A channel carries 2 MiB per round trip, whatever the line could carry. So the stream is dealt out in stripes, each with
its length before it and a mark behind it, to several channels in turn, and put together again on the host, by a shell
and its fifos. A stripe without its mark was cut, and nothing is joined behind it. (To divide the paths among several
servers loses: one would wait for what another has not yet registered.)
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence

from fleetd.ports import ByteChannel, HostLink

STRIPES = 4
"""150 MB/s at 50 ms; sshd allows ten sessions at a time (MaxSessions), and the daemon needs some beside these."""

STRIPE_BYTES = 1024 * 1024
"""Half a channel's window: the next stripe is on its way while the host still takes the last one."""

OPEN_TIMEOUT_S = 5.0

# Nothing in it blocks for ever: a lost connection ends each `cat`, that ends what reads from it, and so on to the
# server; a server that ends takes the rest with it. Only a fifo whose `cat` never came would hold it up: the end of
# stdin opens all, for a second.
REJOIN = r"""set -u; umask 077; place=$1; count=$2; shift 2
mkdir "$place" || exit 1
watch='' loop=''
end() {
  kill $watch $loop; wait $watch $loop
  rm -rf "$place" || { sleep 1; rm -rf "$place"; }  # a late stripe may have made a file where its fifo was
}
trap 'end 2>/dev/null' EXIT
mkfifo "$place/joined" || exit 1
i=0; while [ $i -lt $count ]; do mkfifo "$place/$i" || exit 1; i=$((i+1)); done
exec 9<&0
{
  while read -r _ <&9; do :; done
  i=0; while [ $i -lt $count ]; do eval "exec $((i+3))<>\"\$place/$i\"" || exit; i=$((i+1)); done; sleep 1
} >/dev/null 2>&1 &
watch=$!
{
  i=0; while [ $i -lt $count ]; do eval "exec $((i+3))<\"\$place/$i\""; i=$((i+1)); done
  i=0
  while read -r size <&$((i+3)); do
    dd bs="$size" count=1 iflag=fullblock status=none <&$((i+3)) && read -r end <&$((i+3)) && [ "$end" = . ] || break
    i=$(((i+1) % count))
  done
} >"$place/joined" 2>/dev/null 9<&- &
loop=$!
"$@" <"$place/joined" 9<&-
"""
"""Directory, number of stripes, and the command that reads the joined stream."""

STRIPE = r"""i=0; until [ -p "$1" ]; do i=$((i+1)); [ $i -le 100 ] || exit 1; sleep 0.1; done; exec cat >"$1" """
"""Brings what comes to a fifo, once that is there."""


class StripedChannel:
    """A command on a host whose input comes over several channels; a ``ByteChannel``."""

    def __init__(self, main: ByteChannel, stripes: Sequence[ByteChannel], stripe_bytes: int) -> None:
        self._main = main
        self._stripes = stripes
        self._stripe_bytes = stripe_bytes
        self._turn = 0
        self._pending: list[bytes] = []
        self._pending_bytes = 0

    @classmethod
    async def open(
        cls, link: HostLink, argv: Sequence[str], count: int = STRIPES, stripe_bytes: int = STRIPE_BYTES
    ) -> StripedChannel:
        """Start a command. Raises OutcomeUnknown when the link is lost."""
        # Nobody can make it first who does not know the name, and it is for its owner alone.
        place = f"/tmp/fleetd-{secrets.token_hex(16)}"  # noqa: S108
        words = [["sh", "-c", REJOIN, "sh", place, str(count), *argv]]
        words += [["sh", "-c", STRIPE, "sh", f"{place}/{number}"] for number in range(count)]
        opening = [asyncio.ensure_future(link.open(command)) for command in words]
        try:
            main, *stripes = await asyncio.gather(*opening)
        except BaseException:
            await close_opening(opening)
            raise
        return cls(main, stripes, stripe_bytes)

    async def read(self, most: int) -> bytes:
        """Return what the command answers."""
        return await self._main.read(most)

    def write(self, data: bytes) -> None:
        """Queue bytes."""
        self._pending.append(data)
        self._pending_bytes += len(data)

    async def drain(self) -> None:
        """Send every whole stripe that is queued, and wait until less than one is left."""
        if self._pending_bytes < self._stripe_bytes:
            return
        data = memoryview(b"".join(self._pending))
        whole = len(data) - len(data) % self._stripe_bytes
        for first in range(0, whole, self._stripe_bytes):
            channel = self._stripes[self._turn]
            await channel.drain()
            self._send(bytes(data[first : first + self._stripe_bytes]))
        self._pending = [bytes(data[whole:])]
        self._pending_bytes = len(data) - whole

    def _send(self, stripe: bytes) -> None:
        channel = self._stripes[self._turn]
        self._turn = (self._turn + 1) % len(self._stripes)
        channel.write(b"%d\n%b.\n" % (len(stripe), stripe))

    def write_eof(self) -> None:
        """Send what is left, and end the input of the command."""
        if self._pending_bytes:
            self._send(b"".join(self._pending))
            self._pending, self._pending_bytes = [], 0
        for channel in self._stripes:
            channel.write_eof()

    def stderr_tail(self) -> str:
        """Return the last of what the command said."""
        return self._main.stderr_tail()

    async def wait(self, timeout_s: float) -> int:
        """Return the command's exit status."""
        return await self._main.wait(timeout_s)

    async def close(self) -> None:
        """Let go of all channels."""
        await asyncio.gather(*(channel.close() for channel in (self._main, *self._stripes)))


async def close_opening(opening: Sequence[asyncio.Future[ByteChannel]]) -> None:
    """Let go of channels that are open or about to be; one that does not open in time is left to the link's end."""
    opened, late = await asyncio.wait(opening, timeout=OPEN_TIMEOUT_S)
    for one in late:
        one.cancel()
    await asyncio.gather(*(one.result().close() for one in opened if not one.cancelled() and not one.exception()))
