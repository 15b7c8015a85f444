"""What a failure may come from, told beside it: a comparison on the control node, for people."""

from __future__ import annotations

from fleetd.errors import FleetdError
from fleetd.ports import Blobs, Clock, Comparer
from fleetd.rollout import events as e
from fleetd.rollout.blame import TellChanges

LINE_CHARACTERS = 600
"""It becomes a record of the journal, and stands beside a reason."""


class Changes:
    """Compares the system that failed with the one before, keeps it in the host's log, and says it in a line."""

    def __init__(self, clock: Clock, comparer: Comparer, blobs: Blobs) -> None:
        self._clock = clock
        self._comparer = comparer
        self._blobs = blobs

    async def tell(self, asked: TellChanges) -> e.ChangesTold | None:
        """Return what differs; None where nothing does, or where one of the systems is not in the store here."""
        try:
            if await self._comparer.built(asked.old) is None or await self._comparer.built(asked.new) is None:
                return None
            line = await self._comparer.blame(asked.old, asked.new, asked.units)
        except FleetdError:
            return None  # nothing depends on it
        if not line:
            return None
        await self._blobs.add(asked.rollout, asked.host, f"== changed from {asked.old}\n{line}\n")
        return e.ChangesTold(self._clock.now(), asked.rollout, asked.host, line[:LINE_CHARACTERS])
