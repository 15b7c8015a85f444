"""Signals as a terminal gives them, wherever the tests were started."""

from __future__ import annotations

import signal


def heed_interrupts() -> None:
    """Let ^C be heard by this process and what it starts.

    A shell without job control starts what it puts in the background with ^C ignored, and every child inherits that:
    ``nohup make test &`` would fail where a test presses it.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
