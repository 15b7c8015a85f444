"""A small machine under qemu: Debian's UEFI firmware, systemd-boot and kernel, and a guest that is one bash script.

Everything is emulated, so that no /dev/kvm is needed: a boot takes about ten seconds. What is needed comes as Debian
packages that are unpacked into a cache and never installed: a boot loader that is installed here is this machine's own.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

from lab.errors import LabError
from lab.run import run

HERE = Path(__file__).parent
HELPER = HERE.parents[1] / "fleetd/host/helper/fleetd-host"
PACKAGES = ("ovmf", "systemd-boot", "systemd-boot-efi", "libsystemd-shared", "linux-image-cloud-amd64")
MODULES = ("virtio_pci", "virtio_blk", "nls_cp437", "nls_ascii", "nls_iso8859-1", "vfat", "efivarfs")
"""In the order in which they are loaded, each after what it needs."""

PROGRAMS = (
    *(
        "bash",
        "base64",
        "cat",
        "cut",
        "grep",
        "head",
        "insmod",
        "ln",
        "ls",
        "mkdir",
        "mount",
        "mv",
        "readlink",
        "rm",
        "sed",
    ),
    *("sleep", "sort", "stat", "sync", "tail", "tr", "umount", "uname"),
)
BOOT_S = 150
"""Ten times what a boot takes here when nothing else runs."""

PARTITION_MIB = 96
KERNEL_PARAMETERS = "console=ttyS0 quiet loglevel=3 panic=1 net.ifnames=0"


def toplevel(number: int) -> str:
    """Return the system of a generation."""
    return f"/nix/store/{str(number % 10) * 32}-nixos-system-web1-{number}"


def entry(number: int) -> str:
    """Return a boot entry as NixOS writes it."""
    return (
        f"title NixOS\nsort-key nixos\nversion Generation {number} NixOS 26.05, built on 2026-11-24\n"
        f"linux /EFI/nixos/kernel.efi\ninitrd /EFI/nixos/initrd.efi\n"
        f"options init={toplevel(number)}/init {KERNEL_PARAMETERS}\n"
    )


def unpack(cache: Path) -> Path:
    """Return a directory with the packages in it, fetched the first time. Raises LabError."""
    tree = cache / "tree"
    if (cache / "complete").exists():
        return tree
    shutil.rmtree(cache, ignore_errors=True)
    tree.mkdir(parents=True)
    said = run("apt-cache", "depends", "--no-recommends", "--no-suggests", PACKAGES[-1]).stdout
    kernel = re.search(r"Depends: (linux-image-\S+)", said)
    if kernel is None:
        raise LabError(f"apt knows no kernel behind {PACKAGES[-1]}: {said}")
    # apt writes where it is called from.
    fetch = ["sh", "-c", 'cd "$0" && exec apt-get download -q "$@"', str(cache), *PACKAGES[:-1], kernel[1]]
    run(*fetch, timeout_s=300)
    for package in cache.glob("*.deb"):
        run("dpkg-deb", "-x", package, tree, timeout_s=120)
    (cache / "complete").touch()
    return tree


class Machine:
    """One machine: its boot partition and its EFI variables live in files, from boot to boot."""

    def __init__(self, place: Path, tree: Path) -> None:
        self._place = place
        self._image = place / "esp.img"
        self._variables = place / "variables.fd"
        firmware = tree / "usr/share/OVMF"
        self._code = firmware / "OVMF_CODE_4M.fd"
        shutil.copy(firmware / "OVMF_VARS_4M.fd", self._variables)
        with self._image.open("wb") as image:
            image.truncate(PARTITION_MIB << 20)
        self._mtools("mformat", "-F", "-v", "ESP", "::")
        for directory in ("EFI", "EFI/BOOT", "EFI/nixos", "loader", "loader/entries"):
            self._mtools("mmd", f"::/{directory}")
        self._copy(tree / "usr/lib/systemd/boot/efi/systemd-bootx64.efi", "EFI/BOOT/BOOTX64.EFI")
        (kernel,) = (tree / "boot").glob("vmlinuz-*")
        self._copy(kernel, "EFI/nixos/kernel.efi")
        self._copy(guest(place, tree, kernel.name.removeprefix("vmlinuz-")), "EFI/nixos/initrd.efi")

    def put(self, path: str, text: str) -> None:
        """Write a file of the boot partition, while the machine is off."""
        file = self._place / "file"
        file.write_text(text)
        self._copy(file, path)

    def remove(self, path: str) -> None:
        """Remove a file of the boot partition."""
        self._mtools("mdel", f"::/{path}")

    def list_systems(self, *numbers: int, default: str) -> None:
        """Let the boot menu have these generations, and its configuration this default line."""
        for number in numbers:
            self.put(f"loader/entries/nixos-generation-{number}.conf", entry(number))
        self.put("loader/loader.conf", f"timeout 0\n{default}console-mode keep\n")

    def boot(self, script: str = "", *, dies_at: str = "") -> dict[str, str]:
        """Boot, run a script of bash in the guest, and return what it has answered.

        With ``dies_at`` the power goes as soon as the console says that. Raises LabError when it does not end in time.
        """
        self.put("test.sh", script)
        console = self._place / "console"
        with console.open("wb") as out:
            child = subprocess.Popen(self._words(), stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        try:
            end = time.monotonic() + BOOT_S
            while child.poll() is None:
                if dies_at and dies_at in _text(console):
                    child.send_signal(signal.SIGKILL)
                elif time.monotonic() > end:
                    raise LabError(f"the machine does not end its boot: {_text(console)[-2000:]}")
                time.sleep(0.05)
        finally:
            child.kill()
            child.wait(10)
        answers = dict(re.findall(r"@@ (\w+)=([^\r\n]*)", _text(console)))
        if not dies_at and "end" not in answers and "panic" not in script:
            raise LabError(f"the guest did not come to its end: {_text(console)[-2000:]}")
        return answers

    def _words(self) -> list[str]:
        flash = "if=pflash,format=raw,unit"
        return [
            *("qemu-system-x86_64", "-machine", "q35", "-accel", "tcg", "-cpu", "max", "-m", "512", "-nodefaults"),
            *("-display", "none", "-serial", "stdio", "-no-reboot", "-net", "none"),
            *("-drive", f"{flash}=0,readonly=on,file={self._code}", "-drive", f"{flash}=1,file={self._variables}"),
            *("-drive", f"if=virtio,format=raw,file={self._image}"),
        ]

    def _copy(self, file: Path, path: str) -> None:
        self._mtools("mcopy", "-o", str(file), f"::/{path}")

    def _mtools(self, program: str, *words: str) -> None:
        run(program, "-i", self._image, *words, env={**os.environ, "MTOOLS_SKIP_CHECK": "1"})


def _text(console: Path) -> str:
    return console.read_bytes().decode(errors="replace")


def guest(place: Path, tree: Path, release: str) -> Path:
    """Make the guest's initial file system; return its file."""
    root = place / "guest"
    for directory in ("bin", "proc", "sys", "dev", "modules.d"):
        (root / directory).mkdir(parents=True)
    shutil.copy(HERE / "guest.sh", root / "init")
    (root / "init").chmod(0o755)
    shutil.copy(HELPER, root / "fleetd-host")
    shared = tree / "usr/lib" / f"{platform.machine()}-linux-gnu" / "systemd"
    for program in PROGRAMS:
        found = shutil.which(program, path="/usr/bin:/bin:/usr/sbin:/sbin")
        if found is None:
            raise LabError(f"this machine has no {program}")
        _bring(Path(found).resolve(), root, program, shared)
    _bring(tree / "usr/bin/bootctl", root, "bootctl", shared)
    names = [_bring_module(root, tree, release, module) for module in MODULES]
    (root / "modules").write_text("\n".join(dict.fromkeys(name for some in names for name in some)) + "\n")
    archive = place / "initrd"
    listing = "\0".join(str(path.relative_to(root)) for path in [root, *sorted(root.rglob("*"))])
    with archive.open("wb") as out:
        words = ["cpio", "--quiet", "--null", "-o", "-H", "newc"]
        subprocess.run(words, cwd=root, input=listing.encode(), stdout=out, timeout=60, check=True)
    return archive


def _bring(program: Path, root: Path, name: str, shared: Path) -> None:
    """Copy a program with the libraries that it needs."""
    shutil.copy(program, root / "bin" / name)
    said = run("ldd", program, env={**os.environ, "LD_LIBRARY_PATH": str(shared)}).stdout
    for line in re.findall(r"(?:=> )?(/\S+) \(0x", said):
        library = Path(line)
        # What is unpacked is found beside all others.
        target = root / (f"lib/{library.name}" if shared in library.parents else line.lstrip("/"))
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, target)


def _bring_module(root: Path, tree: Path, release: str, module: str) -> list[str]:
    """Copy a kernel module with those that it needs; return where they are in the guest, in order."""
    run("depmod", "-b", tree, release)
    said = run("modprobe", "-d", tree, "-S", release, "--show-depends", module).stdout
    places = []
    for file in re.findall(r"^insmod (\S+)", said, re.MULTILINE):
        shutil.copy(file, root / "modules.d")
        places.append(f"/modules.d/{Path(file).name}")
    return places
