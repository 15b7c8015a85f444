"""``fleetctl``: one program, its commands in the modules beside this one."""

from __future__ import annotations

import sys

import typer

from fleetd.cli import events, holds, hooks, hosts, outcome, rollouts, setup
from fleetd.cli.app import app
from fleetd.cli.render import plain
from fleetd.errors import FleetdError

__all__ = ["app", "events", "holds", "hooks", "hosts", "main", "rollouts", "setup"]


def main() -> None:
    """Run, with usage errors told as 1: typer's own 2 would mean that hosts were taken back."""
    try:
        code = app(standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except SystemExit as error:
        # typer ends with 1 where the reader of a pipe has enough: that is no mistake in the command.
        sys.exit(outcome.OK if isinstance(error.__context__, BrokenPipeError) else error.code)
    except typer.Exit as error:
        sys.exit(error.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        sys.exit(outcome.DETACHED)
    except typer.TyperException as error:
        show_error = getattr(error, "show", None)
        if callable(show_error):
            show_error()
        sys.exit(outcome.USAGE)
    except FleetdError as error:
        sys.stderr.write(f"fleetctl: {plain(error, keep=chr(10))}\n")
        sys.exit(error.exit_code)
    except OSError as error:
        sys.stderr.write(f"fleetctl: {error}\n")
        sys.exit(outcome.USAGE)


if __name__ == "__main__":
    main()
