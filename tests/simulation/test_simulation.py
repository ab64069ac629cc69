"""Thousands of seeded runs, each with its own failures; all promises are kept in all of them."""

from __future__ import annotations

import pytest

from tests.simulation.search import report, search
from tests.simulation.world import simulate

SEEDS = 2_000


@pytest.mark.timeout(600)
def test_every_promise_is_kept_whatever_fails() -> None:
    findings = search(first=0, count=SEEDS, workers=2)
    assert not findings, report(findings)


def test_a_seed_is_a_run() -> None:
    for seed in range(3):
        assert simulate(seed).events == simulate(seed).events
