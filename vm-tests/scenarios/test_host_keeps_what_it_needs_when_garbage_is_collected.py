"""Garbage is collected on the host at the worst moments: what a trial or its way back needs is still there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from lab.deputy import TIMES, Deputy, planted
from lab.system.rig import Rig

from fleetd.errors import OrderRefused
from fleetd.model.facts import HelperState as S

pytest_plugins = ["lab.system.fixtures"]
pytestmark = [
    pytest.mark.lab,
    pytest.mark.filterwarnings("ignore:Exception ignored in. .function Popen.__del__"),
]
COLLECT = "nix-env -p /nix/var/nix/profiles/system --delete-generations old; nix-collect-garbage -d"


@pytest.fixture
def deputy(rig: Rig) -> Iterator[Deputy]:
    with Deputy(rig.host) as made:
        yield made


def is_valid(rig: Rig, system: str) -> bool:
    """Whether a system is in the host's store."""
    return rig.host.inside("nix-store", "--check-validity", system, check=False).returncode == 0


def test_a_collection_in_a_trial_leaves_both_systems(rig: Rig, deputy: Deputy) -> None:
    new = rig.install(rig.good("v2"))
    assert deputy.trial(new).state is S.TRIAL
    rig.shell(COLLECT)
    assert (is_valid(rig, rig.old), is_valid(rig, new)) == (True, True)
    assert deputy.revert().state is S.REVERTED
    assert (rig.current, rig.page()) == (rig.old, "greeting v1")


def test_a_collection_after_the_commit_leaves_the_last_good_system(rig: Rig, deputy: Deputy) -> None:
    new = rig.install(rig.good("v2"))
    deputy.trial(new)
    assert deputy.commit().state is S.COMMITTED
    rig.shell(COLLECT)
    assert (is_valid(rig, rig.old), is_valid(rig, new)) == (True, True)
    assert deputy.trial(rig.old, times=TIMES).state is S.TRIAL
    assert deputy.commit().state is S.COMMITTED
    assert deputy.facts().boot_default == rig.old


def test_the_helper_of_a_trial_outlives_a_collection(rig: Rig, deputy: Deputy) -> None:
    new = rig.install(rig.good("v2"))
    deputy.trial(new)
    rig.shell("rm -f /nix/var/nix/gcroots/fleetd/helper; " + COLLECT)
    rig.shell("systemctl kill -s KILL 'fleetd-guard-*'")
    assert deputy.until(S.REVERTED, S.STRANDED).state is S.REVERTED


def test_without_its_root_a_system_would_be_collected_after_the_commit(rig: Rig) -> None:
    """The protection taken out: the way back to the last good system is gone the night after."""
    rootless = planted(
        'root_committed() { root current "${M[new]}" && root last-good "${M[old]}" && sync "$ROOTS"; }',
        'root_committed() { rm -f "$ROOTS"/*; }',
    )
    with Deputy(rig.host, helper=rootless) as deputy:
        new = rig.install(rig.good("v2"))
        deputy.trial(new)
        assert deputy.commit().state is S.COMMITTED
        # What booted is a root as well; the night after, that is the new system.
        rig.host.reboot()
        rig.host.wait_ready()
        rig.shell(COLLECT)
        assert not is_valid(rig, rig.old)
        with pytest.raises(OrderRefused, match="not valid"):
            deputy.trial(rig.old)
