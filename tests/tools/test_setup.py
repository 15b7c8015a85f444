"""``tools/setup`` on machines that lack something: a fake PATH decides what this machine is and has."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

SETUP = Path(__file__).parents[2] / "tools/setup"
REAL = ("bash", "cat", "chmod", "cut", "dirname", "env", "mkdir", "mktemp", "rm", "sha256sum", "tail", "touch")
"""What the script itself needs of any machine."""
WITH_LAB = ("debootstrap", "systemd-nspawn", "nft", "ip", "ssh")
EVERYTHING = ("git", "nix-store", "shellcheck", *WITH_LAB)
VENV = """
case "$1" in
-c) case "$2" in *version_info*) exit "${OLD_PYTHON:-0}" ;; *) exit 0 ;; esac ;;
--version) echo Python 3.10.9 ;;
-m)
  mkdir -p .venv/bin
  cat > .venv/bin/pip <<'END'
#!/bin/sh
echo "pip $*" >> calls
echo "pip cannot reach anything" >&2
exit "${PIP_FAILS:-0}"
END
  cat > .venv/bin/python <<'END'
#!/bin/sh
echo "python $*" >> calls
END
  chmod +x .venv/bin/pip .venv/bin/python
  ;;
esac
"""


class Machine:
    """A machine with a checkout of the project, on which only some programs exist."""

    def __init__(self, place: Path) -> None:
        self.project = place / "project"
        self._bin = place / "bin"
        (self.project / "tools").mkdir(parents=True)
        self._bin.mkdir()
        shutil.copy(SETUP, self.project / "tools/setup")
        for name in ("pyproject.toml", "constraints.txt"):
            (self.project / name).write_text("")
        for name in REAL:
            (self._bin / name).symlink_to(str(shutil.which(name)))
        self.has("uname", "echo Linux")
        self.has("id", "echo 1000")
        self.has("python3", VENV)

    def has(self, name: str, does: str = "exit 0") -> None:
        """Give the machine a program."""
        program = self._bin / name
        program.write_text(f"#!{shutil.which('sh')}\n{does}\n")
        program.chmod(0o755)

    def setup(self, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run tools/setup there."""
        return subprocess.run(
            [str(self.project / "tools/setup"), *words],
            env={"PATH": str(self._bin), **env},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def calls(self) -> list[str]:
        """Return what was called of what leaves a trace."""
        file = self.project / "calls"
        return file.read_text().splitlines() if file.exists() else []

    @property
    def is_untouched(self) -> bool:
        """Whether nothing was made yet."""
        return not (self.project / ".venv").exists() and not self.calls()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.fixture
def whole(machine: Machine) -> Machine:
    """A machine that has all packages."""
    for name in EVERYTHING:
        machine.has(name)
    return machine


def test_another_system_than_linux_is_told_what_to_use(whole: Machine) -> None:
    whole.has("uname", "echo Darwin")
    done = whole.setup()
    assert done.returncode == 1
    assert "needs Linux, and this is Darwin" in done.stderr
    assert whole.is_untouched


def test_the_lab_without_root_is_refused_before_anything_is_made(whole: Machine) -> None:
    done = whole.setup("--lab")
    assert done.returncode == 1
    assert "the lab needs root" in done.stderr
    assert "make test-unit" in done.stderr
    assert whole.is_untouched


def test_a_user_without_root_is_told_which_packages_are_missing(machine: Machine) -> None:
    machine.has("apt-get", "echo apt-get >> calls")
    done = machine.setup()
    assert done.returncode == 1
    assert "missing: git nix-bin shellcheck" in done.stderr
    assert "sudo apt-get install git nix-bin shellcheck" in done.stderr
    assert machine.is_untouched


def test_a_machine_without_apt_is_told_which_packages_are_missing(machine: Machine) -> None:
    machine.has("id", "echo 0")
    done = machine.setup("--lab")
    assert done.returncode == 1
    assert "there is no apt-get here" in done.stderr
    assert "without the lab, make test-unit needs only git, nix-store and shellcheck" in done.stderr
    for package in ("nix-bin", "shellcheck", "debootstrap", "systemd-container", "nftables", "iproute2"):
        assert package in done.stderr
    assert machine.is_untouched


def test_a_user_without_root_needs_no_root_where_nothing_is_missing(whole: Machine) -> None:
    assert whole.setup().returncode == 0
    assert len(whole.calls()) == 1, "pip, once"
    again = whole.setup()
    assert again.returncode == 0
    assert again.stderr == "", "nothing to do, and nothing to say"
    assert len(whole.calls()) == 1


def test_changed_requirements_are_installed(whole: Machine) -> None:
    whole.setup()
    (whole.project / "constraints.txt").write_text("something==2\n")
    whole.setup()
    assert len(whole.calls()) == 2


def test_root_with_the_lab_installs_what_is_missing_and_builds_the_base(machine: Machine) -> None:
    machine.has("id", "echo 0")
    machine.has("apt-get", 'echo "apt-get $*" >> calls')
    done = machine.setup("--lab")
    assert done.returncode == 0, done.stderr
    update, install, pip, base = machine.calls()
    assert update.startswith("apt-get update")
    assert "git nix-bin shellcheck debootstrap systemd-container nftables iproute2 openssh-client" in install
    assert pip.startswith("pip install")
    assert base == "python -m lab base"
    assert "installing git nix-bin" in done.stderr


@pytest.mark.parametrize("verb", ["update", "install"])
def test_packages_that_cannot_be_downloaded_are_told_with_apts_own_words(machine: Machine, verb: str) -> None:
    machine.has("id", "echo 0")
    machine.has("apt-get", f'[ "$1" != {verb} ] || {{ echo "E: Failed to fetch it: $1" >&2; exit 100; }}')
    done = machine.setup()
    assert done.returncode == 1
    assert f"E: Failed to fetch it: {verb}" in done.stderr
    assert "run this again when the cause is gone" in done.stderr
    assert machine.is_untouched


def test_python_packages_that_cannot_be_downloaded_are_told_and_tried_again(whole: Machine) -> None:
    done = whole.setup(PIP_FAILS="1")
    assert done.returncode == 1
    assert "installing Python packages failed" in done.stderr
    assert "pip cannot reach anything" in done.stderr
    assert whole.setup().returncode == 0
    assert len(whole.calls()) == 2, "the failed one is not taken for done"


def test_an_old_python_is_named(whole: Machine) -> None:
    done = whole.setup(OLD_PYTHON="1")
    assert done.returncode == 1
    assert "python3 is Python 3.10.9, and fleetd needs Python 3.11 or newer" in done.stderr
    assert whole.is_untouched
