"""What holds for every test here."""

from __future__ import annotations

import os

from hypothesis import settings

from tests.signals import heed_interrupts

heed_interrupts()

# The same inputs each time: a change is judged by itself, and what is found once is found by everybody.
settings.register_profile("same", derandomize=True)
if "FLEETD_EXPLORE" not in os.environ:
    settings.load_profile("same")
