"""The closure of what a host runs, as the host's own Nix describes it: for systems that the control node never had."""

from __future__ import annotations

import asyncio
import json
from graphlib import CycleError

from fleetd.errors import OutcomeUnknown, ToplevelError
from fleetd.model.store_path import StorePath
from fleetd.nix import commands
from fleetd.nix.path_info import NotValid, ordered, parse_path_infos
from fleetd.ports import HostLink, PathInfo
from fleetd.process import OUTPUT_LIMIT_BYTES, excerpt, plain


async def closure_on(link: HostLink, path: StorePath, *, timeout_s: float) -> tuple[PathInfo, ...]:
    """Return a closure, references first. Raises ToplevelError when the host does not have it, OutcomeUnknown."""
    channel = await link.open(commands.path_info(path))
    try:
        channel.write_eof()
        printed = bytearray()
        async with asyncio.timeout(timeout_s):
            while piece := await channel.read(256 * 1024):
                printed += piece
                if len(printed) > OUTPUT_LIMIT_BYTES:
                    raise OutcomeUnknown(f"the host describes {path} with more than {OUTPUT_LIMIT_BYTES} bytes")
            status = await channel.wait(timeout_s)
    except TimeoutError as error:
        raise OutcomeUnknown(f"the host does not describe {path} within {timeout_s:g} s") from error
    finally:
        await channel.close()
    if status != 0:
        raise ToplevelError(f"{path} is not in the host's store: {excerpt(plain(channel.stderr_tail()), 500)}")
    try:
        return ordered(parse_path_infos(json.loads(printed)))
    except (NotValid, ValueError, KeyError, TypeError, CycleError, ToplevelError) as error:
        raise ToplevelError(f"{path}: the host's description of it cannot be understood: {error!r}") from error
