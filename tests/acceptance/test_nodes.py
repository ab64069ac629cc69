"""Two hubs and a Redis of their own: nothing accepted is lost or doubled, whichever fails."""

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


@pytest.mark.parametrize(
    ("messages", "rate", "failures"),
    [
        (2_000, 600, [killed] * 4),
        (1_500, 500, [redis_killed(1.0)] * 3),
        (1_200, 300, [cut_off(2.0)] * 2),
        (600, 200, [frozen]),
        (1_500, 500, [drained] * 2),
    ],
    ids=["hub-killed", "redis-killed", "hub-cut-off", "hub-frozen", "hub-drained"],
)
async def test_what_fails(
    messages: int,
    rate: float,
    failures: list[Failure],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    campaign = Campaign(tmp_path, messages=messages, rate=rate, failures=failures, seed=1)
    with kept_if_it_fails(tmp_path, "nodes-1", campaign.history):
        history = await campaign.run()
        with capsys.disabled():
            print(f"\n{campaign.report}")
        assert_kept(history, str(campaign.report))
        assert campaign.acknowledged_in_outages() == []


async def test_replies_of_redis_are_lost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    campaign = Campaign(tmp_path, messages=2_000, rate=700, failures=[], lose_every=12, seed=2)
    with kept_if_it_fails(tmp_path, "nodes-2", campaign.history):
        history = await campaign.run()
        with capsys.disabled():
            print(f"\n{campaign.report}")
        assert_kept(history, str(campaign.report))
        assert campaign.report.replies_lost > 10
