"""What may not be named is neither evaluated nor rolled out."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleetd.controller.commands import SubmitRollout
from fleetd.errors import RefusedError
from tests.controller.rig import controlling


@pytest.mark.asyncio
async def test_a_reference_that_is_not_allowed_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    (tmp_path / "fleet.toml").write_text("[hosts.web1]\n")
    async with controlling(tmp_path, allowed=("path:/srv/infra",)) as intake:
        request = SubmitRollout("kim", revision="path:/tmp/evil")
        for asked in (intake.submit, intake.plan, intake.difference):
            with pytest.raises(RefusedError, match="none of the references"):
                await asked(request)
        accepted = await intake.submit(SubmitRollout("kim", revision="path:/srv/infra"))
        assert accepted.rollout == "r-1"
