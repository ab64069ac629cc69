"""Nothing accepted is lost, doubled or reordered when processes are killed with -9."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.audit_agreement import assert_agrees
from tests.support.evidence import kept_if_it_fails
from tests.support.history import assert_kept
from tests.support.kill_campaign import Campaign


async def test_the_hub_is_killed_again_and_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    campaign = Campaign(tmp_path, messages=3_000, hub_kills=4, seed=1)
    with kept_if_it_fails(tmp_path, "kill-1"):
        history = await campaign.run()
        with capsys.disabled():
            print(f"\n{campaign.report}")
        assert_kept(history, str(campaign.report))
        assert assert_agrees(campaign.data, history) >= campaign.report.messages


async def test_agents_with_a_state_directory_are_killed_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    campaign = Campaign(tmp_path, messages=1_500, hub_kills=2, agent_kills=4, seed=2)
    with kept_if_it_fails(tmp_path, "kill-2"):
        history = await campaign.run()
        with capsys.disabled():
            print(f"\n{campaign.report}")
        assert_kept(history, str(campaign.report))
        assert assert_agrees(campaign.data, history) >= campaign.report.messages
