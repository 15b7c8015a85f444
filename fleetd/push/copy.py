"""One copy to one host over its connection: ask, send, root, verify; what it will need is opened while it waits.

Each step that waits for the host costs a round trip, and a channel two: over a far line they are most of a small copy.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine, Sequence
from contextlib import AsyncExitStack

from fleetd.errors import OutcomeUnknown, PushError
from fleetd.model.store_path import StorePath
from fleetd.ports import ByteChannel, HostLink, PathInfo, PushReport
from fleetd.push.archives import SharedArchives
from fleetd.push.bandwidth import Bandwidth
from fleetd.push.compress import CompressedChannel, decompressing
from fleetd.push.refusal import refusal
from fleetd.push.serve import ServerEnded
from fleetd.push.stripes import StripedChannel, close_opening
from fleetd.push.transfer import Progress, PushSettings, Transfer

ROOT_SCRIPT = """
set -eu
if grep -qsE '^[[:space:]]*min-free[[:space:]]*=[[:space:]]*[1-9]' /etc/nix/nix.conf; then echo unknown
else stat -f -c '%T %S %a %d' /nix/store || echo unknown; fi
read -r go || exit 0
place=$1
if mkdir -p "$place" 2>/dev/null && [ -w "$place" ]; then
  ln -sfn "$2" "$place/$3"
else
  place=${XDG_STATE_HOME:-$HOME/.local/state}/fleetd/roots
  mkdir -p "$place"
  case $2 in
    *.drv) nix-instantiate --add-root "$place/$3" --indirect --expr "import \"$2\"" >/dev/null ;;
    *) nix-store --realise "$2" --add-root "$place/$3" --indirect >/dev/null ;;
  esac
fi
sync "$place"
"""
"""Makes a root (directory, path, name) once it is told to, synced, so that it outlives a power cut.

Says first what the store's file system is and has free, which costs no round trip of its own; with ``min-free`` Nix
makes room while it copies, and how much there will be is unknown. Runs as the deploy user: one that is not root keeps
its roots in its home, which needs no privilege. The trial roots both systems as root. Its words come as arguments,
never as text: there is nothing to quote. To realise a derivation would build it, so that is rooted by instantiating it
anew, which gives the same.
"""

TIDY_SCRIPT = """
shift 2
for link in "$place"/*-next; do
  for live; do [ "${link##*/}" != "$live" ] || continue 2; done
  rm -f "$link"
