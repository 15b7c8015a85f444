"""Builds on a host what it has the derivation of: for systems that the control node cannot or should not build."""

from __future__ import annotations

import asyncio
import math

from fleetd.errors import OutcomeUnknown, PushError, SourceError
from fleetd.model.build import Told, untold
from fleetd.model.fleet import Host
from fleetd.model.store_path import StorePath
from fleetd.nix.commands import WATCHED
from fleetd.nix.internal_json import BuildWatch
from fleetd.ports import ByteChannel, HostPort

GRACE_S = 60
"""A Nix that was told to end ends its builders first; one that is killed leaves them running."""

SCRIPT = f"""
set -u
place=$1
if ! mkdir -p "$place" 2>/dev/null || ! [ -w "$place" ]; then
  place=${{XDG_STATE_HOME:-$HOME/.local/state}}/fleetd/roots
  mkdir -p "$place" || exit 1
fi
exec 3<&0
timeout -k {GRACE_S} "$5" \\
  nix-store --realise "$2" --add-root "$place/$3" --indirect {" ".join(WATCHED)} 2>&1 </dev/null 3<&- &
build=$!
{{
  timeout $(($5 + 1)) cat <&3
  while kill -0 "$build"; do kill -s TERM -- "-$build"; sleep 1; done
}} >/dev/null 2>&1 &
watch=$!
wait "$build"; status=$?
kill "$watch" 2>/dev/null
[ $status = 0 ] || exit $status
[ "$(readlink "$place/$3")" = "$4" ] || {{ echo "it built $(readlink "$place/$3"), and not $4"; exit 1; }}
sync "$place"
"""
"""Builds a derivation and roots the result (directory of roots, derivation, name, what it is, seconds at most).

Ends when its input does: a build that nobody waits for any longer would go on for hours. Where the link dies without a
word the host's own limit ends it. Nix is told to end once a second, until it has: one that is told between its look at
that and its wait for builders sleeps on (``Worker::waitForInput``, src/libstore/build/worker.cc), would be
killed in the end, and leave a builder behind that nobody ends. ``timeout`` passes on only the first word, so its group
is told. Runs as the deploy user, as ``push`` does, with roots where that has them.
"""

ROOT_DIRECTORY = "/nix/var/nix/gcroots/fleetd"
LINK_TIMEOUT_S = 60.0
END_S = 30.0
"""What a build that is over may take to say how it ended."""

TIMED_OUT, NOT_FOUND, SIGNAL = 124, (126, 127), 128
"""Exit codes of ``timeout`` and of a shell."""

FULL = ("No space left on device", "disk is full", "Disk quota exceeded")
"""SQLite says "database or disk is full"."""


class TargetBuilder:
    """The port ``TargetBuilder`` over the hosts' own ssh connections."""

    def __init__(self, hosts: HostPort, root_directory: str = ROOT_DIRECTORY) -> None:
        self._hosts = hosts
        self._root_directory = root_directory

    async def build(
        self,
        host: Host,
        derivation: StorePath,
        toplevel: StorePath,
        *,
        root: str,
        timeout_s: float,
        told: Told = untold,
    ) -> None:
        """Build ``toplevel`` on the host and root it there under the name ``root``; a repeat goes on where it stopped.

        Raises SourceError in the words of the host's Nix, PushError for what is no fault of the derivation (``lost``,
        ``disk-full``, ``no-nix``), HostError when there is no connection.
        """
        watch = BuildWatch(told)
        cause: TimeoutError | None = None
        words = [self._root_directory, derivation, root, toplevel, str(math.ceil(timeout_s))]
        try:
            async with asyncio.timeout(timeout_s) as limit:
                link = await self._hosts.link(host, timeout_s=LINK_TIMEOUT_S)
                channel = await link.open(["sh", "-c", SCRIPT, "sh", *words])
                try:
                    status = await _follow(channel, watch)
                finally:
                    await channel.close()
        except TimeoutError as error:
            if not limit.expired():
                raise
            status, cause = TIMED_OUT, error
        except OutcomeUnknown as error:
            # What was built stays built: the next try begins there.
            raise PushError("lost", f"{host.name}: the link was lost while the host built: {error}") from error
        watch.close()
        if status != 0:
            raise _failure(host, derivation, status, watch.message(), timeout_s) from cause


async def _follow(channel: ByteChannel, watch: BuildWatch) -> int:
    """Hear a build to its end, and return how it ended. Raises OutcomeUnknown when the link dies."""
    while piece := await channel.read(64 * 1024):
        watch.feed(piece)
    return await channel.wait(END_S)


def _failure(host: Host, derivation: StorePath, status: int, said: str, timeout_s: float) -> SourceError | PushError:
    """Return what a status other than 0 means."""
    if any(word in said for word in FULL):
        return PushError("disk-full", f"{host.name}: its disk is full (it said: {said})")
    if status in NOT_FOUND:
        return PushError("no-nix", f"{host.name}: there is no nix-store, or no timeout, on its PATH (it said: {said})")
    what = f"{derivation} does not build on {host.name}"
    if status == TIMED_OUT:
        return SourceError(
            f"{what}: it did not end within {timeout_s:g} s" + (f"; it said last:\n{said}" if said else "")
        )
    if status > SIGNAL:
        return PushError("lost", f"{host.name}: the build was killed (signal {status - SIGNAL}); it said last:\n{said}")
    return SourceError(f"{what}: {said or f'nix-store ended with {status} and said nothing'}")
