"""``fleetctl --local``: the daemon's own engine in this process, for as long as the command runs.

It listens on a socket that only this user can reach, and the command speaks to it as to any daemon: one engine, one
protocol, one journal. The lock of the state directory refuses it while a daemon is there.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

from fleetd import log
from fleetd.config import load
from fleetd.daemon import Daemon

STOP_TIMEOUT_S = 60.0
"""A last extend, and children that are ended."""


class _Engine:
    def __init__(self, config: str | None, directory: str) -> None:
        settings = load(config)
        log.configure(settings.log_format, quiet=True)
        self.server = f"unix:{directory}/fleetd.sock"
        # It is there for one command: whoever wants hosts to be looked at now and then runs a daemon.
        self._daemon = Daemon(replace(settings, listen=(self.server,), observe_every_s=None))
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._up = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def start(self) -> None:
        """Return when it answers. Raises what kept it from that."""
        self._thread.start()
        self._up.wait()
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """End it as SIGTERM ends a daemon."""
        # A loop that is closed by now has ended by itself, and needs no word.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(STOP_TIMEOUT_S)

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._daemon.serve(self._stop, self._up.set))
        except BaseException as error:  # at the start it is raised where it can be told
            if self._up.is_set():
                sys.stderr.write(f"fleetctl: the engine has ended: {error}\n")
            self._error = error
        finally:
            self._up.set()
            self._loop.close()


@contextmanager
def engine(config: str | None) -> Iterator[str]:
    """Run the engine and give its address. Raises ConfigError, JournalError."""
    with tempfile.TemporaryDirectory(prefix="fleetctl-") as directory:
        made = _Engine(config, directory)
        try:
            made.start()
            yield made.server
        finally:
            made.stop()
