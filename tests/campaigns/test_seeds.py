"""Many more seeds of the simulation, others every time.

``TRISHULA_SEEDS`` sets how many; the first one is printed, and each that fails with the command
that replays it.
"""

from __future__ import annotations

import os
import random

import pytest

from tests.simulation.search import report, search

SEEDS = int(os.environ.get("TRISHULA_SEEDS", "50000"))


@pytest.mark.campaign
@pytest.mark.timeout(4 * 3600)
def test_many_seeds(capsys: pytest.CaptureFixture[str]) -> None:
    first = random.randrange(1 << 32)
    with capsys.disabled():
        print(f"\n{SEEDS} seeds from {first}")
    findings = search(first, SEEDS, workers=os.cpu_count() or 1)
    assert not findings, report(findings)
