"""The words of every Nix command, pure. Flags are the safe ones: nothing is written to a flake, nothing of its own
configuration is believed, and names are never looked up in a registry.
"""

from __future__ import annotations

FEATURES = ("--extra-experimental-features", "nix-command flakes")
FLAKE_FLAGS = (
    "--no-update-lock-file",
    "--no-write-lock-file",
    "--no-registries",
    "--option",
    "accept-flake-config",
    "false",
)


def evaluate_flake(installable: str) -> list[str]:
    """Return the command that prints the derivation of a flake installable."""
    return ["nix", *FEATURES, "eval", "--raw", *FLAKE_FLAGS, f"{installable}.drvPath"]


def evaluate_file(file: str, attribute: str) -> list[str]:
    """Return the command that prints the derivation of an attribute in a file."""
    return ["nix-instantiate", file, "--attr", attribute]


def build(derivation: str, root: str) -> list[str]:
    """Return the command that builds a derivation (or takes a path as it is) and roots the result."""
    return ["nix-store", "--realise", derivation, "--add-root", root, "--indirect"]


def lock(flake: str) -> list[str]:
    """Return the command that prints what a flake reference is now."""
    return ["nix", *FEATURES, "flake", "metadata", "--json", *FLAKE_FLAGS, flake]


def path_info(path: str) -> list[str]:
    """Return the command that prints the metadata of a closure."""
    return ["nix", *FEATURES, "path-info", "--json", "--recursive", path]
