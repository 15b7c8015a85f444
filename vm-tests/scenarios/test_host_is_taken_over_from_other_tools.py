"""Hosts that another tool deployed last, with the layout that it leaves: the first trial is one like any other."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from lab.deputy import Deputy, planted
from lab.system.rig import Rig

from fleetd.errors import OrderRefused
from fleetd.model.facts import HelperState as S

pytest_plugins = ["lab.system.fixtures"]
pytestmark = [
    pytest.mark.lab,
    pytest.mark.filterwarnings("ignore:Exception ignored in. .function Popen.__del__"),
]
PROFILE = "/nix/var/nix/profiles/system"
WRAP = """set -eu; d=$(mktemp -d)/activatable-nixos-system-web1-v1; mkdir $d
for part in {old}/*; do ln -s $part $d/; done; echo '#!/bin/sh' >$d/deploy-rs-activate
nix-store --add $d"""


@pytest.fixture
def deputy(rig: Rig) -> Iterator[Deputy]:
    with Deputy(rig.host) as made:
        yield made


def like_deploy_rs(rig: Rig) -> str:
    """A wrapper in the profile; no generation is the one that the loader was called for, so no `default` line."""
    wrapper = rig.shell(WRAP.format(old=rig.old))
    rig.profile(wrapper)
    rig.shell("sed -i '/^default/d' /boot/loader/loader.conf")
    return wrapper


def like_comin(rig: Rig) -> str:
    """A profile of its own, whose newest system runs and boots; the system profile stays where it was."""
    other = rig.install(rig.good("v2"))
    rig.shell(f"mkdir -p /nix/var/nix/profiles/system-profiles; nix-env -p {PROFILE}-profiles/comin --set {other}")
    entry = "/boot/loader/entries/nixos-comin-generation-1.conf"
    rig.shell(f"sed 's|init={rig.old}/|init={other}/|' /boot/loader/entries/nixos-generation-1.conf >{entry}")
    rig.shell("sed -i 's/^default .*/default nixos-comin-generation-1.conf/' /boot/loader/loader.conf")
    assert rig.switch(other).returncode == 0
    return other


def like_nixos_rebuild(rig: Rig) -> str:
    """`--set`, and then `switch`: what colmena, morph and a person do as well."""
    other = rig.install(rig.good("v2"))
    rig.profile(other)
    assert rig.switch(other, "switch").returncode == 0
    return other


def is_committed(deputy: Deputy, new: str) -> None:
    assert deputy.commit().state is S.COMMITTED
    facts = deputy.facts()
    assert (facts.current, facts.profile, facts.boot_default) == (new, new, new)


def test_after_nixos_rebuild_or_colmena(rig: Rig, deputy: Deputy) -> None:
    runs = like_nixos_rebuild(rig)
    facts = deputy.facts()
    assert (facts.current, facts.profile, facts.boot_default) == (runs, runs, runs)
    new = rig.install(rig.good("v3"))
    assert deputy.trial(new).state is S.TRIAL
    is_committed(deputy, new)


def test_after_deploy_rs(rig: Rig, deputy: Deputy) -> None:
    like_deploy_rs(rig)
    facts = deputy.facts()
    assert (facts.current, facts.profile, facts.boot_default) == (rig.old, rig.old, rig.old)
    new = rig.install(rig.good("v2"))
    assert deputy.trial(new).state is S.TRIAL
    is_committed(deputy, new)


def test_a_first_trial_after_deploy_rs_is_taken_back_whole(rig: Rig, deputy: Deputy) -> None:
    wrapper = like_deploy_rs(rig)
    new = rig.install(rig.good("v2"))
    assert deputy.trial(new).state is S.TRIAL
    assert deputy.revert().state is S.REVERTED
    assert rig.current == rig.old
    assert rig.host.readlink(PROFILE) in (wrapper, rig.old)
    rig.host.reboot()
    rig.host.wait_ready()
    assert rig.current == rig.old


def test_after_comin_what_runs_is_adopted_first(rig: Rig, deputy: Deputy) -> None:
    runs = like_comin(rig)
    new = rig.install(rig.good("v3"))
    with pytest.raises(OrderRefused) as caught:
        deputy.trial(new)
    assert caught.value.code == "unsettled"
    assert deputy.trial(runs).state is S.TRIAL
    is_committed(deputy, runs)
    assert deputy.trial(new).state is S.TRIAL
    is_committed(deputy, new)


def test_without_looking_into_the_wrapper_deploy_rs_hosts_would_be_refused(rig: Rig) -> None:
    """The protection taken out."""
    like_deploy_rs(rig)
    new, blind = rig.install(rig.good("v2")), planted("|| REPLY=$runs\n}", "|| true\n}")
    with Deputy(rig.host, helper=blind) as deputy, pytest.raises(OrderRefused, match="profile"):
        deputy.trial(new)
