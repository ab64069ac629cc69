"""Thousands of seeded runs, each with its own failures; all promises are kept in all of them."""

from __future__ import annotations

import pytest

from tests.simulation.search import look_all, report
from tests.simulation.world import simulate

SEEDS = 2_000
AT_ONCE = 100
"""Of one test, so that they are shared among the processes that run the tests."""


@pytest.mark.parametrize("first", range(0, SEEDS, AT_ONCE))
def test_every_promise_is_kept_whatever_fails(first: int) -> None:
    findings = look_all(range(first, first + AT_ONCE))
    assert not findings, report(findings)


def test_a_seed_is_a_run() -> None:
    for seed in range(3):
        assert simulate(seed).events == simulate(seed).events
