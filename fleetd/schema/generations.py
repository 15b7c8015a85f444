"""What a host keeps of its old generations, in the fleet file."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from fleetd.model.order import KeptGenerations
from fleetd.schema.problems import Period, Strict, seconds


class GenerationsTable(Strict):
    """``newest`` of them, and all that are ``younger`` than a time, where it is given."""

    newest: int = Field(ge=1, le=10_000)
    younger: Period | None = None


def _all_is_none(value: object) -> object:
    return None if value == "all" else value


GenerationsText = Annotated[GenerationsTable | None, BeforeValidator(_all_is_none)]
"""A table, or ``all``: so that one host may keep what the defaults let go."""


def kept_generations_of(raw: GenerationsTable | None) -> KeptGenerations | None:
    """Return what is kept; None: all of them."""
    if raw is None:
        return None
    return KeptGenerations(raw.newest, 0.0 if raw.younger is None else seconds(raw.younger))
