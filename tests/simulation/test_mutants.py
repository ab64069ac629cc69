"""The simulation can find faults: it finds each of those that are put in on purpose."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.simulation.mutants import MUTANTS
from tests.simulation.search import look

SEEDS = 1_000


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_a_fault_is_found_within_a_thousand_seeds(mutant: Callable[[], Any]) -> None:
    with mutant():
        finding = next(look(range(SEEDS)), None)
    assert finding is not None
