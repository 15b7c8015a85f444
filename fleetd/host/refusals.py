"""What a host's own programs say when the helper cannot run there, as errors with a word each."""

from __future__ import annotations

from fleetd.errors import HostError, HostFull, LoginRefused, Unreachable
from fleetd.model.fleet import Host, Privilege

NO_PRIVILEGE = (
    "a password is required",
    "a terminal is required",
    "is not in the sudoers file",
    "is not allowed to",
    "may not run sudo",
    "Operation not permitted",
    "Permission denied",
    "Authentication required",
    "authentication required",
)
"""What sudo, doas, run0 and the kernel say to a user who may not do what the helper does."""


def lacks_privilege(said: str) -> bool:
    """Whether the words are those of a privilege command, or the kernel, that refuses."""
    return any(words in said for words in NO_PRIVILEGE)


def no_privilege(host: Host, said: str) -> LoginRefused:
    """Return what is wrong with a user who may log in and not do what the helper does."""
    how = "without a privilege command" if host.privilege is Privilege.NONE else f"through {host.privilege.value}"
    return LoginRefused(
        f"{host.name}: {host.user} may log in and, {how}, not become root "
        f"(it said: {said}): `user` or `privilege` in the fleet file, or what that user is allowed there, is wrong"
    )


def not_installed(host: Host, said: str) -> HostError:
    """Return why the helper could not be brought, which is the first thing that is written on a host."""
    if "No space left on device" in said or "Disk quota exceeded" in said or "disk is full" in said:
        return HostFull(f"{host.name}: its disk is full: there is no room for the helper (it said: {said})")
    if lacks_privilege(said):
        return no_privilege(host, said)
    return Unreachable(f"{host.name}: the helper cannot be installed: {said}")
