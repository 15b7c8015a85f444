"""What holds for every test here."""

from __future__ import annotations

from tests.signals import heed_interrupts

heed_interrupts()
