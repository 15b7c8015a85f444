"""What a host says of its own store."""

from __future__ import annotations

import pytest

from fleetd.errors import OutcomeUnknown
from fleetd.model.store_path import StorePath
from fleetd.nix.remote import closure_on
from tests.push.channel import FakeHosts, SaidChannel


@pytest.mark.asyncio
async def test_a_host_that_never_ends_its_description_is_not_waited_for() -> None:
    link, channel = FakeHosts({}), SaidChannel(b"[", hangs=True)
    link.instead = [channel]
    with pytest.raises(OutcomeUnknown, match=r"within 0\.1 s"):
        await closure_on(link, StorePath(f"/nix/store/{'1' * 32}-nixos-system-web1-1"), timeout_s=0.1)
    assert channel.closed
