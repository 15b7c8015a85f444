"""An older journal is restored: `fleetd recover` finds by looking what it does not know, in a rollout and after it."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest
from lab import system as systems
from lab.control import Control, policy_with
from lab.scene import Scene

pytestmark = pytest.mark.lab

NAMES = ["web1", "web2"]


def back_up(control: Control, to: Path) -> None:
    """Take a backup while fleetd runs, as docs/operations.md says."""
    to.mkdir()
    source = sqlite3.connect(control.directory / "state" / "journal.sqlite")
    target = sqlite3.connect(to / "journal.sqlite")
    with closing(source), closing(target):
        source.backup(target)


def restore(control: Control, backup: Path) -> None:
    """Lose the state directory, and put the backup in its place."""
    shutil.rmtree(control.directory / "state")
    shutil.copytree(backup, control.directory / "state")


def recovered(control: Control, *words: str) -> subprocess.CompletedProcess[str]:
    return control.fleetd("recover", *words)


def test_a_journal_of_before_a_rollout_is_recovered_after_it(scene: Scene, tmp_path: Path) -> None:
    hosts = scene.hosts(*NAMES)
    control = scene.control(NAMES)
    second, third = (scene.build(systems.good, NAMES, version) for version in ("v2", "v3"))
    assert control.deploy(second).returncode == 0
    back_up(control, tmp_path / "backup")
    assert control.deploy(third).returncode == 0
    assert "another fleetd" in recovered(control, "--dry-run").stderr
    control.stop()
    restore(control, tmp_path / "backup")

    looked = recovered(control, "--dry-run")
    assert looked.returncode == 0, looked.stderr
    for host in hosts:
        assert f"was left with {third[host.name]} by r-2.{host.name}.1" in looked.stdout
        assert "which this journal never gave" in looked.stdout
    done = recovered(control)
    assert (done.returncode, done.stderr) == (0, "")
    control.start()
    for host in hosts:
        assert scene.runs(host) == (third[host.name],) * 3, "nothing was done to a host that stands still"
        known = control.host(host.name)
        assert (known["wanted"], known["drifted"]) == (third[host.name], False)
    name = control.deploy_detached(scene.build(systems.good, NAMES, "v4"))
    assert name == "r-101"
    assert control.wait_final(name)["phase"] == "succeeded"
    assert control.deploy(third).returncode == 0


def test_a_journal_that_was_lost_whole_in_a_rollout_is_begun_anew(scene: Scene, tmp_path: Path) -> None:
    """One host is committed by then, the other in trial, and the new journal knows of neither."""
    first, other = scene.hosts(*NAMES)
    before = scene.runs(other)
    control = scene.control(NAMES, policy=policy_with(healthy_deadline="60s", min_healthy="30s", contact_timeout="50s"))
    new = scene.build(systems.good, NAMES, "v2")
    name = control.deploy_detached(new)
    control.wait_for(name, "web2", "trial")
    control.kill()
    shutil.rmtree(control.directory / "state")

    looked = recovered(control, "--dry-run")
    assert f"activation {name}.web2.1 that this journal does not know is trial" in looked.stdout
    done = recovered(control)
    assert (done.returncode, done.stderr) == (0, "")
    assert scene.runs(other) == before
    assert (scene.record(other, "state"), scene.record(other, "by")) == ("reverted", "order")
    assert scene.page(other) == "greeting v1"
    assert scene.runs(first) == (new["web1"],) * 3
    control.start()
    assert control.host("web1")["wanted"] == new["web1"]
    assert control.host("web2")["wanted"] == before[0]
    again = control.deploy_detached(scene.build(systems.good, NAMES, "v3"))
    assert control.wait_final(again)["phase"] == "succeeded"


def test_a_journal_of_the_middle_of_a_rollout_is_recovered_in_it_and_after_it(scene: Scene, tmp_path: Path) -> None:
    """The backup says that a host is in trial; that was committed since, and the rollout has ended."""
    hosts = scene.hosts(*NAMES)
    control = scene.control(NAMES)
    new = scene.build(systems.good, NAMES, "v2")
    name = control.deploy_detached(new)
    control.wait_for(name, "web2", "trial")
    back_up(control, tmp_path / "backup")
    assert control.wait_final(name)["phase"] == "succeeded"
    control.stop()
    restore(control, tmp_path / "backup")

    done = recovered(control)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{name}: was ended, phase needs-operator" in done.stdout
    control.start()
    shown = control.rollout(name)
    assert shown["phase"] == "needs-operator"
    assert shown["hosts"]["web2"]["state"] == "committed", "as the host itself says"
    for host in hosts:
        assert scene.runs(host) == (new[host.name],) * 3
        assert scene.switches(host) == 1
    after = control.deploy_detached(scene.build(systems.good, NAMES, "v3"))
    assert control.wait_final(after)["phase"] == "succeeded"


def test_a_host_that_is_cut_off_is_not_known_until_it_answers(scene: Scene, tmp_path: Path) -> None:
    first, other = scene.hosts(*NAMES)
    control = scene.control(NAMES)
    assert control.deploy(scene.build(systems.good, NAMES, "v2")).returncode == 0
    back_up(control, tmp_path / "backup")
    third = scene.build(systems.good, NAMES, "v3")
    assert control.deploy(third).returncode == 0
    control.stop()
    restore(control, tmp_path / "backup")
    other.cut()
    done = recovered(control)
    assert done.returncode == 5
    assert "web2: not known" in done.stdout
    other.heal()
    control.start()
    # It holds a fence that the journal never gave: nothing is started there.
    fourth = scene.build(systems.good, NAMES, "v4")
    shown = control.wait_final(control.deploy_detached(fourth))
    assert (shown["hosts"]["web2"]["state"], shown["hosts"]["web2"]["kind"]) == ("deferred", "newer-controller")
    assert scene.runs(other) == (third["web2"],) * 3
    assert scene.runs(first) == (fourth["web1"],) * 3
    control.stop()
    assert recovered(control).returncode == 0
    control.start()
    assert control.wait_final(control.deploy_detached(fourth))["phase"] == "succeeded"
    assert scene.runs(other) == (fourth["web2"],) * 3
