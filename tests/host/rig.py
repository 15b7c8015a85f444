"""The helper in a private root: the real bash program, with everything that it calls in the test's hands.

systemd, Nix, the boot loader and ``switch-to-configuration`` are small programs that do what files in ``control/``
say, and by default what the real ones do when all is well. Nothing runs by itself: a started unit is a file, and the
test lets it run, one step at a time. Every durable write passes ``sync``, so ``die_at`` and ``full_from`` count those.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fleetd.host.wire import Reply, encode_order, parse_reply
from fleetd.model.order import Order

HELPER = Path(__file__).parents[2] / "fleetd" / "host" / "helper" / "fleetd-host"
MACHINE_ID = "0123456789abcdef0123456789abcdef"
HOST = "web1"
STEP_TIMEOUT_S = 60
"""No step of the helper may wait this long for anything that a test can do to it."""

STILL_GUARDING = 99
"""How a guard that was asked for one round says that it would go on."""


def toplevel(name: str) -> str:
    """Return the store path of a system of the host: ``name`` is one letter or digit."""
    return f"/nix/store/{name * 32}-nixos-system-{HOST}-{name}"


SYSTEMCTL = r"""#!/usr/bin/env bash
C=CONTROL
[ ! -e "$C/systemd-is-silent" ] || exit 1
printf '%s\n' "systemctl $*" >>"$C/log"
words=()
for word; do case $word in --no-block | -q) ;; *) words+=("$word") ;; esac; done
set -- "${words[@]}"
INVOCATIONS
case $1 in
start)
  kind=${2#fleetd-}
  case $2 in
  fleetd-*) ;;
  *)
    [ ! -e "$C/refuse-other" ] || exit 1
    grep -qx "$2" "$C/active" && exit 0
    echo "$2" >>"$C/active"
    begin "$2"
    exit 0 ;;
  esac
  [ ! -e "$C/refuse-${kind%%-*}" ] || exit 1
  [ -e "$C/../run/systemd/system/$2" ] || exit 5
  : >"$C/units/$2" ;;
restart) grep -qx "$2" "$C/active" || echo "$2" >>"$C/active"; begin "$2" ;;
stop) [ -e "$C/stop-is-lost" ] || { rm -f "$C/units/$2"; sed -i "/^$2\$/d" "$C/active"; } ;;
show)
  case $* in
  *TriggeredBy*) cat "$C/triggers-${*: -1}" 2>/dev/null ;;
  *MainPID*) cat "$C/pids-${*: -1}" 2>/dev/null; exit 0 ;;
  *) for u; do [[ $u != *.* ]] || printf 'Id=%s\nInvocationID=%s\n\n' "$u" "$(invocation "$u")"; done ;;
  esac ;;
