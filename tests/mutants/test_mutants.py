"""A planted bug whose code has moved would catch nothing, and nobody would see it before all of them are run again."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mutants.core import CORE
from tests.mutants.hooks import HOOKS
from tests.mutants.mutant import Mutant

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize("mutant", CORE + HOOKS, ids=[mutant.name for mutant in CORE + HOOKS])
def test_the_code_of_a_planted_bug_is_there_once(mutant: Mutant) -> None:
    assert (ROOT / mutant.file).read_text().count(mutant.old) == 1
    assert all((ROOT / test.partition("::")[0]).exists() for test in mutant.tests)
