"""The words of every Nix command, pure. Flags are the safe ones: nothing is written to a flake, nothing of its own
configuration is believed, and names are never looked up in a registry.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

VIEWS = Path(__file__).parent / "views"
"""Nix expressions that reduce what other tools define to what fleetd wants to know, as plain data."""

HIVE = str(VIEWS / "hive.nix")
FEATURES = ("--extra-experimental-features", "nix-command flakes")
FLAKE_FLAGS = (
    "--no-update-lock-file",
    "--no-write-lock-file",
    "--no-use-registries",
    "--option",
    "accept-flake-config",
    "false",
)

WATCHED = ("--keep-going", "--log-format", "internal-json")
"""What does not build is told at once, and what does not need it is built all the same: the next try has less to do."""


def evaluate_flake(installable: str) -> list[str]:
    """Return the command that prints the derivation of a flake installable."""
    return ["nix", *FEATURES, "eval", "--raw", *FLAKE_FLAGS, "--", f"{installable}.drvPath"]


def evaluate_data(installable: str, view: str | None = None) -> list[str]:
    """Return the command that prints a flake output, plain data or seen through a view of that name, as JSON."""
    seen = ["--apply", (VIEWS / f"{view}.nix").read_text()] if view else []
    return ["nix", *FEATURES, "eval", "--json", *FLAKE_FLAGS, *seen, "--", installable]


def evaluate_hive_data(file: str) -> list[str]:
    """Return the command that prints what a hive says of its nodes, as JSON."""
    return [
        *("nix-instantiate", "--eval", "--strict", "--json", HIVE),
        *("--attr", "description", "--argstr", "file", file),
    ]


def evaluate_hive(file: str, node: str) -> list[str]:
    """Return the command that prints the derivation of a node of a hive."""
    return ["nix-instantiate", HIVE, "--attr", f"toplevel.{node}", "--argstr", "file", file]


def evaluate_file(file: str, attribute: str) -> list[str]:
    """Return the command that prints the derivation of an attribute in a file."""
    # Without "./" a name that begins with a dash would be an option; the attribute is an option's value anyway.
    return ["nix-instantiate", f"./{file}" if file.startswith("-") else file, "--attr", attribute]


def eval_jobs(flake: str, attributes: Sequence[str], workers: int, worker_mib: int) -> list[str]:
    """Return the command that evaluates attributes of a locked flake together, a line of JSON for each.

    Flake and attributes are part of an expression: the caller has seen that nothing in them means more than a name.
    Pure like ``nix eval`` of a flake: an expression would not be by itself.
    """
    wanted = " ".join(f'"{attribute}" = flake.{_quoted(attribute)};' for attribute in attributes)
    expression = f'let flake = builtins.getFlake "{flake}"; in {{ {wanted} }}'
    options = {
        "extra-experimental-features": "nix-command flakes",
        "accept-flake-config": "false",
        "pure-eval": "true",
        "use-registries": "false",
    }
    words = [word for name, value in options.items() for word in ("--option", name, value)]
    limits = ["--workers", str(workers), "--max-memory-size", str(worker_mib)]
    return ["nix-eval-jobs", *words, *limits, "--expr", expression]


def _quoted(attribute: str) -> str:
    """Return an attribute path that means itself: 10gw and with are names of hosts, and no names of the language."""
    return ".".join(f'"{part}"' for part in attribute.split("."))


def build(derivation: str, root: str) -> list[str]:
    """Return the command that builds a derivation (or takes a path as it is) and roots the result.

    Unlike ``nix build`` it means the same in every version: ``DRV^*`` is 2.13 and later, a bare ``DRV`` before.
    """
    return ["nix-store", "--realise", derivation, "--add-root", root, "--indirect", *WATCHED]


def keep(paths: Sequence[str], root: str) -> list[str]:
    """Return the command that roots paths which are in the store; nothing is fetched for them.

    The first gets the link ``root``, the others ``root-2``, ``root-3``, …
    """
    return ["nix-store", "--realise", *paths, "--add-root", root, "--indirect", "--option", "substitute", "false"]


def keep_derivation(derivation: str, root: str) -> list[str]:
    """Return the command that roots a derivation itself; ``--realise`` would build it."""
    return ["nix-instantiate", "--add-root", root, "--indirect", "--expr", f"import {derivation}"]


def outputs(derivation: str) -> list[str]:
    """Return the command that prints the outputs of a derivation, built or not."""
    return ["nix-store", "--query", "--outputs", derivation]


def invalid(paths: Sequence[str]) -> list[str]:
    """Return the command that prints which of these paths are not in the store."""
    return ["nix-store", "--check-validity", "--print-invalid", *paths]


def lock(flake: str) -> list[str]:
    """Return the command that prints what a flake reference is now."""
    return ["nix", *FEATURES, "flake", "metadata", "--json", *FLAKE_FLAGS, "--", flake]


def publish(path: str, cache: str) -> list[str]:
    """Return the command that copies a closure to a binary cache."""
    return ["nix", *FEATURES, "copy", "--to", cache, path]


def path_info(path: str) -> list[str]:
    """Return the command that prints the metadata of a closure; ``--offline``, or it looks for it in caches."""
    # Without it a derivation means its outputs, to some versions.
    itself = ["--derivation"] if path.endswith(".drv") else []
    return ["nix", *FEATURES, "path-info", "--offline", "--json", "--recursive", *itself, path]