kill) rm -f "$C/units/${*: -1}" ;;
is-active) if [ -e "$C/units/$2" ] || grep -qx "$2" "$C/active"; then echo active; else echo inactive; exit 3; fi ;;
is-system-running) cat "$C/is-system-running" ;;
list-units)
  case $* in
  *--state=failed*) cat "$C/failed" ;;
  *) types=${2#--type=}; grep -E "\.(${types//,/|})\$" "$C/active" || true ;;
  esac ;;
list-jobs) [ ! -e "$C/jobs" ] || cat "$C/jobs" ;;
cancel) ;;
reboot) printf '%s\n' "$*" >>"$C/reboots" ;;
esac
"""

# The helper leads its session; what `timeout` runs has a process group of its own.
DIE = r"""#!/usr/bin/env bash
die() {
  read -r stat <"/proc/$$/stat"
  set -- ${stat##*) }
  kill -KILL -- "-$4"
  kill -KILL 0
}
"""

# Counts what is made durable: at the chosen write the whole process group dies, or the disk is full from there on.
SYNC = (
    DIE
    + r"""
C=CONTROL
read -r n <"$C/writes"
n=$((n + 1))
echo "$n" >"$C/writes"
if [ -e "$C/die-at" ]; then read -r at <"$C/die-at"; [ "$n" != "$at" ] || die; fi
if [ -e "$C/full-from" ]; then read -r from <"$C/full-from"; [ "$n" -lt "$from" ] || exit 1; fi
exit 0
"""
)

# Each call takes one line of what was ordered for it; without one it does the whole of its work.
NEXT = (
    DIE
    + r"""
C=CONTROL
next() { # NAME: the next line ordered for it
  how=
  [ -e "$C/$1" ] || return 0
  { read -r how; rest=$(cat); } <"$C/$1"
  if [ -n "$rest" ]; then printf '%s\n' "$rest" >"$C/$1"; else rm "$C/$1"; fi
}
"""
)

SWITCH = (
    NEXT
    + r"""
me=$(readlink -f "${0%/*}/..")
printf '%s\n' "stc ${me##*-} $1" >>"$C/log"
umask >>"$C/umasks"
runs() { before=$(readlink "$C/../run/current-system"); ln -sfn "$1" "$C/../run/current-system"; }
INVOCATIONS
# What the real one does about units: those that differ end, and those that the new system has begin.
settle() {
  : >"$C/failed"
  ran=$(cat "$C/active")
  printf 'sshd.service\nweb.service\n' >"$C/active"
  for file in "$me"/etc/systemd/system/*; do
    unit=${file##*/} old=$before/etc/systemd/system
    grep -qx "$unit" "$C/active" || echo "$unit" >>"$C/active"
    cmp -s "$file" "$old/$unit" || case $unit in
    *.path) [ -e "$old/$unit" ] || begin "$unit" ;; # a changed one is left alone
    *.socket) # and so is this, unless its service runs and is stopped
      service=${unit%.socket}.service new=$me/etc/systemd/system
      if [ ! -e "$old/$unit" ]; then begin "$unit"; fi
      if grep -qx "$service" <<<"$ran" && ! cmp -s "$new/$service" "$old/$service"; then begin "$unit"; fi ;;
    *) begin "$unit" ;;
    esac
  done
}
lists=$C/../run/nixos
case $1 in
test)
  next switch
  case $how in
  refuse-*) exit "${how#*-}" ;;
  cut-die) runs "$me"; echo web.service >"$lists/start-list"; die ;;
  cut-*) runs "$me"; echo web.service >"$lists/start-list"; exit "${how#*-}" ;;
  down) echo web.service >"$C/down"; sed -i '/web.service/d' "$C/active"; exit 1 ;;
  broken) runs "$me"; rm -f "$lists"/*-list; echo bad.service >>"$C/failed"; exit 4 ;;
  lame) runs "$me"; rm -f "$lists"/*-list; sed -i '/web.service/d' "$C/active"; exit 0 ;;
  warn) runs "$me"; rm -f "$lists"/*-list; exit 4 ;;
  deaf) runs "$me"; rm -f "$lists"/*-list; exit 0 ;; # systemd heard none of it, and nobody noticed
  deaf-socket) runs "$me"; rm -f "$lists"/*-list; begin web.service; exit 0 ;;
  die) runs "$me"; die ;;
  die-early) die ;;
  die-late) runs "$me"; rm -f "$lists"/*-list; settle; die ;;
  unlinked) rm "$C/../run/current-system"; exit 137 ;;
  die-in-activation) echo "${me##*-}" >"$C/etc"; die ;;
  foreign) runs "$C/../nix/store/xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx-nixos-system-web1-x" ;;
  *) runs "$me"; rm -f "$lists"/*-list; echo "${me##*-}" >"$C/etc"; settle ;;
  esac ;;
dry-activate)
  next dry
  echo "would restart the following units: web.service" >&2
  exit "${how:-0}" ;;
boot)
  next loader
  case $how in
  fail) exit 1 ;;
  collected) rm -f "$C"/../nix/var/nix/profiles/system-*-link; exit 1 ;;
  die) die ;;
  lie) exit 0 ;;
  garble)
    if [ -d "$C/../boot/extlinux" ]; then
      sed -i 's/^DEFAULT .*/DEFAULT x/' "$C/../boot/extlinux/extlinux.conf"
      exit 0
    fi ;;
  fill-disk) echo 0 >"$C/full-from" ;;
  taken-back) for state in "$C"/../nix/var/fleetd-host/*/state; do echo undoing >"$state"; done ;;
  esac
  init=${me#"$(readlink -f "$C/..")"}/init
  if [ -d "$C/../boot/loader" ]; then
    rm -f "$C"/../boot/loader/entries/*
    root=$(readlink -f "$C/..")
    for listed in "$(readlink -f "$C/../nix/var/nix/profiles/system")" "$me"; do
      [ "$how" != unlisted ] || [ "$listed" = "$me" ] || continue
      printf 'options init=%s/init\n' "${listed#"$root"}" >"$root/boot/loader/entries/nixos-${listed##*-}.conf"
    done
    printf 'default nixos-%s.conf\n' "${me##*-}" >"$C/../boot/loader/loader.conf"
    [ "$how" != garble ] || echo 'default x.conf' >"$C/../boot/loader/loader.conf"
  else printf 'DEFAULT d\nLABEL d\nAPPEND init=%s quiet\n' "$init" >"$C/../boot/extlinux/extlinux.conf"; fi
  [ "$how" != die-after ] || die ;;
esac
exit 0
"""
)

NIX_ENV = (
    NEXT
    + r"""
case " $* " in
*" --delete-generations "*)
  [ ! -e "$C/keeps-generations" ] || exit 1
  for word; do case $word in [0-9]*) rm -f "$C/../nix/var/nix/profiles/system-$word-link" ;; esac; done
  exit 0 ;;
esac
printf '%s\n' "nix-env ${*: -1}" >>"$C/log"
next profile
case $how in
fail) exit 1 ;;
die) die ;;
lie) exit 0 ;;
collected) if flock -n "$C/../nix/var/nix/profiles/system.lock" true; then
    ln -sfn system-2-link "$C/../nix/var/nix/profiles/system" # which the collector has just taken away
    exit 0
  fi ;;
esac
ln -sfn "$C/..${*: -1}" "$C/../nix/var/nix/profiles/system"
[ "$how" != die-after ] || die
"""
)

ONE_SHOT = "sys/firmware/efi/efivars/LoaderEntryOneShot-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"

BOOTCTL = r"""#!/usr/bin/env bash
C=CONTROL
printf '%s\n' "bootctl $*" >>"$C/log"
[ ! -e "$C/bootctl-fails" ] || exit 1
[ ! -e "$C/bootctl-lies" ] || exit 0
if [ -z "$2" ]; then rm -f "$C/../ONE_SHOT"; exit 0; fi
{ printf '\7\0\0\0'; printf '%s' "$2" | sed 's/./&\x00/g'; printf '\0\0'; } >"$C/../ONE_SHOT"
""".replace("ONE_SHOT", ONE_SHOT)

# In a file of efivarfs nobody can seek, and `tail` does.
TAIL = r"""#!/usr/bin/env bash
for word; do case $word in */efivars/*) echo "tail: $word: Illegal seek" >&2; exit 1 ;; esac; done
exec /usr/bin/tail "$@"
"""

NIX_STORE = r"""#!/usr/bin/env bash
case $1 in
--check-validity) [ -e "CONTROL/..$2" ] ;;
--query) echo sha256:0000000000000000000000000000000000000000000000000000 ;;
--version) echo "nix-store (Nix) 2.26.3" ;;
esac
"""

IP = r"""#!/usr/bin/env bash
cat CONTROL/route
"""

# What the units of an activation wrote: a file for each kind of unit.
JOURNALCTL = r"""#!/usr/bin/env bash
[ ! -e CONTROL/journal-hangs ] || exec /bin/sleep 1000
for word; do
  case $word in *fleetd-*) word=${word#*fleetd-}; cat "CONTROL/journal-${word%%-*}" 2>/dev/null ;; esac
done
exit 0
"""

# Each start of a unit has a number of its own.
INVOCATIONS = r"""
invocation() { cat "$C/invocation-$1" 2>/dev/null || echo 1; }
begin() { echo $(($(invocation "$1") + 1)) >"$C/invocation-$1"; }
"""

STUBS = {
    "systemctl": SYSTEMCTL,
    "sync": SYNC,
    "nix-env": NIX_ENV,
    "bootctl": BOOTCTL,
    "nix-store": NIX_STORE,
    "tail": TAIL,
    "ip": IP,
    "sleep": "#!/bin/sh\n",
    "wall": "#!/bin/sh\nprintf '%s\\n' \"$1\" >CONTROL/wall.tmp && mv CONTROL/wall.tmp CONTROL/wall\n",
    "logger": "#!/bin/sh\n",
    "journalctl": JOURNALCTL,
}


@dataclass(frozen=True, slots=True)
class Shown:
    """What the host is, read off its disk: nothing here is the helper's word."""

    state: str
    id: str
    fence: str
    deadline: str
    current: str
    profile: str
    boot_default: str
    boot_id: str
    units: frozenset[str]


class Died(Exception):
    """The step was killed before it ended."""


class Rig:
    """One host in a directory, that ran ``system`` since it was made."""

    def __init__(self, root: Path, *systems: str, helper: str | None = None) -> None:
        self.root = root.resolve()
        self.control = self.root / "control"
        self.boots = 1
        for place in ("nix/var/nix/profiles", "etc", "run/systemd/system", "run/nixos", "boot/extlinux", "tmp"):
            (self.root / place).mkdir(parents=True)
        for place in ("control/units", "bin"):
            (self.root / place).mkdir(parents=True)
        (self.root / "etc/machine-id").write_text(MACHINE_ID + "\n")
        self.set("boot-id", "boot-1")
        self.set("uptime", "1000.25 0.00")
        self.set("writes", "0")
        self.set("is-system-running", "running")
        self.set("failed", "")
        self.set("active", "sshd.service\nweb.service")
        self.set("route", "default via 10.0.0.1 dev host0")
        for name, text in STUBS.items():
            self._program(self.root / "bin" / name, text)
        for system in systems:
            self._make(toplevel(system))
        self.helper = self.root / "fleetd-host"
        self._program(self.helper, HELPER.read_text() if helper is None else helper)
        Path(f"{self.helper}.testing").write_text(
            f"R={self.root}\nBOOT_ID_FILE={self.control}/boot-id\nUPTIME_FILE={self.control}/uptime\n"
            f"VOLATILE_OK=1 ONCE={STILL_GUARDING} SETTLE_TRIES=0 SILENCE_S=0\n"
        )
        first = toplevel(systems[0])
        self.point("run/current-system", first)
        self.point("run/booted-system", first)
        self.point("nix/var/nix/profiles/system", first)
        self.set_boot_default(first)

    # -- the world ----------------------------------------------------------------------------------------------

    def set(self, name: str, text: str) -> None:
        """Write a file that the stubs read."""
        (self.control / name).write_text(text + "\n" if text else "")

    def clear(self, *names: str) -> None:
        """Forget what was ordered."""
        for name in names:
            (self.control / name).unlink(missing_ok=True)

    def log(self) -> list[str]:
        """Return every call of a program that has an effect, oldest first."""
        log = self.control / "log"
        return log.read_text().splitlines() if log.exists() else []

    def forget_log(self) -> None:
        """Begin the log anew."""
        self.clear("log")

    @property
    def now(self) -> int:
        """Whole seconds on the host's boot clock."""
        return int((self.control / "uptime").read_text().split(".")[0])

    @property
    def boot_id(self) -> str:
        """The boot that the host is in."""
        return (self.control / "boot-id").read_text().strip()

    def pass_time(self, seconds: int) -> None:
        """Let the boot clock run."""
        self.set("uptime", f"{self.now + seconds}.25 0.00")

    def point(self, link: str, system: str) -> None:
        """Let a link of the host name a system."""
        place = self.root / link
        place.unlink(missing_ok=True)
        place.symlink_to(f"{self.root}{system}")

    def generation(self, number: int, system: str, *, days: float = 100) -> None:
        """Let the profile have a generation that is so old."""
        place = self.root / f"nix/var/nix/profiles/system-{number}-link"
        place.unlink(missing_ok=True)
        place.symlink_to(f"{self.root}{system}")
        made = time.time() - days * 86400
        os.utime(place, (made, made), follow_symlinks=False)

    def generations(self) -> list[int]:
        """Return the numbers of the profile's generations."""
        links = (self.root / "nix/var/nix/profiles").glob("system-*-link")
        return sorted(int(link.name.split("-")[1]) for link in links)

    def set_boot_default(self, system: str) -> None:
        """Write the boot loader's file."""
        if self.loader_conf.exists():
            name = system.rpartition("-")[2]
            (self.root / f"boot/loader/entries/nixos-{name}.conf").write_text(f"options init={system}/init\n")
            self.loader_conf.write_text(f"default nixos-{name}.conf\n")
            return
        text = f"DEFAULT d\nLABEL d\nAPPEND init={system}/init quiet\n"
        (self.root / "boot/extlinux/extlinux.conf").write_text(text)

    @property
    def loader_conf(self) -> Path:
        """What systemd-boot reads first; not there on a host with another boot loader."""
        return self.root / "boot/loader/loader.conf"

    def use_systemd_boot(self) -> None:
        """Have a boot loader that can start a system once."""
        default = self.shown().boot_default
        shutil.rmtree(self.root / "boot/extlinux")
        for place in ("boot/loader/entries", "sys/firmware/efi/efivars"):
            (self.root / place).mkdir(parents=True)
        self.loader_conf.touch()
        self.set_boot_default(default)

    @property
    def chosen_once(self) -> str:
        """The boot entry that the next boot starts, once."""
        place = self.root / ONE_SHOT
        return place.read_bytes()[4:].decode("utf-16-le").rstrip("\0") if place.exists() else ""

    def guard_boots(self, *systems: str) -> None:
        """Let systems bring the guard of a reboot."""
        for system in systems:
            self.declare(system, "fleetd-boot.service", "[Service]\n")

    def kernel(self, system: str, text: str) -> None:
        """Let a system have kernel parameters of its own: only a boot can bring them."""
        Path(f"{self.root}{toplevel(system)}/kernel-params").write_text(text)

    def declare(self, system: str, unit: str, text: str) -> None:
        """Let a system say something else of a unit, or have one more."""
        Path(f"{self.root}{toplevel(system)}/etc/systemd/system/{unit}").write_text(text)

    def invocation(self, unit: str) -> int:
        """How often a unit has begun."""
        place = self.control / f"invocation-{unit}"
        return int(place.read_text()) if place.exists() else 1

    def active(self) -> list[str]:
        """Units that are active."""
        return (self.control / "active").read_text().split()

    def garble_loader(self) -> None:
        """Make the boot loader's file one that names no entry of its own."""
        file = self.root / "boot/extlinux/extlinux.conf"
        file.write_text(file.read_text().replace("DEFAULT d", "DEFAULT x"))

    def reboot(self, starts: str = "") -> None:
        """Lose power and start what the boot loader says, or what a person chooses there."""
        entry = self.chosen_once
        starts = starts or (self._entry(entry) if entry else self.shown().boot_default)
        (self.root / ONE_SHOT).unlink(missing_ok=True)
        self.boots += 1
        self.set("boot-id", f"boot-{self.boots}")
        for place in (self.control / "units", self.root / "run/systemd/system", self.root / "run/nixos"):
            shutil.rmtree(place)
            place.mkdir()
        self.set("failed", "")
        self.set("active", "sshd.service\nweb.service")
        self.point("run/current-system", starts)
        self.point("run/booted-system", starts)

    def boot_service(self) -> None:
        """Do what fleetd-boot.service does in the system that was booted."""
        self._run(self.helper, "boot")

    def reboots(self) -> list[str]:
        """Return every reboot that was asked for."""
        place = self.control / "reboots"
        return place.read_text().splitlines() if place.exists() else []

    def kill_unit(self, kind: str) -> None:
        """End a unit from outside; when the guard ends, systemd starts the revert."""
        name = self.unit(kind)
        (self.control / "units" / name).unlink(missing_ok=True)
        if kind == "guard":
            self.start_unit("revert")

    def start_unit(self, kind: str) -> None:
        """Do what systemd does by itself when a guard has ended."""
        name = self.unit(kind)
        if (self.root / "run/systemd/system" / name).exists():
            (self.control / "units" / name).touch()

    def unit(self, kind: str) -> str:
        """Return the unit's name for the active activation."""
        return f"fleetd-{kind}-{self._read('active')}.service"

    def shown(self) -> Shown:
        """Read the host."""
        active = self._read("active")
        units = {path.name for path in (self.control / "units").iterdir()}
        return Shown(
            state=self._read(f"{active}/state") or "idle" if active else "idle",
            id=active,
            fence=(self._read("fence") or "0.0").split()[0],
            deadline=self._read(f"{active}/deadline") if active else "",
            current=self._system("run/current-system"),
            profile=self._system("nix/var/nix/profiles/system"),
            boot_default=self._boot_default(),
            boot_id=self.boot_id,
            units=frozenset(name.split("-")[1] for name in units if name.endswith(f"-{active}.service")),
        )

    def _boot_default(self) -> str:
        if self.loader_conf.exists():
            return self._entry(self.loader_conf.read_text().split()[1])
        text = (self.root / "boot/extlinux/extlinux.conf").read_text()
        return text.split("init=")[1].split("/init ")[0]

    def _entry(self, name: str) -> str:
        place = self.root / "boot/loader/entries" / name
        return place.read_text().strip().removeprefix("options init=").removesuffix("/init") if place.exists() else ""

    def record(self, name: str) -> str:
        """Return a file of the active activation's record."""
        return self._read(f"{self._read('active')}/{name}")

    # -- the helper ---------------------------------------------------------------------------------------------

    def order(self, order: Order) -> Reply:
        """Send an order. Raises Died when the helper was killed before it answered."""
        return self.ask(order.verb.value, encode_order(order))

    def ask(self, verb: str, document: bytes = b"", extra: Mapping[str, str] | None = None) -> Reply:
        """Run the helper as the controller does; ``extra`` is more of the login's environment."""
        done = self._run(self.helper, verb, stdin=document, extra=extra)
        assert done.stderr == b"", done.stderr.decode()
        return parse_reply(done.stdout)

    def console(self, verb: str) -> bool:
        """Type a verb at the console; return whether it was done."""
        done = self._run(self.helper, verb)
        assert done.stderr == b"", done.stderr.decode()
        return done.returncode == 0

    def guard_looks(self) -> bool:
        """Let the guard make one round; return whether it goes on. When it ends, systemd starts the revert."""
        done = self._pinned("guard")
        if done.returncode == STILL_GUARDING:
            return True
        self.kill_unit("guard")
        return False

    def begin_switch(self) -> None:
        """Let the switch unit's program run. Raises Died."""
        self._pinned("do-switch")

    def run_switch(self, *, begins: bool = True, last_word: bool = True) -> None:
        """Let the switch unit run to its end, however that is; killed whole, it has no last word."""
        result = "success"
        try:
            if begins:
                self.begin_switch()
        except Died:
            result = "signal"
        if last_word:
            self._pinned("switch-post", {"SERVICE_RESULT": result, "EXIT_CODE": "killed", "EXIT_STATUS": "KILL"})
        self.kill_unit("switch")

    def run_commit(self) -> None:
        """Let the commit unit run to its end. Raises Died."""
        try:
            self._pinned("do-commit")
        finally:
            self.kill_unit("commit")

    def run_revert(self) -> None:
        """Let the revert unit run once; systemd starts it again when it fails. Raises Died."""
        if self._pinned("do-revert").returncode == 0:
            self.kill_unit("revert")

    def run_stage(self) -> None:
        """Let the stage unit run once; systemd starts it again when it fails or is killed. Raises Died."""
        if self._pinned("do-stage").returncode == 0:
            self.kill_unit("stage")

    def _pinned(self, verb: str, extra: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[bytes]:
        active = self._read("active")
        return self._run(self.root / f"nix/var/fleetd-host/{active}/fleetd-host", verb, active, extra=extra)

    def _run(
        self, program: Path, *words: str, stdin: bytes = b"", extra: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        environment = {"PATH": f"{self.root}/bin:{os.environ['PATH']}", "TMPDIR": f"{self.root}/tmp", **(extra or {})}
        done = subprocess.run(
            ["bash", program, *words],
            input=stdin,
            capture_output=True,
            env=environment,
            timeout=STEP_TIMEOUT_S,
            start_new_session=True,
            check=False,
        )
        if done.returncode < 0:
            raise Died(f"{words} was killed")
        return done

    def _read(self, name: str) -> str:
        place = self.root / "nix/var/fleetd-host" / name
        return place.read_text().strip() if place.is_file() else ""

    def _system(self, link: str) -> str:
        return str((self.root / link).resolve()).removeprefix(str(self.root))

    def _program(self, place: Path, text: str) -> None:
        place.write_text(text.replace("INVOCATIONS", INVOCATIONS).replace("CONTROL", str(self.control)))
        place.chmod(place.stat().st_mode | stat.S_IXUSR)

    def _make(self, system: str) -> None:
        place = Path(f"{self.root}{system}")
        (place / "bin").mkdir(parents=True)
        (place / "etc/systemd/system").mkdir(parents=True)
        for name in ("nixos-version", "init", "init-interface-version"):
            (place / name).write_text("1\n")
        (place / "system").write_text("x86_64-linux\n")
        (place / "switch-inhibitors").write_text('{"dbus-implementation":"dbus"}\n')
        for unit in ("sshd.service", "web.service"):
            (place / "etc/systemd/system" / unit).write_text("[Service]\n")
        self._program(place / "bin/switch-to-configuration", SWITCH)