done"""
"""After it: removes the roots of copies whose name is neither the one just made nor among the words that follow it."""


COMPRESSING = ("btrfs", "zfs", "bcachefs")
"""File systems that may take more than they have free, as ``stat -f`` names them: of them nobody knows what fits."""

ROOM_LINE_BYTES = 200


class Copy:
    """What one copy works with. ``live`` are the names of roots on the host that stay; None: all of them."""

    def __init__(
        self,
        host: str,
        link: HostLink,
        settings: PushSettings,
        archives: SharedArchives,
        slots: asyncio.Semaphore,
        bandwidth: Bandwidth,
        live: Collection[str] | None,
    ) -> None:
        self._host = host
        self._link = link
        self._settings = settings
        self._archives = archives
        self._slots = slots
        self._bandwidth = bandwidth
        self._live = live

    async def run(
        self,
        closure: Sequence[PathInfo],
        toplevel: StorePath,
        root: str,
        progress: Progress,
        *,
        substitute: bool,
        compress: bool,
    ) -> PushReport:
        """Bring a closure there and root its top. Raises PushError, OutcomeUnknown."""
        async with AsyncExitStack() as stack:
            rooting = self._soon(stack, self._open_root(toplevel, root))
            begun = asyncio.get_running_loop().time()
            channel = await self._open(stack)
            opened_s = asyncio.get_running_loop().time() - begun
            far = self._is_far(opened_s)
            beside = self._soon(stack, self._open_beside(far, compress)) if far or compress else None
            asked = Transfer(self._host, channel, self._settings, self._slots, self._bandwidth)
            try:
                missing = await asked.missing(closure, substitute=substitute)
                total = sum(info.nar_size for info in missing)
                progress(0, total)
                self._check_room(await self._room(await rooting) if missing else "", len(missing), total)
                if beside is not None and missing and (compress or total >= self._settings.striped_bytes):
                    await self._send_beside(await beside, missing, progress)
                elif missing:
                    with self._archives.in_use():
                        await asked.send(missing, self._archives, progress)
                await self._root(await rooting, root, asked, toplevel)
            except (ServerEnded, OutcomeUnknown) as error:
                raise await self._last_words(channel) from error
        return PushReport(len(missing), total)

    async def keep(self, toplevel: StorePath, root: str) -> bool:
        """Root what the host has already; returns whether it has it. Raises PushError, OutcomeUnknown."""
        async with AsyncExitStack() as stack:
            rooting = self._soon(stack, self._open_root(toplevel, root))
            channel = await self._open(stack)
            asked = Transfer(self._host, channel, self._settings, self._slots)
            try:
                if await asked.invalid([toplevel]):
                    return False
                await self._root(await rooting, root, asked, toplevel)
            except (ServerEnded, OutcomeUnknown) as error:
                raise await self._last_words(channel) from error
        return True

    # -- channels -------------------------------------------------------------------------------------------------

    def _soon(self, stack: AsyncExitStack, opening: Coroutine[None, None, ByteChannel]) -> asyncio.Future[ByteChannel]:
        """Open a channel meanwhile; it is closed at the end, used or not."""
        task = asyncio.ensure_future(self._in_time(opening))
        stack.push_async_callback(close_opening, [task])
        return task

    async def _open(self, stack: AsyncExitStack) -> ByteChannel:
        channel = await self._in_time(self._link.open(self._settings.server))
        stack.push_async_callback(channel.close)
        return channel

    async def _in_time(self, opening: Coroutine[None, None, ByteChannel]) -> ByteChannel:
        """Open a channel, bounded: a host that starts no command moves nothing, and nothing else would notice."""
        limit_s = self._settings.link_timeout_s
        try:
            async with asyncio.timeout(limit_s):
                return await opening
        except TimeoutError as error:
            raise PushError("lost", f"{self._host}: no command was started there within {limit_s:g} s") from error

    async def _open_beside(self, far: bool, compress: bool) -> ByteChannel:
        """Open a server of its own for what is sent; its input may come in stripes, compressed, or both."""
        argv = decompressing(self._settings.server) if compress else self._settings.server
        channel = await StripedChannel.open(self._link, argv) if far else await self._link.open(argv)
        return CompressedChannel(channel) if compress else channel

    async def _open_root(self, toplevel: StorePath, root: str) -> ByteChannel:
        script = ROOT_SCRIPT if self._live is None else ROOT_SCRIPT + TIDY_SCRIPT
        words = [self._settings.root_directory, toplevel, root, *(self._live or ())]
        return await self._link.open(["sh", "-c", script, "sh", *words])

    def _is_far(self, opened_s: float) -> bool:
        """Whether a round trip is long. To open a channel takes two, and a while to start a command."""
        known_s = self._link.round_trip_s()
        return (opened_s / 2 if known_s is None else known_s) >= self._settings.far_s

    async def _room(self, channel: ByteChannel) -> str:
        """Return the line that the host says of its store; it is short, and on its way since the copy began."""
        said = b""
        try:
            async with asyncio.timeout(self._settings.root_timeout_s):
                while (
                    b"\n" not in said and len(said) < ROOM_LINE_BYTES and (piece := await channel.read(ROOM_LINE_BYTES))
                ):
                    said += piece
        except TimeoutError as error:
            raise PushError("stalled", f"{self._host}: it does not say how much room its store has") from error
        return said.split(b"\n")[0].decode("ascii", "replace")

    def _check_room(self, said: str, paths: int, total: int) -> None:
        """See that what is missing fits, before any of it fills a disk that the host works with.

        What the host cannot say is no reason to refuse it. Raises PushError.
        """
        words = said.split()
        if len(words) != 4 or words[0] in COMPRESSING or not all(word.isdecimal() for word in words[1:]):
            return
        block, blocks, inodes = (int(word) for word in words[1:])
        if total > block * blocks:
            text = f"{paths} paths of {total} bytes are missing there, and /nix/store has {block * blocks} bytes free"
            raise PushError("disk-full", f"{self._host}: {text}")
        # A file system without a table of inodes says 0.
        if 0 < inodes < paths:
            text = f"{paths} paths are missing there, and /nix/store has {inodes} inodes free"
            raise PushError("disk-full", f"{self._host}: {text}")

    # -- steps ----------------------------------------------------------------------------------------------------

    async def _send_beside(self, channel: ByteChannel, infos: Sequence[PathInfo], progress: Progress) -> None:
        """Send over a server of its own; the one that was asked keeps the closure from being collected."""
        with self._archives.in_use():
            sending = Transfer(self._host, channel, self._settings, self._slots, self._bandwidth)
            try:
                await sending.send(infos, self._archives, progress, last=True)
            except (ServerEnded, OutcomeUnknown) as error:
                raise await self._last_words(channel) from error

    async def _root(self, channel: ByteChannel, root: str, asked: Transfer, toplevel: StorePath) -> None:
        """Make the root, and see that it holds: that the top is valid, and with it all that it needs.

        A collector reads the roots, and after them what servers hold (nix src/libstore/gc.cc, collectGarbage). One that
        read them before this root was made, and comes to the servers once this one has ended, would know of neither.
        So the top is asked for again: a collector that runs is told of it, and keeps it to its end; the next one sees
        the root.
        """
        where = f"{self._settings.root_directory}/{root}"
        try:
            channel.write(b"go\n")
            channel.write_eof()
            status = await channel.wait(self._settings.root_timeout_s)
            said = channel.stderr_tail().strip()[-500:]
        except OutcomeUnknown as error:
            text = f"{self._host}: it is not known whether the root {root} was made: {error}"
            raise PushError("lost", text) from error
        if status != 0:
            code = "disk-full" if "No space left" in said else "rejected"
            raise PushError(code, f"{self._host}: the root {where} cannot be made (exit {status}): {said}")
        if await asked.invalid([toplevel]):
            raise PushError("lost", f"{self._host}: {toplevel} is not valid there after the copy")

    async def _last_words(self, channel: ByteChannel) -> PushError:
        """Return why a server ended. Its stderr and status may arrive after the end of its answers."""
        status: int | None
        try:
            status = await channel.wait(self._settings.last_words_s)
        except OutcomeUnknown:
            status = None
        return refusal(self._host, channel.stderr_tail(), status)
