"""The campaigns over two hubs and a Redis in full; ``tests/acceptance/test_nodes.py`` is their
short form."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.evidence import kept_if_it_fails
from tests.support.history import assert_kept
from tests.support.nodes_campaign import (
    Campaign,
    Failure,
    cut_off,
    drained,
    frozen,
    killed,
    redis_killed,
)

pytestmark = [pytest.mark.campaign, pytest.mark.timeout(3600)]


@pytest.mark.parametrize(
    ("messages", "rate", "failures", "lose_every"),
    [
        (50_000, 500, [killed] * 50, None),
        (20_000, 300, [redis_killed(2.0)] * 20, None),
        (20_000, 60, [cut_off(30.0)] * 10, None),
        (10_000, 100, [frozen] * 10, None),
        (20_000, 500, [drained] * 20, None),
        (20_000, 500, [], 50),
        (20_000, 200, [killed, redis_killed(1.0), cut_off(8.0), frozen, drained] * 4, 500),
    ],
    ids=["hub-killed", "redis-killed", "cut-off", "frozen", "drained", "replies-lost", "all"],
)
async def test_what_fails(
    messages: int,
    rate: float,
    failures: list[Failure],
    lose_every: int | None,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    seed: int,
) -> None:
    campaign = Campaign(
        tmp_path,
        messages=messages,
        rate=rate,
        failures=failures,
        lose_every=lose_every,
        seed=seed,
    )
    with kept_if_it_fails(tmp_path, f"nodes-{seed}", campaign.history):
        try:
            history = await campaign.run()
        finally:
            with capsys.disabled():
                print(f"\nseed {seed}: {campaign.report}")
        assert_kept(history, f"seed {seed}: {campaign.report}")
        assert campaign.acknowledged_in_outages() == []
