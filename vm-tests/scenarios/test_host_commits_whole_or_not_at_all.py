"""Whatever dies in a commit, the host ends committed or as before, and always with a bootable old entry until then."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from lab import system as systems
from lab.deputy import TIMES, Deputy, planted
from lab.system.rig import Rig

from fleetd.errors import OrderRefused
from fleetd.model.facts import HelperState as S
from fleetd.model.order import Verb

pytest_plugins = ["lab.system.fixtures"]
pytestmark = [
    pytest.mark.lab,
    pytest.mark.filterwarnings("ignore:Exception ignored in. .function Popen.__del__"),
]
QUICK = replace(TIMES, commit_timeout_s=10)


@pytest.fixture
def deputy(rig: Rig) -> Iterator[Deputy]:
    with Deputy(rig.host) as made:
        yield made


def begin(rig: Rig, deputy: Deputy, system: systems.System) -> str:
    """Bring the host into the commit of a system; return it."""
    new = rig.install(system)
    assert deputy.trial(new, times=QUICK).state is S.TRIAL
    deputy.send(deputy.write(Verb.COMMIT), fresh=True)
    return new


def is_back(rig: Rig, deputy: Deputy) -> None:
    """The commit was undone, and the host is as it was."""
    status = deputy.until(S.REVERTED, S.COMMITTED, S.STRANDED)
    assert status.state is S.REVERTED, status
    facts = deputy.facts()
    assert (facts.current, facts.profile, facts.boot_default) == (rig.old, rig.old, rig.old)
    rig.until(lambda: rig.page() == "greeting v1")


def is_committed(rig: Rig, deputy: Deputy, new: str) -> None:
    """The commit was finished."""
    status = deputy.until(S.REVERTED, S.COMMITTED, S.STRANDED)
    assert status.state is S.COMMITTED, status
    facts = deputy.facts()
    assert (facts.current, facts.profile, facts.boot_default) == (new, new, new)


def profile_moved(rig: Rig, new: str) -> None:
    """Wait until the first step of the commit is done."""
    rig.until(lambda: rig.host.readlink("/nix/var/nix/profiles/system") == new, timeout_s=30)


def test_a_commit_reaches_profile_and_boot_default_and_survives_a_reboot(rig: Rig, deputy: Deputy) -> None:
    new = begin(rig, deputy, rig.good("v2"))
    is_committed(rig, deputy, new)
    rig.host.reboot()
    rig.host.wait_ready()
    rig.until(lambda: rig.page() == "greeting v2")
    assert (rig.current, rig.booted) == (new, new)


@pytest.mark.parametrize(
    ("fault", "words"),
    [("boot-loader", "failed on purpose"), ("boot-fail-between", "failed on purpose"), ("boot-die-between", "Killed")],
)
def test_an_installer_that_fails_or_dies_is_undone_and_its_words_are_told(
    rig: Rig, deputy: Deputy, fault: str, words: str
) -> None:
    begin(rig, deputy, rig.good("v2").with_fault(fault))
    is_back(rig, deputy)
    status = deputy.status()
    assert words in status.message
    assert words in status.log.partition("== profile and boot loader")[2]


def test_an_installer_that_hangs_is_undone_at_the_deadline_of_the_commit(rig: Rig, deputy: Deputy) -> None:
    begin(rig, deputy, rig.good("v2").with_fault("boot-sleep", 40))
    is_back(rig, deputy)
    assert deputy.status().by == "guard"


@pytest.mark.parametrize("how", ["kill -9 $(systemctl show -p MainPID --value {})", "systemctl kill -s KILL {}"])
def test_a_commit_that_is_killed_between_its_steps_is_undone(rig: Rig, deputy: Deputy, how: str) -> None:
    new = begin(rig, deputy, rig.good("v2").with_fault("boot-sleep", 6))
    profile_moved(rig, new)
    rig.shell(how.format("'fleetd-commit-*'"))
    is_back(rig, deputy)


def test_a_commit_whose_guard_is_killed_is_undone_at_once(rig: Rig, deputy: Deputy) -> None:
    new = begin(rig, deputy, rig.good("v2").with_fault("boot-sleep", 6))
    profile_moved(rig, new)
    rig.shell("systemctl kill -s KILL 'fleetd-guard-*'")
    is_back(rig, deputy)


def test_a_commit_goes_on_when_its_ssh_session_is_killed(rig: Rig, deputy: Deputy) -> None:
    new = begin(rig, deputy, rig.good("v2").with_fault("boot-sleep", 3))
    rig.shell("pkill -9 -f '[s]shd-session: root|[s]shd: root' || true")
    is_committed(rig, deputy, new)


def test_power_lost_between_the_steps_is_undone(rig: Rig, deputy: Deputy) -> None:
    new = begin(rig, deputy, rig.good("v2").with_fault("boot-sleep", 6))
    profile_moved(rig, new)
    rig.host.power_cycle()
    rig.host.wait_ready()
    assert rig.current == rig.old
    deputy.facts()
    is_back(rig, deputy)


def test_power_lost_right_after_the_last_step_is_finished_or_undone(rig: Rig, deputy: Deputy) -> None:
    new = begin(rig, deputy, rig.good("v2"))
    rig.until(lambda: rig.boot_default == new, timeout_s=30)
    rig.host.power_cycle()
    rig.host.wait_ready()
    deputy.facts()
    is_committed(rig, deputy, new)


def test_a_boot_partition_without_room_is_refused_before_anything_is_cleaned_up(rig: Rig, deputy: Deputy) -> None:
    entries = rig.entries()
    huge = replace(rig.good("v2"), kernel="6.12.99", kernel_kib=4096)
    new = rig.install(huge)
    rig.host.fill_disk(6 << 20)
    with pytest.raises(OrderRefused, match=r"need \d+ bytes more .* \d+ are free") as caught:
        deputy.trial(new)
    rig.host.unfill()
    assert caught.value.code == "boot-full"
    assert (rig.current, rig.boot_default, rig.entries()) == (rig.old, rig.old, entries)


def test_without_reading_back_an_undone_loader_would_be_called_committed(rig: Rig) -> None:
    """The protection taken out: the installer fails, and the host claims to be committed."""
    blind = planted(
        '|| { WHY="the boot loader could not be installed"; return 1; }', "; BOOT_DEFAULT=; sync_boot; return 0"
    )
    with Deputy(rig.host, helper=blind) as deputy:
        begin(rig, deputy, rig.good("v2").with_fault("boot-loader"))
        status = deputy.until(S.REVERTED, S.COMMITTED, S.STRANDED)
        assert (status.state, rig.boot_default) == (S.COMMITTED, rig.old)


def test_without_the_undo_the_profile_would_stay_new(rig: Rig) -> None:
    """The protection taken out: the host runs the old system, and its next boot is one that nobody proved."""
    careless = planted('  undo_default "$id" || loader=failed\n', "")
    with Deputy(rig.host, helper=careless) as deputy:
        new = begin(rig, deputy, rig.good("v2").with_fault("boot-loader"))
        deputy.until(S.REVERTED, S.COMMITTED, S.STRANDED)
        assert (rig.current, rig.host.readlink("/nix/var/nix/profiles/system")) == (rig.old, new)
