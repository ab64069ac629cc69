"""The kill campaigns in full; ``tests/acceptance/test_kill.py`` is their short form."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.audit_agreement import assert_agrees
from tests.support.evidence import kept_if_it_fails
from tests.support.history import assert_kept
from tests.support.kill_campaign import Campaign

pytestmark = [pytest.mark.campaign, pytest.mark.timeout(3600)]


@pytest.mark.parametrize(
    ("hub_kills", "agent_kills"), [(50, 0), (20, 30)], ids=["hub", "hub-and-agents"]
)
async def test_twenty_thousand_messages_and_fifty_kills(
    hub_kills: int,
    agent_kills: int,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    seed: int,
) -> None:
    campaign = Campaign(
        tmp_path, messages=20_000, hub_kills=hub_kills, agent_kills=agent_kills, seed=seed
    )
    with kept_if_it_fails(tmp_path, f"kill-{seed}"):
        try:
            history = await campaign.run()
        finally:
            with capsys.disabled():
                print(f"\nseed {seed}: {campaign.report}")
        assert_kept(history, f"seed {seed}: {campaign.report}")
        assert assert_agrees(campaign.data, history) >= campaign.report.messages
