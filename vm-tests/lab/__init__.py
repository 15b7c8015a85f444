"""Real test hosts on one Linux machine: systemd, sshd and Nix in systemd-nspawn, each in a network of its own."""

from lab.errors import LabError, LabUnavailable
from lab.host import HostSpec, LabHost
from lab.lab import Lab

__all__ = ["HostSpec", "Lab", "LabError", "LabHost", "LabUnavailable"]
